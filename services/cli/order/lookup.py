"""Reading orders by number or id for the commands, without persons."""

from __future__ import annotations

from typing import Any, Final

from services.cli.connect import (
    Exit,
    exit_with,
    print_err,
)

STATES: Final = (
    "awaits_order",
    "placed",
    "lodged",
    "withdrawing",
    "unwinding",
    "fulfilled",
    "rejected",
    "cancelled",
    "returned",
)


ENDS: Final = ("fulfilled", "rejected", "cancelled", "returned")


PERSONAL: Final = frozenset(
    {"buyer", "payer", "consignee", "sealed", "buyer_ref", "person_ref", "payer_ref"}
)
"""Never shown, though sealed or hashed: a reference links the orders of a person."""


HEAD: Final = (
    "SELECT order_id, order_no, platform_code, state, corridor, direction, mode, version, "
    "currency, "
    "goods_value_minor, "
    "amount_paid_minor, placed_at, received_at, updated_at, ended_at FROM orders.orders "
)


async def find(conn: Any, order_ref: str, *, to_change: bool = False) -> dict[str, Any]:
    """Return the order of this id, number or unique beginning; raise UsageError if several fit."""
    from services.cli.id_prefixes import order_of

    order_id = await order_of(conn, order_ref, to_change=to_change)
    row = (
        await conn.fetchrow(HEAD + "WHERE order_id = $1", order_id)
        if order_id is not None
        else None
    )
    if row is None:
        print_err(f"look with `crossborder order list`: no order {order_ref} is known here")
        exit_with(Exit.NO)
    return dict(row)


def major(minor: int | None, currency: str | None) -> str | None:
    """Return minor units as the contract's decimal string in major units."""
    from shared.money import Money

    return None if minor is None or currency is None else str(Money(int(minor), currency))


def without_persons(document: Any) -> Any:
    if isinstance(document, dict):
        return {
            k: without_persons(v)
            for k, v in document.items()
            if k not in PERSONAL and not k.endswith("_digest")
        }
    return [without_persons(v) for v in document] if isinstance(document, list) else document
