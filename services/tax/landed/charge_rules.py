"""A charge of a destination's regime as its rule file has it, and which charge a line owes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, model_validator

from services.tax.rulebook.rows import Country, Dated, Id, Rate, Row, decimal_string

Status = Literal["settled", "disputed", "unknown"]
"""Whether sources agree on a rule, contradict each other, or are silent; an unknown rule is never
guessed."""
ChargeKind = Literal["duty", "surcharge", "vat", "fee"]
ORDER: Final[tuple[Literal["duty", "surcharge", "vat"], ...]] = ("duty", "surcharge", "vat")
"""An earlier charge may be part of the base of a later one."""
Method = Literal[
    "none",
    "tariff",
    "share",
    "top-up",
    "excess",
    "per-subheading",
    "per-consignment",
    "vat",
    "unknown",
]
"""`top-up`: the amount by which the duty is below a share of the base."""
NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "share": ("rate", "base"),
    "top-up": ("rate", "base"),
    "excess": ("rate", "per_kg", "limit", "limit_kg"),
    "tariff": ("base",),
    "vat": ("base",),
    "per-subheading": ("amount",),
    "per-consignment": ("amount",),
}
"""The fields that a method needs."""
Collector = Literal["nobody", "ioss-seller", "seller", "importer", "carrier", "operator"]
Part = Literal["goods", "freight", "insurance", "duty", "surcharge"]

Amount = Annotated[
    Decimal, BeforeValidator(decimal_string), Field(ge=0, max_digits=15, allow_inf_nan=False)
]


class Judged(Dated):
    """A dated rule, and whether its sources agree."""

    status: Status = "settled"
    note: str = ""


class Charge(Row):
    """One charge of a regime: who collects it, on what, how much.

    It applies to values over `over` and up to `at_most`, both in the corridor's currency, the upper
    one included. It applies to the channels and origins it names, or to all others where it names
    none. `goods` names lists of goods by id in the same way. `basis` is the compared value: of the
    consignment, or of one piece of each line. Charges of one kind with different `name` are charged
    side by side, each on its own lines.
    """

    kind: Literal["duty", "surcharge", "vat"]
    name: Id | None = None
    method: Method
    collector: Collector
    goods: tuple[Id, ...] = ()
    channels: tuple[Id, ...] = ()
    origins: tuple[Country, ...] = ()
    over: Amount | None = None
    at_most: Amount | None = None
    basis: Literal["consignment", "piece"] = "consignment"
    rate: Rate | None = None
    amount: Amount | None = None
    per_kg: Amount | None = None
    limit: Amount | None = None
    limit_kg: Amount | None = None
    base: tuple[Part, ...] = ()
    countries: tuple[Country, ...] = ()
    status: Status = "settled"
    note: str = ""

    @model_validator(mode="after")
    def _complete(self) -> Charge:
        self._check_fields()
        self._check_base()
        if self.over is not None and self.at_most is not None and self.over >= self.at_most:
            raise ValueError(f"over {self.over} is not below at_most {self.at_most}")
        if (self.method == "unknown") != (self.status == "unknown"):
            raise ValueError('method "unknown" and status "unknown" go together')
        if (self.method == "none") != (self.collector == "nobody") and self.method != "unknown":
            raise ValueError("what is not charged is collected by nobody, and only that")
        if self.method == "top-up" and self.kind != "surcharge":
            raise ValueError("only a surcharge tops up the duty")
        return self

    def _check_fields(self) -> None:
        needs = NEEDS.get(self.method, ())
        for name in needs:
            if getattr(self, name) in (None, ()):
                raise ValueError(f"a charge by method {self.method!r} needs {name}")
        allowed = (*needs, "per_kg") if self.method == "share" else needs
        for name in ("rate", "amount", "per_kg", "limit", "limit_kg"):
            if getattr(self, name) is not None and name not in allowed:
                raise ValueError(f"{name} says nothing to a charge by method {self.method!r}")

    def _check_base(self) -> None:
        later: tuple[str, ...] = ORDER[ORDER.index(self.kind) :]
        for part in self.base:
            if part in later:
                raise ValueError(
                    f"the base of {self.kind} cannot hold {part}, which is worked out later"
                )

    def holds_for(self, country: str, channel: str) -> bool:
        return (not self.countries or country in self.countries) and (
            not self.channels or channel in self.channels
        )


def groups(charges: Iterable[Charge]) -> list[list[Charge]]:
    """Group charges by kind and name, in their first order; a line owes one of each group."""
    by_kind_and_name: dict[tuple[str, str | None], list[Charge]] = {}
    for charge in charges:
        by_kind_and_name.setdefault((charge.kind, charge.name), []).append(charge)
    return list(by_kind_and_name.values())


def of_origin(rows: Sequence[Charge], origin: str) -> list[Charge]:
    """Return the charges that name an origin, else those that name none."""
    named = [row for row in rows if origin in row.origins]
    return named or [row for row in rows if not row.origins]


def of_goods(rows: Sequence[Charge], lists: frozenset[str]) -> list[Charge]:
    named = [row for row in rows if not lists.isdisjoint(row.goods)]
    return named or [row for row in rows if not row.goods]
