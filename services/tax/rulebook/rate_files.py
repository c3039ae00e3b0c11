"""Import of exchange rates: from a file of the European Central Bank into a rule file."""

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

from services.tax.rulebook.ecb import Period, large_changes, next_periods
from services.tax.rulebook.ecb_files import NotRates, read_quotes
from services.tax.rulebook.exchange import Exchange, ExchangeRates
from services.tax.rulebook.rows import RuleFault
from services.tax.rulebook.toml_files import (
    RuleError,
    line_of,
    parse,
    read_toml,
    text_of,
    validated,
)

BYTES_MAX: Final = 64 * 1024 * 1024
"""The bank's whole history is about 2 MiB in the wide format and 30 MiB in the long one."""


class Imported(NamedTuple):
    """The result of an import: the new periods, the rule file, and its text with them."""

    path: Path
    periods: Sequence[Period]
    replaces: str | None
    text: str
    jumps: Sequence[str] = ()
    """Currencies that changed by a fifth or more between the last old and the first new period."""

    def future_days(self, today: date) -> list[date]:
        return [period.of for period in self.periods if period.of > today]


def rates_path(folder: Path) -> Path:
    """Return the only file of exchange rates of a folder; raises RuleError."""
    those = [
        path
        for path in sorted(folder.glob("*.toml"))
        if read_toml(path).get("kind") == "exchange-rates"
    ]
    if len(those) != 1:
        names = ", ".join(path.name for path in those) or "none"
        raise RuleError(
            folder,
            None,
            f"there must be one rule file of exchange rates (rates-*.toml), found {names}",
        )
    return those[0]


def read_bank(path: Path) -> str:
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


def import_rates(folder: Path, bank: str) -> Imported:
    """Return the next periods of a folder's table by a text of the bank.

    Raises NotRates, Missing, and RuleError where the table is bad.
    """
    path = rates_path(folder)
    text = text_of(path)
    rates = validated(path, parse(path, text), ExchangeRates)
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
    return Imported(path, periods, replaced, text, large_changes(before.per_100, periods[0]))


def write_file(result: Imported) -> None:
    """Write the file beside its place, sync it, and rename it, so that nobody reads half of it.

    A power cut does no harm either. Owner and mode stay, because the services may run as another
    user. A link stays a link. Raises RuleError.
    """
    path = Path(os.path.realpath(result.path))
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(result.text)
                _as_before(file.fileno(), path)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        _synced(path.parent)
    except OSError as error:
        raise RuleError(result.path, None, f"cannot be written: {error.strerror}") from None


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
    rates = ", ".join(f'{currency} = "{rate}"' for currency, rate in period.per_100.items())
    return (
        f"[[period]]\nvalid_from = {period.month.first}\nvalid_to = {period.month.last}\n"
        f'per_100 = {{ {rates} }}\nsource = "{period.source}"\nconfidence = "inferred"\n'
    )


def _without_last(path: Path, text: str, rates: ExchangeRates) -> str:
    starts = [match.start() for match in re.finditer(r"(?m)^[ \t]*\[\[period\]\]", text)]
    if len(starts) != len(rates.period) or not rates.period[-1].carried_over:
        raise RuleError(
            path,
            line_of(path, ["period"]),
            "the period that is carried over must be the last of the file",
        )
    return text[: starts[-1]]


def _checked(path: Path, text: str) -> None:
    rates = validated(path, parse(path, text), ExchangeRates)
    try:
        Exchange(rates)
    except RuleFault as fault:
        raise RuleError(path, None, str(fault)) from None
