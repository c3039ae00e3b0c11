"""The declarant's policy, read from a data file.

Who declares, at which office, in what batches, what is corrected.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.customs.ceb import codes
from services.customs.ceb.documents import Enterprise
from services.customs.consolidation import months
from services.customs.consolidation.domain import SummaryPolicy as Asking
from services.customs.consolidation.grouping import Grouping
from services.customs.domain.declaration import DeclarationPolicy as Rules
from services.customs.domain.returns import ReturnTerms
from shared.xml import XML_BYTES_MAX


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

    At so many lists, lines or bytes as sent (signed), or at an age in seconds, whichever is first.
    """

    lists_max: int
    lines_max: int
    age_s: float
    bytes_max: int = XML_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Amendments:
    """Which return codes a corrected list mends, which ask for patience only, and how often to try."""

    attempts_max: int
    correctable: frozenset[str]
    too_soon: frozenset[str]
    too_soon_wait_s: float
    there_already: frozenset[str]
    patience_s: float = 24 * 3600.0
    wait_max_s: float = 2 * 3600.0


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
    statistics_flag: str | None = None
    confidence: str = "general"


@dataclass(frozen=True, slots=True)
class Bonded:
    """The special area of mode 1210."""

    area: Enterprise
    ledger_no: str


@dataclass(frozen=True, slots=True)
class Summaries:
    """How released export lists are consolidated: by whom, from which day of the month on, in how large requests, by which terms."""

    broker: Enterprise
    summary_flag: str
    item_name_flag: str
    from_day: int
    lists_max: int
    messages_max: int
    asking: Asking
    terms: tuple[months.SummaryTerms, ...]

    def grouping(self, terms: months.SummaryTerms) -> Grouping:
        return Grouping(terms.lines_max, terms.hs_digits, self.item_name_flag == "1")


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
    return_terms: tuple[ReturnTerms, ...]
    summaries: Summaries
    statutory: Mapping[str, tuple[str, str | None]]

    @property
    def rules(self) -> Rules:
        """The part of it that the domain decides by."""
        a = self.amendments
        return Rules(
            a.correctable, a.too_soon, a.attempts_max, a.too_soon_wait_s, self.return_terms, a.there_already, a.patience_s,
            a.wait_max_s, codes.way_of,
        )  # fmt: skip

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

    def statistics_of(self, office: Office) -> str:
        """The statisticsFlag of an export list lodged at this office: its own, or else that of all."""
        return office.statistics_flag or self.statistics_flag

    def statutory_units(self, hs_code: str) -> tuple[str, str | None]:
        """The first and second statutory unit of a tariff line; the longest prefix of the policy wins."""
        return self.statutory[max((p for p in self.statutory if hs_code.startswith(p)), key=len)]
