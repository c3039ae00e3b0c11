"""Cases for contradictions of the authority: both receipts, where the money stands, what to do."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from services.customs.ceb import codes
from services.customs.consolidation import declaration_store
from services.customs.domain.contradictions import HELD, MONEY, ContradictionKind
from services.customs.domain.declaration import AuthorityReply, Declaration, DeclarationState
from services.customs.receipts import store as receipts_store
from services.customs.receipts.store import StoredReceipt
from services.customs.tax_bills import store as tax_bills_store
from shared import cases
from shared.cases import Case
from shared.database import Connection
from shared.subscriptions import Outcome

REVIEW_EVERY_S: Final = 5.0
UNKNOWN_AFTER_S: Final = 3600.0
"""A tax bill may overtake the number of its list, and a declaration that of its request. After so
long it becomes a case.
"""
_GOES: Final = frozenset({"released", "closed"})
_STOPS: Final = frozenset({"returned", "detained", "shipback", "granted"})


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A reply that contradicts an earlier one. `list` is the declaration before the reply, `after`
    its state with it.
    """

    kind: ContradictionKind
    list: Declaration
    message_type: str
    reply: AuthorityReply
    after: DeclarationState


async def open_cases(conn: Connection, contradictions: Sequence[Contradiction]) -> None:
    receipts: dict[UUID, list[StoredReceipt]] = {}
    for each in await receipts_store.list_receipts(
        conn, {contradiction.list.order_id for contradiction in contradictions}
    ):
        receipts.setdefault(each.order_id, []).append(each)
    opened = []
    for contradiction in contradictions:
        first = contradicted_receipt(contradiction, receipts.get(contradiction.list.order_id, []))
        if not _was_overtaken(contradiction, first):
            opened.append(
                Case(
                    contradiction.kind,
                    contradiction.list.cop_no,
                    contradiction.list.order_id,
                    details_of(contradiction, first),
                )
            )
    await cases.open_all(conn, opened)


def contradicted_receipt(
    contradiction: Contradiction, receipts: Sequence[StoredReceipt]
) -> StoredReceipt | None:
    if contradiction.kind == "two_numbers" and (number := contradiction.list.invt_no) is not None:
        return next((each for each in receipts if each.invt_no == number), None)
    if contradiction.kind in ("released_after_refusal", "refused_after_release"):
        opposite = _STOPS if contradiction.reply.meaning in _GOES else _GOES
        return next((each for each in reversed(receipts) if _followed_as(each, opposite)), None)
    return None


def _followed_as(receipt: StoredReceipt, meanings: Collection[str]) -> bool:
    return receipt.followed and _meaning(receipt.status) in meanings


def _meaning(status: str) -> str | None:
    known = codes.find_status(status)
    return known.meaning_class if known else None


def _was_overtaken(contradiction: Contradiction, first: StoredReceipt | None) -> bool:
    """Return whether customs refused before it released: the late refusal contradicts nothing."""
    late = (
        first is not None
        and contradiction.reply.at is not None
        and contradiction.reply.at < first.at
    )
    return (
        contradiction.kind == "refused_after_release"
        and contradiction.reply.on == "declare"
        and late
    )


def details_of(contradiction: Contradiction, first: StoredReceipt | None) -> Mapping[str, Any]:
    """What a person must know. The authority's own text is left out: it may quote a
    person. Pure.
    """
    reply = contradiction.reply
    then = _receipt_details(
        contradiction.message_type, reply.status, reply.code, reply.invt_no, reply.at
    )
    return {
        "list": contradiction.list.cop_no,
        "number": contradiction.list.invt_no,
        "state": contradiction.after.value,
        "first": None
        if first is None
        else _receipt_details(
            first.message_type, first.status, first.code, first.invt_no, first.at
        ),
        "then": then,
        "money": MONEY.get(contradiction.after, HELD),
    }


def _receipt_details(
    message_type: str, status: str, code: str | None, invt_no: str | None, at: Any
) -> dict[str, str | None]:
    known = codes.find_status(status)
    return {
        "message": message_type,
        "status": status,
        "meaning": known.meaning if known else None,
        "code": code,
        "number": invt_no,
        "at": at.isoformat() if at else None,
    }


async def review_cases(conn: Connection, _deps: Any) -> Outcome:
    """Close the cases that later events settled. Open cases for tax bills and declarations that
    belong to nobody.
    """
    await receipts_store.close_numbered_cases(conn)
    await tax_bills_store.close_known_bill_cases(conn)
    await declaration_store.close_known_declarations(conn)
    bills = await tax_bills_store.list_unknown_bills(conn, UNKNOWN_AFTER_S)
    await cases.open_all(
        conn,
        [Case("bill_of_nobody", tax_no, None, {"list": invt_no}) for invt_no, tax_no in bills],
    )
    declarations = await declaration_store.list_unknown_declarations(conn, UNKNOWN_AFTER_S)
    await cases.open_all(
        conn,
        [
            Case("declaration_of_nobody", seq, None, {"sum_no": sum_no})
            for seq, sum_no in declarations
        ],
    )
    return Outcome()
