"""How long a reply is awaited, and after which refusals a command is sent again: bank.toml, by
day."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from shared.errors import Misconfigured

POLICY: Final = Path(__file__).with_name("bank.toml")
KINDS: Final = frozenset({"authorise", "capture", "void", "refund", "refund_tax", "transfer"})


@dataclass(frozen=True, slots=True)
class KeyMemory:
    """From `valid_from` on: seconds the bank remembers a key, and seconds until silence is a
    case."""

    valid_from: date
    keys_s: float
    patience_s: float


@dataclass(frozen=True, slots=True)
class RetryPauses:
    """Seconds before each further attempt after a refusal, for these kinds of command."""

    valid_from: date
    kinds: frozenset[str]
    pauses_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class BankPolicy:
    """The policy: memories by day, and pauses by the bank's code, the oldest first."""

    memories: tuple[KeyMemory, ...]
    reasons: Mapping[str, tuple[RetryPauses, ...]]

    def memory(self, day: date) -> KeyMemory:
        return next((m for m in reversed(self.memories) if m.valid_from <= day), self.memories[0])

    def pause_s(self, kind: str, code: str, attempt: int, day: date) -> float | None:
        """Return seconds between a refused `attempt` (from 1) and the next; None if there is no
        next."""
        rows = [row for row in self.reasons.get(code, ()) if row.valid_from <= day]
        if not rows or kind not in rows[-1].kinds or attempt > len(rows[-1].pauses_s):
            return None
        return rows[-1].pauses_s[attempt - 1]


def load(path: Path = POLICY) -> BankPolicy:
    """Return the policy of a file. Raises Misconfigured with the fault."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        memories = tuple(
            KeyMemory(row["valid_from"], _s(row["keys_s"]), _s(row["patience_s"]))
            for row in tables["memory"]
            if row["source"]
        )
        reasons: dict[str, tuple[RetryPauses, ...]] = {}
        for row in tables["reason"]:
            reasons[row["code"]] = (*reasons.get(row["code"], ()), _pauses(row))
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise Misconfigured(f"mend {path.name}: {type(error).__name__}: {error}") from None
    _check_days(path, "memory", [memory.valid_from for memory in memories])
    for code, pauses in reasons.items():
        _check_days(path, code, [row.valid_from for row in pauses])
    return BankPolicy(memories, reasons)


def _check_days(path: Path, table: str, days: Sequence[date]) -> None:
    if not days or not all(type(day) is date for day in days) or days != sorted(set(days)):
        raise Misconfigured(
            f"mend {path.name}: rows of {table} must be each from a later day than the one before"
        )


def _pauses(row: Mapping[str, Any]) -> RetryPauses:
    if not row["source"] or not row["pauses_s"]:
        raise ValueError(f"{row['code']} needs a source and pauses")
    return RetryPauses(
        row["valid_from"],
        frozenset(_kinds(row["kinds"])),
        tuple(_s(pause) for pause in row["pauses_s"]),
    )


def _kinds(kinds: Sequence[str]) -> Sequence[str]:
    if not kinds or set(kinds) - KINDS:
        raise ValueError(f"kinds must be of {', '.join(sorted(KINDS))}, found {kinds}")
    return kinds


def _s(seconds: Any) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, int) or not 0 < seconds <= 30 * 86400:
        raise ValueError(f"seconds must be a whole number up to 30 days, found {seconds!r}")
    return float(seconds)


@lru_cache(maxsize=1)
def in_force() -> BankPolicy:
    return load()
