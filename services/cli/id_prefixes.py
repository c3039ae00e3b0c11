"""Any unique beginning of an id is the id; one that several share names them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from services.cli.connect import UsageError

if TYPE_CHECKING:
    from shared.database import Connection

NAMED_MAX: Final = 10
"""How many of those that share a beginning are named."""

_COLUMNS: Final = "order_id, order_no, platform_code"
BY_NUMBER: Final = f"SELECT {_COLUMNS} FROM orders.orders WHERE order_no = $1 ORDER BY received_at LIMIT {NAMED_MAX + 1}"  # noqa: S608
BY_BEGINNING: Final = (
    f"SELECT {_COLUMNS} FROM orders.orders WHERE starts_with(order_no, $1) "  # noqa: S608
    f"OR (order_id BETWEEN $2::uuid AND $3::uuid AND starts_with(order_id::text, lower($1))) ORDER BY order_no LIMIT {NAMED_MAX + 1}"
)


def complete(given: str, ids: Collection[str], what: str, *, to_change: bool = False) -> str | None:
    """The one of `ids` that is given, whole or by its beginning; None if there is none. Raises Wrong if several begin so.

    `to_change`: ids of any length, of which one is to be changed. Then 5 is no beginning of 57: it may be a whole one that is gone.
    """
    if given in ids:
        return given
    found = sorted(each for each in ids if given and each.startswith(given))
    if len(found) > 1:
        raise UsageError(f"give more of the {what}: {given} begins {_named(found)}")
    if found and to_change:
        _require_no_other(given, found[0], what)
    return found[0] if found else None


def _require_no_other(given: str, found: str, what: str) -> None:
    """Raises Wrong where the two differ in the length of a number: they may be two."""
    if given[-1].isdecimal() and found[len(given)].isdecimal():
        raise UsageError(
            f"give the whole {what}, since it is to be changed: {given} is none, and {found} may be another"
        )


async def order_of(conn: Connection, given: str, *, to_change: bool = False) -> UUID | None:
    """The id of the order of this id or number, or of this beginning of one; None if there is none.

    Raises Wrong if it is not clear which order is meant. A whole id is returned as it is, known or not.
    """
    rows = await conn.fetch(BY_NUMBER, given)
    if not rows:
        try:
            return UUID(given)
        except ValueError:
            rows = await conn.fetch(BY_BEGINNING, given, *_bounds(given)) if given else []
    if len(rows) > 1:
        raise UsageError(
            f"name the order by its id: {given} begins {_named([_one(row) for row in rows])}"
        )
    if (
        rows
        and to_change
        and given != rows[0]["order_no"]
        and not str(rows[0]["order_id"]).startswith(given.lower())
    ):
        _require_no_other(given, rows[0]["order_no"], "order number")
    return rows[0]["order_id"] if rows else None


def _one(row: Any) -> str:
    return f"{row['order_no']} ({row['order_id']})"


def _named(found: Sequence[str]) -> str:
    return ", ".join(found[:NAMED_MAX]) + (" and of others" if len(found) > NAMED_MAX else "")


def _bounds(given: str) -> tuple[UUID | None, UUID | None]:
    """The least and the greatest id that may begin so, for the index; none if no id does."""
    digits = given.replace("-", "")
    try:
        return UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))
    except ValueError:
        return None, None
