"""One charge of a destination's regime, as its rule file spells it, and which of several a line owes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, model_validator

from services.tax.rulebook.rows import Country, Dated, Id, Rate, Row, decimal_string

Status = Literal["settled", "disputed", "unknown"]
"""Whether sources agree on a rule, contradict each other, or say nothing: what is unknown is never guessed."""
ChargeKind = Literal["duty", "surcharge", "vat", "fee"]
ORDER: Final[tuple[Literal["duty", "surcharge", "vat"], ...]] = ("duty", "surcharge", "vat")
"""What is charged first may be part of the base of what comes later."""
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
"""`top-up`: what the duty is below a share of the base."""
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

    It holds for values over `over` and up to `at_most` (both of the corridor's currency, the upper one included), for the
    channels and origins it names (for all others where it names none). `goods` names lists of goods by their files' ids: the charge
    holds for these, and one that names none for all others. `basis` says what is compared: the intrinsic value of the consignment, or of
    one piece of each line. Charges of one kind and different `name` are charged side by side, each on its own lines.
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
        needs = {
            "share": ("rate", "base"), "top-up": ("rate", "base"),
            "excess": ("rate", "per_kg", "limit", "limit_kg"), "tariff": ("base",), "vat": ("base",),
            "per-subheading": ("amount",), "per-consignment": ("amount",),
        }.get(self.method, ())  # fmt: skip
        for name in needs:
            if getattr(self, name) in (None, ()):
                raise ValueError(f"a charge by method {self.method!r} needs {name}")
        for name in ("rate", "amount", "per_kg", "limit", "limit_kg"):
            if getattr(self, name) is not None and name not in (
                *needs,
                *(("per_kg",) if self.method == "share" else ()),
            ):
                raise ValueError(f"{name} says nothing to a charge by method {self.method!r}")
        if self.over is not None and self.at_most is not None and self.over >= self.at_most:
            raise ValueError(f"over {self.over} is not below at_most {self.at_most}")
        if (self.method == "unknown") != (self.status == "unknown"):
            raise ValueError('method "unknown" and status "unknown" go together')
        late = [
            part
            for part in self.base
            if part in ORDER and ORDER.index(part) >= ORDER.index(self.kind)
        ]
        if late:
            raise ValueError(
                f"the base of {self.kind} cannot hold {late[0]}, which is worked out later"
            )
        if (self.method == "none") != (self.collector == "nobody") and self.method != "unknown":
            raise ValueError("what is not charged is collected by nobody, and only that")
        if self.method == "top-up" and self.kind != "surcharge":
            raise ValueError("only a surcharge tops up the duty")
        return self

    def holds_for(self, country: str, channel: str) -> bool:
        return (not self.countries or country in self.countries) and (
            not self.channels or channel in self.channels
        )


def groups(charges: Iterable[Charge]) -> list[list[Charge]]:
    """Charges of one kind and name, in the order they are first named: of each group a line owes one."""
    found: dict[tuple[str, str | None], list[Charge]] = {}
    for charge in charges:
        found.setdefault((charge.kind, charge.name), []).append(charge)
    return list(found.values())


def of_origin(rows: Sequence[Charge], origin: str) -> list[Charge]:
    """The charges on goods of an origin: those that name it, else those that name none."""
    named = [row for row in rows if origin in row.origins]
    return named or [row for row in rows if not row.origins]


def of_goods(rows: Sequence[Charge], lists: frozenset[str]) -> list[Charge]:
    """The charges on goods that are on these lists: those that name one, else those that name none."""
    named = [row for row in rows if not lists.isdisjoint(row.goods)]
    return named or [row for row in rows if not row.goods]
