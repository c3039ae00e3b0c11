"""The declarant's policy, read from a data file.

Who declares, at which office, in what batches, what is corrected.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

from services.customs.ceb.documents import Enterprise
from services.customs.domain.declaration import Policy as Rules
from services.customs.domain.numbers import LISTS_MAX
from services.customs.domain.returns import Terms
from shared.errors import Misconfigured


class NoOffice(LookupError):
    """The policy names no customs office for this direction, mode and country."""


@dataclass(frozen=True, slots=True)
class Declarant:
    """Who declares, and who guarantees the tax of imports."""

    company: Enterprise
    dxp_id: str
    guarantor_code: str


@dataclass(frozen=True, slots=True)
class Batching:
    """When a collective message closes.

    At so many lists or lines, or at an age in seconds, whichever is first.
    """

    lists_max: int
    lines_max: int
    age_s: float


@dataclass(frozen=True, slots=True)
class Amendments:
    """Which return codes a corrected list mends, which ask for patience only, and how often to try."""

    attempts_max: int
    correctable: frozenset[str]
    too_soon: frozenset[str]
    too_soon_wait_s: float


@dataclass(frozen=True, slots=True)
class Office:
    """Where and how goods of a direction, mode and country are declared; `*` stands for any."""

    direction: str
    mode: str
    country: str
    customs_code: str
    port_code: str
    traf_mode: str
    vehicle: str | None = None
    voyage_no: str | None = None
    site_code: str | None = None
    confidence: str = "general"


@dataclass(frozen=True, slots=True)
class Bonded:
    """The special area of mode 1210."""

    area: Enterprise
    ledger_no: str


@dataclass(frozen=True, slots=True)
class Policy:
    """All of it."""

    version: str
    declarant: Declarant
    batching: Batching
    amendments: Amendments
    offices: tuple[Office, ...]
    bonded: Bonded
    statistics_flag: str
    export_wrap_type: str
    export_return_trade_mode: Mapping[str, str]
    return_terms: tuple[Terms, ...]
    statutory: Mapping[str, tuple[str, str | None]]

    @property
    def rules(self) -> Rules:
        """The part of it that the domain decides by."""
        a = self.amendments
        return Rules(a.correctable, a.too_soon, a.attempts_max, a.too_soon_wait_s, self.return_terms)

    def office(self, direction: str, mode: str, country: str) -> Office:
        """The office for goods of a direction and mode from or to `country`.

        The named country and mode win over `*`.
        """
        fitting = [
            o for o in self.offices
            if o.direction == direction and o.mode in (mode, "*") and o.country in (country, "*")
        ]  # fmt: skip
        if not fitting:
            raise NoOffice(f"the policy names no office for {direction} {mode} {country}")
        return max(fitting, key=lambda o: (o.country != "*", o.mode != "*"))

    def statutory_units(self, hs_code: str) -> tuple[str, str | None]:
        """The first and second statutory unit of a tariff line; the longest prefix of the policy wins."""
        return self.statutory[max((p for p in self.statutory if hs_code.startswith(p)), key=len)]


@lru_cache(maxsize=4)
def load(path: Path | None = None) -> Policy:
    """The policy in the file, or the one that comes with the service.

    Raises Misconfigured naming what is missing.
    """
    try:
        source = files("services.customs").joinpath("policy.toml") if path is None else path
        return _policy(tomllib.loads(source.read_text(encoding="utf-8")))
    except KeyError as error:
        raise Misconfigured(f"the customs policy lacks {error.args[0]}") from None
    except (OSError, TypeError, ValueError) as error:
        raise Misconfigured(f"the customs policy cannot be read: {error}") from None


def _policy(data: Mapping[str, Any]) -> Policy:
    declarant, batching, amendments, returns = (
        data["declarant"],
        data["batching"],
        data["amendments"],
        data["returns"],
    )
    statutory = {row["hs_prefix"]: (row["unit"], row.get("second_unit")) for row in data["statutory_units"]}
    if "" not in statutory:
        raise KeyError("statutory_units with an empty hs_prefix")
    return Policy(
        version=data["version"],
        declarant=Declarant(
            Enterprise(declarant["code"], declarant["name"]), declarant["dxp_id"], declarant["guarantor_code"]
        ),
        batching=Batching(int(batching["lists_max"]), int(batching["lines_max"]), float(batching["age_s"])),
        amendments=_amendments(amendments),
        offices=tuple(Office(**row) for row in data["offices"]),
        bonded=Bonded(Enterprise(data["bonded"]["area_code"], data["bonded"]["area_name"]),
        data["bonded"]["ledger_no"]),
        statistics_flag=data["export"]["statistics_flag"],
        export_wrap_type=data["export"]["wrap_type"],
        export_return_trade_mode=dict(returns["export_trade_mode"]),
        return_terms=_terms(returns["terms"]),
        statutory=statutory,
    )  # fmt: skip


def _amendments(row: Mapping[str, Any]) -> Amendments:
    """How lists are corrected; raises ValueError for more of them than their numbers can tell apart."""
    most = int(row["attempts_max"])
    if not 1 <= most <= LISTS_MAX:
        raise ValueError(f"amendments.attempts_max: found {most}, expected 1 to {LISTS_MAX}")
    return Amendments(most, frozenset(row["correctable"]), frozenset(row["too_soon"]), float(row["too_soon_wait_s"]))


def _terms(rows: Sequence[Mapping[str, Any]]) -> tuple[Terms, ...]:
    """The terms for returns; raises ValueError for a day with two, or a term without a source or of no days."""
    found = tuple(
        Terms(row["direction"], row["valid_from"], row.get("valid_to"), int(row["apply_days_max"]), int(row["back_days_max"]),
              row["source"], int(row["given_up_days"]))
        for row in sorted(rows, key=lambda row: (row["direction"], row["valid_from"]))
    )  # fmt: skip
    for before, after in pairwise(found):
        if before.direction == after.direction and (before.valid_to is None or before.valid_to >= after.valid_from):
            raise ValueError(f"returns.terms: two terms for {after.direction} on {after.valid_from}, expected one")
    for each in found:
        if not each.source or min(each.apply_days_max, each.back_days_max, each.given_up_days) < 1:
            raise ValueError(f"returns.terms: the term from {each.valid_from} needs a source and days above 0")
    return found
