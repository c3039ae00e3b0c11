"""Replies of the authority applied to a declaration. Pure.

Statuses repeat and overtake one another on the wire, so every order of arrival ends in the same
state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from services.customs.domain.cancellation import (
    apply_cancellation_failure,
    apply_cancellation_reply,
    release_and_return,
)
from services.customs.domain.declaration import (
    LIST,
    PENDING,
    PROGRESS_EVENTS,
    AuthorityReply,
    Decision,
    Declaration,
    DeclarationPolicy,
    DeclarationState,
    Remedy,
    RequestKind,
    emit,
    reply_time,
)
from services.customs.domain.list_numbers import concerns_earlier_list, with_numbers
from services.customs.domain.retries import (
    RETRIED,
    count_attempt,
    failed_in_transit,
    is_out_of_patience,
    queue_again,
    remedy_of,
)
from services.customs.domain.return_decisions import (
    apply_return_failure,
    apply_return_reply,
)
from shared.events import Fault
from shared.events import customs as events
from shared.values import replace

_RELEASABLE: Final = (*PENDING, DeclarationState.MATCHED, DeclarationState.WITHDRAWING)


def apply_reply(
    d: Declaration,
    reply: AuthorityReply,
    policy: DeclarationPolicy,
    came_at: datetime | None = None,
) -> Decision:
    """Apply one entry of a receipt. `came_at` is its time of arrival, which patience is measured
    by; by default the authority's time.

    A reply that leads to nothing changes nothing: `status` is the last reply that was followed.
    """
    if reply.meaning in ("waiting", "unknown") and (reply.invt_no or d.invt_no) == d.invt_no:
        return d, ()
    earlier = concerns_earlier_list(d, reply)
    d = with_numbers(d, reply, earlier=earlier)
    if earlier or reply.meaning in ("waiting", "unknown"):
        return d, ()
    after, facts = _apply(d, reply, policy, came_at)
    if facts:
        return after, facts
    same = (
        replace(after, status=d.status, waits_since=d.waits_since) == d
        and after.release_waits == d.release_waits
    )
    return (d, ()) if same else (after, ())


def _apply(
    d: Declaration, reply: AuthorityReply, policy: DeclarationPolicy, came_at: datetime | None
) -> Decision:
    if d.release_waits and reply.on == "declare":
        return d, ()  # a release is the last reply on a list
    before = d.status
    # A failed cancellation says nothing of the list.
    if reply.on != "cancel" or reply.meaning == "granted":
        d = replace(d, status=reply.status)
    if reply.meaning == "returned":
        return _apply_failure(d, reply, before, policy, came_at or reply_time(reply))
    if d.waits_since is not None:
        d = replace(d, waits_since=None)
    if reply.on == "cancel":
        return apply_cancellation_reply(d, reply, policy)
    if reply.on == "return":
        return apply_return_reply(d, reply, policy)
    return _apply_progress(d, reply, before, policy)


def _apply_failure(
    d: Declaration,
    reply: AuthorityReply,
    before: str | None,
    policy: DeclarationPolicy,
    now: datetime,
) -> Decision:
    remedy = remedy_of(reply, policy)
    d = replace(d, waits_since=(d.waits_since or now) if remedy == "wait" else None)
    if remedy == "wait" and is_out_of_patience(d, now, policy):
        remedy = "decision"
    if reply.on == "declare" and d.state is DeclarationState.MATCHED and not reply.technical:
        return _apply_late_rejection(d, reply, remedy, before, policy)
    return _ON_FAILURE[reply.on](d, reply, remedy, now, policy)


def _ends_correction(
    d: Declaration, reply: AuthorityReply, before: str | None, policy: DeclarationPolicy
) -> bool:
    """Return whether customs continues with a list that waits to be corrected: it decided on the
    goods, or never returned it.

    Only the e-port refused it then (`before` is the last status). After a 100, a lesser status was
    overtaken.
    """
    of_goods = reply.meaning in ("released", "closed", "detained", "shipback")
    return d.attempt > 0 and (of_goods or failed_in_transit(before, policy))


def _apply_progress(
    d: Declaration, reply: AuthorityReply, before: str | None, policy: DeclarationPolicy
) -> Decision:
    kind = PROGRESS_EVENTS.get(reply.meaning)
    in_correction = d.state is DeclarationState.MATCHED
    if kind is None:
        return d, ()
    if in_correction and not _ends_correction(d, reply, before, policy):
        return d, ()
    d = _counted(d, before, policy)
    # A release is the last reply on a list, also during its cancellation.
    if d.state is DeclarationState.WITHDRAWING and d.released:
        return d, ()
    if _releases(d, reply):
        return _apply_release(d, reply, policy)
    fact = kind(
        order_id=d.order_id,
        cop_no=d.cop_no,
        status=reply.status,
        info=reply.info,
        invt_no=d.invt_no,
    )
    if not LIST.allows(d.state, fact):
        return d, ()
    stops = isinstance(fact, events.GoodsDetained | events.ReturnShipmentOrdered)
    if stops or in_correction:
        d = replace(d, waiting=None)
    return emit(replace(d, stored=True), fact)


def _releases(d: Declaration, reply: AuthorityReply) -> bool:
    return reply.meaning in ("released", "closed") and d.state in _RELEASABLE


def _counted(d: Declaration, before: str | None, policy: DeclarationPolicy) -> Declaration:
    in_transit = d.state is DeclarationState.MATCHED and failed_in_transit(before, policy)
    return count_attempt(d) if in_transit else d


def _apply_release(d: Declaration, reply: AuthorityReply, policy: DeclarationPolicy) -> Decision:
    """Apply 800, or 899 where 800 was missed; then both events follow, since closed goods were
    released.

    During a cancellation the release waits for its reply: granted, the list is withdrawn in either
    order of arrival.
    """
    d = replace(d, stored=True, released_at=reply.at)
    if d.state is DeclarationState.WITHDRAWING:
        return release_and_return(d, reply_time(reply), policy) if d.cancel_refused else (d, ())
    common: dict[str, Any] = {
        "order_id": d.order_id,
        "cop_no": d.cop_no,
        "status": reply.status,
        "info": reply.info,
        "invt_no": d.invt_no,
    }
    waiting = None if d.state is DeclarationState.MATCHED else d.waiting
    d, facts = emit(replace(d, released=True, waiting=waiting), events.GoodsReleased(**common))
    if reply.meaning == "closed":
        d, closed = emit(d, events.ListClosed(**common))
        facts += closed
    return d, facts


def _apply_rejection(
    d: Declaration, reply: AuthorityReply, remedy: Remedy, now: datetime, policy: DeclarationPolicy
) -> Decision:
    """Apply 100 or a negative code: lodge again where that helps, else refuse."""
    if reply.technical and (remedy == "there" or _is_about_repetition(d)):
        return d, ()
    if d.state is DeclarationState.WITHDRAWING and not d.released:
        return emit(
            replace(d, waiting=None), events.ListWithdrawn(order_id=d.order_id, cop_no=d.cop_no)
        )
    if d.state not in PENDING:
        return d, ()
    d = replace(d, stored=d.stored or reply.status == "100")
    returned = events.ListReturned(
        order_id=d.order_id,
        cop_no=d.cop_no,
        status=reply.status,
        info=reply.info,
        invt_no=d.invt_no,
        attempt=d.attempt,
    )
    if remedy in RETRIED:
        return emit(
            replace(queue_again(d, reply, remedy, now, policy), spared=d.spared + 1), returned
        )
    if _is_correctable(d, reply, policy):
        return emit(replace(d, waiting="declare", waiting_s=0.0), returned)
    return emit(d, _list_refused(d, reply))


def _apply_late_rejection(
    d: Declaration,
    reply: AuthorityReply,
    remedy: Remedy,
    before: str | None,
    policy: DeclarationPolicy,
) -> Decision:
    """Apply 100 for a list that waits to be lodged again.

    After a failure at the e-port this is the decision. After another reason of customs the list is
    refused unless a correction mends both.
    """
    failed = failed_in_transit(before, policy)
    if (
        d.attempt == 0
        or remedy != "decision"
        or reply.attempt != d.attempt
        or not (failed or before == reply.status)
    ):
        return d, ()
    if failed:
        d = replace(count_attempt(d), stored=d.stored or reply.status == "100", waiting="declare")
    if _is_correctable(d, reply, policy):
        return d, ()
    return emit(replace(d, waiting=None), _list_refused(d, reply))


def _is_correctable(d: Declaration, reply: AuthorityReply, policy: DeclarationPolicy) -> bool:
    return (
        reply.code or reply.status
    ) in policy.correctable and d.attempt - d.spared < policy.attempts_max


def _list_refused(d: Declaration, reply: AuthorityReply) -> events.ListRefused:
    text = reply.info or reply.status
    fault = Fault(
        field="declaration_list",
        rule="customs_accepts",
        found=text,
        expected="accepted (120)",
        code=reply.code or reply.status,
    )
    return events.ListRefused(
        order_id=d.order_id,
        cop_no=d.cop_no,
        status=reply.status,
        info=reply.info,
        invt_no=d.invt_no,
        faults=(fault,),
    )


def _is_about_repetition(d: Declaration) -> bool:
    """Return whether the e-port refused a repeated message: customs has the list and will decide on
    it.

    A number below zero is a failure in transit and no decision (message specification 202205).
    Following it would refund goods still to be released, or lodge a second list beside a live one.
    """
    if d.state is DeclarationState.WITHDRAWING:
        return d.attempt - d.spared <= 1 and d.invt_no is not None
    return d.state is not DeclarationState.LODGED


_ON_FAILURE: Final[
    Mapping[
        RequestKind,
        Callable[[Declaration, AuthorityReply, Remedy, datetime, DeclarationPolicy], Decision],
    ]
] = {
    "declare": _apply_rejection,
    "cancel": apply_cancellation_failure,
    "return": apply_return_failure,
}
