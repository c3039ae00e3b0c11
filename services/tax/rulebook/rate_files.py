"""Writes the periods of exchange rates that follow from the European Central Bank's files into a rule file."""

from __future__ import annotations

import os
import re
import stat
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Final, NamedTuple

from services.tax.rulebook.ecb import NotRates, Period, jumps, next_periods, read_quotes
from services.tax.rulebook.exchange import Exchange, ExchangeRates
from services.tax.rulebook.files import RuleError, text_of
from services.tax.rulebook.rows import RuleFault
from services.tax.rulebook.toml_files import line_of, parsed, read_toml, shaped

BYTES_MAX: Final = 64 * 1024 * 1024
"""The bank's whole history is about 2 MiB wide and 30 MiB long."""


class Imported(NamedTuple):
    """What an import adds to a file of rates: the periods, the file, and its text with them."""

    path: Path
    periods: Sequence[Period]
    replaces: str | None
    text: str
    jumps: Sequence[str] = ()
    """Currencies of the first of them that are a fifth more or less than in the last period before."""

    def priority(self, today: date) -> list[date]:
        """Days in the file that are yet to come, whose rates a period has: no bank knows these."""
        return [period.of for period in self.periods if period.of > today]


def rates_path(folder: Path) -> Path:
    """The file of exchange rates of a folder; raises RuleError where there is not exactly one."""
    those = [
        path
        for path in sorted(folder.glob("*.toml"))
        if read_toml(path).get("kind") == "exchange-rates"
    ]
    if len(those) != 1:
        found = ", ".join(path.name for path in those) or "none"
        raise RuleError(
            folder,
            None,
            f"there must be one rule file of exchange rates (rates-*.toml), found {found}",
        )
    return those[0]


def read_bank(path: Path) -> str:
    """The text of a file of the bank's; raises NotRates where it cannot be one."""
    try:
        with sys.stdin.buffer if str(path) == "-" else path.open("rb") as file:
            raw = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise NotRates(f"cannot be read: {error.strerror}") from None
    if len(raw) > BYTES_MAX:
        raise NotRates(f"the file: found over {BYTES_MAX} bytes, expected less")
    if raw.startswith(b"PK"):
        raise NotRates("the file: found a zip archive, expected the csv in it: unpack it first")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise NotRates(
            "the file: found no UTF-8 text, expected the csv as the bank gives it"
        ) from None


def imported(folder: Path, bank: str) -> Imported:
    """The next periods of a folder's table by a text of the bank's. Raises NotRates, Missing, and RuleError where the table is bad."""
    path = rates_path(folder)
    text = text_of(path)
    rates = shaped(path, parsed(path, text), ExchangeRates)
    periods = next_periods(rates.period, read_quotes(bank))
    carried = next((period for period in rates.period if period.carried_over), None)
    if carried is not None:
        text = _without_last(path, text, rates)
    text = text.rstrip("\n") + "\n" + "".join(f"\n{toml_of(period)}" for period in periods)
    _checked(path, text)
    before = max(
        (period for period in rates.period if not period.carried_over),
        key=lambda period: period.valid_from,
    )
    replaced = None if carried is None else str(carried.valid_from)
    return Imported(path, periods, replaced, text, jumps(before.per_100, periods[0]))


def put(found: Imported) -> None:
    """Write the file beside its place, onto the disk, and rename it into it: nobody reads half of it, not after a power cut either.

    It stays whose it was, and as readable: the services may run as another user than who imports. A link stays a link. Raises RuleError.
    """
    path = Path(os.path.realpath(found.path))
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(found.text)
                _as_before(file.fileno(), path)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        _synced(path.parent)
    except OSError as error:
        raise RuleError(found.path, None, f"cannot be written: {error.strerror}") from None


def _as_before(handle: int, path: Path) -> None:
    before = path.stat()
    os.fchmod(handle, stat.S_IMODE(before.st_mode))
    if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
        with suppress(PermissionError):
            os.fchown(handle, before.st_uid, before.st_gid)


def _synced(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def toml_of(period: Period) -> str:
    """A period as its rule file spells it."""
    rates = ", ".join(f'{currency} = "{rate}"' for currency, rate in period.per_100.items())
    return (
        f"[[period]]\nvalid_from = {period.month.first}\nvalid_to = {period.month.last}\n"
        f'per_100 = {{ {rates} }}\nsource = "{period.source}"\nconfidence = "inferred"\n'
    )


def _without_last(path: Path, text: str, rates: ExchangeRates) -> str:
    """The text before its last period, which must be the one carried over; raises RuleError."""
    starts = [found.start() for found in re.finditer(r"(?m)^[ \t]*\[\[period\]\]", text)]
    if len(starts) != len(rates.period) or not rates.period[-1].carried_over:
        raise RuleError(
            path,
            line_of(path, ["period"]),
            "the period that is carried over must be the last of the file",
        )
    return text[: starts[-1]]


def _checked(path: Path, text: str) -> None:
    rates = shaped(path, parsed(path, text), ExchangeRates)
    try:
        Exchange(rates)
    except RuleFault as fault:
        raise RuleError(path, None, str(fault)) from None
