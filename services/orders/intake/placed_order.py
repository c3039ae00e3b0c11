"""The event that a valid submission becomes, and the corridor of an order."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Final

from services.orders.intake.codes import is_country
from services.orders.intake.late_orders import taxed_at
from services.orders.intake.submission import Goods, Submitted
from shared.events.orders import Line, NetContent, OrderPlaced, Party
from shared.events.persons import SealedConsignee, SealedPerson
from shared.money import Money

UNKNOWN_COUNTRY: Final = "ZZ"


PROBE: Final = "probe"
"""The corridor of synthetic orders.

Each event of an end carries it, so sales can leave them out.
"""


def corridor_of(submitted: Submitted, probe_platform: str = "") -> str:
    """Return origin and destination, as `US-CN`; an unknown or broken country reads ZZ.

    Orders of `probe_platform` have the corridor `probe`.
    """
    order, broken = submitted.submission, submitted.broken
    if probe_platform and submitted.platform_code == probe_platform:
        return PROBE
    origin = order.lines[0].origin if order.direction == "import" else "CN"
    if order.direction == "import" and order.merchant.country is not None:
        origin = order.merchant.country
    ends = (origin, order.consignee.country)
    hidden = (
        ("direction", "merchant", "merchant.country", "lines", "lines[0]", "lines[0].origin"),
        ("consignee", "consignee.country"),
    )
    return "-".join(
        end if is_country(end) and not broken.intersection(paths) else UNKNOWN_COUNTRY
        for end, paths in zip(ends, hidden, strict=True)
    )


def order_placed(
    submitted: Submitted,
    buyer: SealedPerson,
    payer: SealedPerson,
    consignee: SealedConsignee,
    probe_platform: str = "",
    received_at: datetime | None = None,
) -> OrderPlaced:
    s = submitted.submission

    def money(amount: Decimal) -> Money:
        return Money.of(amount, s.currency)

    return OrderPlaced(
        order_id=submitted.order_id,
        order_no=s.order_no,
        placed_at=s.placed_at,
        direction=s.direction,
        mode=s.mode,
        corridor=corridor_of(submitted, probe_platform),
        platform=Party(code=s.platform.code, name=s.platform.name),
        merchant=Party(code=s.merchant.code, name=s.merchant.name, country=s.merchant.country),
        buyer=buyer,
        payer=payer,
        consignee=consignee,
        payment_enterprise=s.payment.enterprise_code,
        payment_token=s.payment.token,
        currency=s.currency,
        lines=tuple(_line(line, s.currency) for line in s.lines),
        goods_value=money(s.goods_value),
        freight=money(s.freight),
        insurance=money(s.insurance),
        discount=money(s.discount),
        tax_withheld=money(s.tax_withheld),
        amount_paid=money(s.amount_paid),
        taxed_at=None if received_at is None else taxed_at(s.placed_at, received_at),
    )


def _line(line: Goods, currency: str) -> Line:
    content = line.net_content
    return Line(
        line_no=line.line_no,
        sku=line.sku,
        name=line.name,
        hs_code=line.hs_code,
        origin=line.origin,
        brand=line.brand,
        gtin=line.gtin,
        quantity=line.quantity,
        unit=line.unit,
        net_weight_kg=line.net_weight_kg,
        net_content=None if content is None else NetContent(value=content.value, unit=content.unit),
        unit_price=line.unit_price,
        total=Money.of(line.total, currency),
    )
