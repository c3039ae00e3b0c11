"""The declarant's policy: who declares, at which office, in what batches, and what is corrected."""

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
    """When a collective message closes: at a number of lists, lines or signed bytes, or at an age,
    whichever is first.
    """

    lists_max: int
    lines_max: int
    age_s: float
    bytes_max: int = XML_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Amendments:
    """Return codes that a corrected list mends, codes that only ask for patience, and how often to
    retry.
    """

    attempts_max: int
    correctable: frozenset[str]
    too_soon: frozenset[str]
    too_soon_wait_s: float
    there_already: frozenset[str]
    patience_s: float = 24 * 3600.0
    wait_max_s: float = 2 * 3600.0


@dataclass(frozen=True, slots=True)
class Office:
    """Where and how goods of a direction, mode and country are declared; `*` means any."""

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
    """How released export lists are consolidated: broker, first day of the month, request sizes and
    terms.
    """

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
    """The whole policy file."""

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
        a = self.amendments
        return Rules(
            a.correctable,
            a.too_soon,
            a.attempts_max,
            a.too_soon_wait_s,
            self.return_terms,
            a.there_already,
            a.patience_s,
            a.wait_max_s,
            codes.way_of,
        )

    def office(self, direction: str, mode: str, country: str) -> Office:
        """Return the office for a direction, mode and country. A named country wins over a named
        mode, and both over `*`. Raises NoOffice.
        """
        fitting = [
            o
            for o in self.offices
            if o.direction == direction and o.mode in (mode, "*") and o.country in (country, "*")
        ]
        if not fitting:
            raise NoOffice(f"the policy names no office for {direction} {mode} {country}")
        return max(fitting, key=lambda o: (o.country != "*", o.mode != "*"))

    def statistics_of(self, office: Office) -> str:
        return office.statistics_flag or self.statistics_flag

    def statutory_units(self, hs_code: str) -> tuple[str, str | None]:
        """Return the first and second statutory unit of a tariff line; the longest prefix wins."""
        return self.statutory[max((p for p in self.statutory if hs_code.startswith(p)), key=len)]
