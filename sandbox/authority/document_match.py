"""The authority's three-document match: a list against order, payment and waybill
[S22, JAS, HRY].
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

Body = Mapping[str, Any]
"""A document as the register stores it: digests of particulars, figures as texts."""

SINGLE_LIMIT: Final = Decimal(5000)  # 财关税[2018]49; more only for one indivisible piece
YEAR_LIMIT: Final = Decimal(26000)
_CENT: Final = Decimal("0.01")

# Only countries whose number the sources confirm; another origin is not compared.
_COUNTRY: Final[dict[str, str]] = {
    "CN": "142",
    "US": "502",
    "JP": "116",
    "KR": "133",
    "DE": "304",
    "AU": "601",
    "RU": "344",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """`status` 100 with an inner code is customs' own; a negative status is the e-port's."""

    status: int
    text: str


@dataclass(frozen=True, slots=True)
class MissingDocument:
    """A document has not arrived: no refusal, the list stays at status 2."""

    text: str


def customs_refusal(code: str, text: str) -> Refusal:
    return Refusal(100, f"[Code:{code};Desc:{text}]")


def match(
    listed: Body, order: Body | None, payment: Body | None, waybill: Body | None
) -> Refusal | MissingDocument | None:
    """Return the refusal of a list, or its missing document.

    An export does not wait for the funds (403).
    """
    imported = listed["family"] == "621"
    if order is None:
        return MissingDocument("订单信息不存在")
    if payment is None and imported:
        return MissingDocument("支付单信息不存在")
    if waybill is None:
        return MissingDocument("运单信息不存在")
    for refusal in (
        _match_payment(order, payment),
        _match_waybill(order, waybill),
        _match_buyer(listed, order) if imported else None,
        _match_lines(listed, order, imported=imported),
        _match_limit(listed) if imported else None,
    ):
        if refusal:
            return refusal
    return None


def _match_payment(order: Body, payment: Body | None) -> Refusal | None:
    if payment is None:
        return None
    paid, due = Decimal(payment["amount"]), Decimal(order["amount_paid"])
    if paid != due or payment["currency"] != order["currency"]:
        return customs_refusal(
            "1332",
            f"支付金额与订单金额不一致[OrderHead.acturalPaid:{due},PaymentHead.amountPaid{paid}]",
        )
    if order["enterprise"] and order["enterprise"] != payment["enterprise"]:
        return customs_refusal("13035", "订单与支付单的支付企业不一致")
    if payment["payer_id"] not in {order["buyer_id"], order["payer_id"]} and not order["any_payer"]:
        return customs_refusal("47", "订购人与支付人不一致")
    return None


def _match_waybill(order: Body, waybill: Body) -> Refusal | None:
    for name, term in (
        ("consignee_name", "收货人"),
        ("consignee_phone", "收货人电话"),
        ("consignee_address", "收货地址"),
    ):
        if order[name] != waybill[name]:
            return customs_refusal("120002", f"订单与运单的{term}不一致")
    return None


def _match_buyer(listed: Body, order: Body) -> Refusal | None:
    if listed["buyer_name"] != order["buyer_name"] or listed["buyer_id"] != order["buyer_id"]:
        return customs_refusal("13127", "清单与订单的订购人不一致")
    if order["buyer_phone"] and listed["buyer_phone"] != order["buyer_phone"]:
        return customs_refusal("130126", "清单与订单的订购人电话不一致")
    return None


def _match_lines(listed: Body, order: Body, *, imported: bool) -> Refusal | None:
    mine = {line["number"]: line for line in listed["lines"]}
    theirs = {line["number"]: line for line in order["lines"]}
    if len(listed["lines"]) != len(order["lines"]):
        return customs_refusal(
            "1320",
            f"清单表体数量与订单表体数量不一致[{len(listed['lines'])},{len(order['lines'])}]",
        )
    if mine.keys() != theirs.keys():
        return customs_refusal("1322", "清单与订单的商品序号不一致")
    for number, line in mine.items():
        name = _differs(line, theirs[number], imported=imported)
        if name:
            return customs_refusal("1322", f"清单与订单的商品不一致[gnum:{number},{name}]")
    return None


def _differs(line: Body, ordered: Body, *, imported: bool) -> str | None:
    """Return the field in which the lines of list and order differ, or that is wrong by itself."""
    quantity, price = Decimal(line["quantity"]), Decimal(line["price"])
    total = Decimal(line["total"])
    if (quantity * price).quantize(_CENT, ROUND_HALF_UP) != total.quantize(_CENT, ROUND_HALF_UP):
        return "totalPrice!=price*qty"
    figures = (
        ("qty", quantity, "quantity"),
        ("price", price, "price"),
        ("totalPrice", total, "total"),
    )
    for field, mine, theirs in figures:
        if mine != Decimal(ordered[theirs]):
            return field
    if imported and line["name"] != ordered["name"]:
        return "gname"
    origin = _COUNTRY.get(ordered["origin"]) or str(ordered["origin"])
    # An export's line names the destination, and an origin without a confirmed number cannot be
    # compared.
    if imported and origin.isdigit() and line["country"] != origin:
        return "country"
    return None


def _match_limit(listed: Body) -> Refusal | None:
    """Refuse a dutiable value (price + freight + insurance) above the limit, except of one
    indivisible piece.
    """
    value = (
        _sum(line["total"] for line in listed["lines"])
        + Decimal(listed["freight"])
        + Decimal(listed["insured"])
    )
    one_piece = len(listed["lines"]) == 1 and Decimal(listed["lines"][0]["quantity"]) == 1
    if value > SINGLE_LIMIT and not (one_piece and value <= YEAR_LIMIT):
        return Refusal(
            -621005, f"[Code:-621005;Desc:购买金额超过单次交易限值{SINGLE_LIMIT}:{value}]"
        )
    return None


def _sum(amounts: Iterable[str]) -> Decimal:
    return sum((Decimal(amount) for amount in amounts), Decimal(0))
