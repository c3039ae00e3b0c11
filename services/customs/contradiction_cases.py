"""Contradictions of the authority become cases: with both receipts, what was done with the money, and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
"""A bill that overtook the number of its list, or a declaration that of its request, waits for it so long."""
_GOES: Final = frozenset({"released", "closed"})
_STOPS: Final = frozenset({"returned", "detained", "shipback", "granted"})


@dataclass(frozen=True, slots=True)
class Contradiction:
    """An answer that contradicts what was heard before; `list` as it stood then, `after` where it stands with the answer."""

    kind: ContradictionKind
    list: Declaration
    message_type: str
    heard: AuthorityReply
    after: DeclarationState


async def open_cases(conn: Connection, found: Sequence[Contradiction]) -> None:
    """Open a case for each, unless customs said the two words in the other order and the later one was followed first."""
    told: dict[UUID, list[StoredReceipt]] = {}
    for each in await receipts_store.list_receipts(conn, {odd.list.order_id for odd in found}):
        told.setdefault(each.order_id, []).append(each)
    opened = []
    for odd in found:
        first = contradicted_receipt(odd, told.get(odd.list.order_id, []))
        if not _was_overtaken(odd, first):
            opened.append(
                Case(odd.kind, odd.list.cop_no, odd.list.order_id, details_of(odd, first))
            )
    await cases.open_all(conn, opened)


def contradicted_receipt(odd: Contradiction, told: Sequence[StoredReceipt]) -> StoredReceipt | None:
    """The receipt that this one contradicts, the last of its kind that was followed; None where there is none. Pure."""
    match odd.kind:
        case "two_numbers":
            fits = [
                each
                for each in told
                if each.invt_no is not None and each.invt_no == odd.list.invt_no
            ]
            return fits[0] if fits else None
        case "released_after_refusal" | "refused_after_release":
            opposite = _STOPS if odd.heard.meaning in _GOES else _GOES
            fits = [each for each in told if each.followed and _meaning(each.status) in opposite]
            return fits[-1] if fits else None
    return None


def _meaning(status: str) -> str | None:
    found = codes.find_status(status)
    return found.meaning_class if found else None


def _was_overtaken(odd: Contradiction, first: StoredReceipt | None) -> bool:
    """Whether customs said this before it let the goods go: a word that comes late contradicts nothing."""
    late = first is not None and odd.heard.at is not None and odd.heard.at < first.at
    return odd.kind == "refused_after_release" and odd.heard.on == "declare" and late


def details_of(odd: Contradiction, first: StoredReceipt | None) -> Mapping[str, Any]:
    """What a person must know, without the authority's own text: it may quote one. Pure."""
    heard = odd.heard
    then = _receipt_details(odd.message_type, heard.status, heard.code, heard.invt_no, heard.at)
    return {
        "list": odd.list.cop_no, "number": odd.list.invt_no, "state": odd.after.value,
        "first": None if first is None else _receipt_details(first.message_type, first.status, first.code, first.invt_no, first.at),
        "then": then, "money": MONEY.get(odd.after, HELD),
    }  # fmt: skip


def _receipt_details(
    message_type: str, status: str, code: str | None, invt_no: str | None, at: Any
) -> dict[str, str | None]:
    found = codes.find_status(status)
    return {
        "message": message_type, "status": status, "meaning": found.meaning if found else None, "code": code, "number": invt_no,
        "at": at.isoformat() if at else None,
    }  # fmt: skip


async def review_cases(conn: Connection, _deps: Any) -> Outcome:
    """Close the cases that time has settled, and open those of bills and declarations that are of nobody."""
    await receipts_store.close_numbered_cases(conn)
    await tax_bills_store.close_known_bill_cases(conn)
    await declaration_store.close_known_declarations(conn)
    strange = await tax_bills_store.list_unknown_bills(conn, UNKNOWN_AFTER_S)
    await cases.open_all(
        conn,
        [Case("bill_of_nobody", tax_no, None, {"list": invt_no}) for invt_no, tax_no in strange],
    )
    declared = await declaration_store.list_unknown_declarations(conn, UNKNOWN_AFTER_S)
    await cases.open_all(
        conn,
        [Case("declaration_of_nobody", seq, None, {"sum_no": sum_no}) for seq, sum_no in declared],
    )
    return Outcome()
