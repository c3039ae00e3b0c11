"""Any unique beginning of an id is the id; one that several share names them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from services.cli.connect import UsageError

if TYPE_CHECKING:
    from shared.database import Connection

NAMED_MAX: Final = 10
"""Most ids that an error names."""

_COLUMNS: Final = "order_id, order_no, platform_code"
BY_NUMBER: Final = (
    f"SELECT {_COLUMNS} FROM orders.orders WHERE order_no = $1 ORDER BY "  # noqa: S608
    f"received_at LIMIT {NAMED_MAX + 1}"
)
BY_BEGINNING: Final = (
    f"SELECT {_COLUMNS} FROM orders.orders WHERE starts_with(order_no, $1) "  # noqa: S608
    "OR (order_id BETWEEN $2::uuid AND $3::uuid AND starts_with(order_id::text, lower($1))) "
    f"ORDER BY order_no LIMIT {NAMED_MAX + 1}"
)


def complete(given: str, ids: Collection[str], what: str, *, to_change: bool = False) -> str | None:
    """Return the id that is given, whole or by its unique beginning; None if there is none.

    `to_change`: the id is of an item to be changed, so 5 is no beginning of 57.
    Raises UsageError if several ids begin so.
    """
    if given in ids:
        return given
    matches = sorted(each for each in ids if given and each.startswith(given))
    if len(matches) > 1:
        raise UsageError(f"give more of the {what}: {given} begins {_named(matches)}")
    if matches and to_change:
        _require_no_other(given, matches[0], what)
    return matches[0] if matches else None


def _require_no_other(given: str, match: str, what: str) -> None:
    """Raise UsageError if both differ in the length of a number: they may be two ids."""
    if given[-1].isdecimal() and match[len(given)].isdecimal():
        raise UsageError(
            f"give the whole {what}, since it is to be changed: no {what} is {given}, "
            f"and {match} may be another"
        )


async def order_of(conn: Connection, given: str, *, to_change: bool = False) -> UUID | None:
    """Return the order of this id, number or unique beginning; None if there is none.

    A whole id is returned as it is, known or not.
    Raises UsageError if several orders may be meant.
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


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED_MAX]) + (" and of others" if len(names) > NAMED_MAX else "")


def _bounds(given: str) -> tuple[UUID | None, UUID | None]:
    digits = given.replace("-", "")
    try:
        return UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))
    except ValueError:
        return None, None
