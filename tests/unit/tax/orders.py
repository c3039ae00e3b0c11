"""Orders as these tests need them, and their facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Final
from uuid import UUID, uuid5

from services.tax.domain.assessment import Assessable, AssessableLine, Assessment, Refusal, assess
from services.tax.rulebook.files import load
from shared.events.customs import GoodsReleased, ReturnedLine
from shared.events.orders import (
    Direction,
    Line,
    NetContent,
    OrderPlaced,
    OrderUnwinding,
    Party,
    ReturnAccepted,
)
from shared.events.persons import SealedConsignee, SealedPerson
from shared.money import Money

RULES: Final = load()
TODAY: Final = date(2026, 11, 23)
NAMESPACE: Final = UUID(int=1)
PERSON: Final = UUID(int=7)

CHERRIES: Final = "0809290000"
CREAM: Final = "3304990029"
TOY: Final = "9503008900"
BAG: Final = "4202210090"
WINE: Final = "2204210000"
WATCH: Final = "9102210090"


def cny(amount: str | int) -> Money:
    return Money.of(amount, "CNY")


@dataclass(frozen=True)
class Item:
    """One line as a test gives it: net content as "20 g"."""

    hs_code: str
    total: str
    quantity: str = "1"
    content: str | None = None
    weight: str | None = None

    @property
    def kilograms(self) -> Decimal | None:
        return None if self.weight is None else Decimal(self.weight)

    @property
    def net_content(self) -> NetContent | None:
        if self.content is None:
            return None
        value, unit = self.content.split()
        return NetContent.model_validate({"value": value, "unit": unit})


def order(
    *items: Item, freight: str = "0", insurance: str = "0", discount: str = "0", direction: Direction = "import",
    mode: str = "9610", currency: str = "CNY", sent_from: str | None = None,
) -> Assessable:  # fmt: skip
    money = [Money.of(item.total, currency) for item in items]
    lines = tuple(
        AssessableLine(
            i, item.hs_code, Decimal(item.quantity), total, item.net_content, item.kilograms
        )
        for i, (item, total) in enumerate(zip(items, money, strict=True), 1)
    )
    carriage, insured, off = (
        Money.of(amount, currency) for amount in (freight, insurance, discount)
    )
    return Assessable(
        direction,
        mode,
        currency,
        lines,
        Money.total(money, currency),
        carriage,
        insured,
        off,
        sent_from,
    )


def assessed(what: Assessable, on: date = TODAY, used: str = "0") -> Assessment:
    result = assess(what, on, cny(used), RULES)
    assert isinstance(result, Assessment), result
    return result


def refused(what: Assessable, on: date = TODAY, used: str = "0") -> Refusal:
    result = assess(what, on, cny(used), RULES)
    assert isinstance(result, Refusal), result
    return result


def taxes(result: Assessment) -> tuple[str, str, str]:
    return str(result.duty), str(result.consumption_tax), str(result.vat)


def order_id(name: str) -> UUID:
    return uuid5(NAMESPACE, name)


def placed(
    name: str,
    items: Sequence[Item],
    *,
    person: UUID = PERSON,
    at: datetime | None = None,
    direction: Direction = "import",
) -> OrderPlaced:
    what = order(*items, direction=direction)
    sealed = SealedPerson(
        person_ref=person, sealed=b"", id_type="1", name_digest="n", id_digest="i"
    )
    consignee = SealedConsignee(
        person_ref=person,
        sealed=b"",
        country="CN",
        name_digest="n",
        phone_digest="p",
        address_digest="a",
    )
    lines = tuple(
        Line(line_no=x.line_no, sku="S", name="goods", hs_code=x.hs_code, origin="US", quantity=x.quantity, unit="piece",
             net_weight_kg=x.net_weight_kg or Decimal(1), net_content=x.net_content, unit_price=x.total.major, total=x.total)
        for x in what.lines
    )  # fmt: skip
    return OrderPlaced(
        order_id=order_id(name), order_no=name, placed_at=at or datetime(2026, 11, 23, 1, tzinfo=UTC), direction=direction,
        mode="9610", corridor="US-CN", platform=Party(code="1105910159", name="P"), merchant=Party(code="46016602EV", name="M"),
        buyer=sealed, payer=sealed, consignee=consignee, payment_enterprise="B", payment_token="tok_ok", currency="CNY",
        lines=lines, goods_value=what.goods_value, freight=cny(0), insurance=cny(0), discount=cny(0), tax_withheld=cny(0),
        amount_paid=what.goods_value,
    )  # fmt: skip


def unwinding(name: str) -> OrderUnwinding:
    return OrderUnwinding(order_id=order_id(name), towards="cancelled")


def given_back(
    name: str,
    quantity: str = "1",
    *,
    before: str = "0",
    of: str = "1",
    number: int = 1,
    in_time: bool = True,
    whole: bool = True,
) -> ReturnAccepted:
    """So many of the first line are back."""
    line = ReturnedLine(line_no=1, quantity=Decimal(quantity), returned_before=Decimal(before), ordered=Decimal(of),
                        total=cny("1.00"), tax=cny("0.09"))  # fmt: skip
    return ReturnAccepted(
        order_id=order_id(name),
        return_no=number,
        in_time=in_time,
        refund_goods=True,
        whole=whole,
        lines=(line,),
    )


def released(name: str) -> GoodsReleased:
    return GoodsReleased(order_id=order_id(name), cop_no="C", status="800", info="released")
