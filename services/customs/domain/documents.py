"""Documents of a declaration: order, payment, assessment and waybill, joined and matched. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from services.customs.domain.declaration import Decision, Declaration, DeclarationState, emit
from shared.events import Event
from shared.events import customs as events
from shared.events.logistics import WaybillIssued
from shared.events.orders import OrderPlaced
from shared.events.payments import PaymentCaptured
from shared.events.tax import TaxAssessed
from shared.values import replace

Match = Callable[[OrderPlaced, PaymentCaptured, WaybillIssued], Sequence[events.Mismatch]]


Document = OrderPlaced | PaymentCaptured | TaxAssessed | WaybillIssued


DOCUMENTS: Final = {
    OrderPlaced: "order",
    PaymentCaptured: "payment",
    TaxAssessed: "tax",
    WaybillIssued: "waybill",
}


ALL_DOCUMENTS: Final = frozenset(DOCUMENTS.values())


def apply_document(existing: Declaration | None, document: Document, match: Match) -> Decision:
    """Add a document, in any order and however late. The last one triggers the match and queues the
    list.

    The four are the legal trio and the assessment (GACC 2016 No. 26 arts. 3-4). A missing document
    is awaited and never a refusal.
    """
    d = existing or Declaration(document.order_id)
    if isinstance(document, WaybillIssued) and may_be_corrected(d):
        return _correct_waybill(d, document, match)
    if d.state is not DeclarationState.COLLECTING:
        return d, ()
    d = _with_document(d, document)
    if d.present != ALL_DOCUMENTS:
        return d, ()
    d, facts = _match(d, match)
    return (
        (d, facts) if facts else (replace(d, state=DeclarationState.MATCHED, waiting="declare"), ())
    )


def _match(d: Declaration, match: Match) -> Decision:
    assert d.order is not None
    assert d.payment is not None
    assert d.waybill is not None
    mismatches = match(d.order, d.payment, d.waybill)
    if not mismatches:
        return d, ()
    return emit(
        replace(d, waiting=None),
        events.DocumentsMismatched(order_id=d.order_id, mismatches=tuple(mismatches)),
    )


def may_be_corrected(d: Declaration) -> bool:
    """Return whether another waybill may replace the stored one: until a list with it is lodged."""
    return "waybill" in d.present and (
        d.state is DeclarationState.COLLECTING
        or (d.state is DeclarationState.MATCHED and d.attempt == 0)
    )


def _correct_waybill(d: Declaration, waybill: WaybillIssued, match: Match) -> Decision:
    """Replace the waybill, which must be loaded. An order that nobody placed has no timeline for
    the event.
    """
    before = d.waybill
    assert before is not None
    if before == waybill:
        return d, ()
    emitted: tuple[Event, ...] = ()
    d = replace(d, waybill=waybill)
    if "order" in d.present:
        d, emitted = emit(
            d,
            events.WaybillCorrected(
                order_id=d.order_id,
                logistics_code=waybill.logistics_code,
                logistics_no=waybill.logistics_no,
                instead_of=before.logistics_no,
            ),
        )
    if d.state is DeclarationState.COLLECTING:
        return d, emitted
    d, facts = _match(d, match)
    return d, (*emitted, *facts)


def _with_document(d: Declaration, document: Document) -> Declaration:
    name = DOCUMENTS[type(document)]
    # The first document of a kind counts, except for a waybill corrected in time.
    if name in d.present:
        return d
    direction = document.direction if isinstance(document, OrderPlaced) else d.direction
    return replace(d, present=d.present | {name}, direction=direction, **{name: document})
