"""DOC."""

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
from services.customs.domain.numbers import last_distinct_list
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
from shared.events import customs as said
from shared.values import replace


def apply_reply(
    d: Declaration,
    heard: AuthorityReply,
    policy: DeclarationPolicy,
    came_at: datetime | None = None,
) -> Decision:
    """Follow one entry of a receipt; `came_at` is when it came, by which patience is measured, by default the authority's time.

    In whichever order the words on a list come, it ends in one state. A word that leads to nothing changes nothing: `status`
    is the last word on the list that was followed.
    """
    if heard.meaning in ("waiting", "unknown") and (heard.invt_no or d.invt_no) == d.invt_no:
        return d, ()
    earlier = concerns_earlier_list(d, heard)
    d = _with_numbers(d, heard, earlier=earlier)
    if earlier or heard.meaning in ("waiting", "unknown"):
        return d, ()
    after, facts = _apply(d, heard, policy, came_at)
    if facts:
        return after, facts
    same = (
        replace(after, status=d.status, waits_since=d.waits_since) == d
        and after.release_waits == d.release_waits
    )
    return (d, ()) if same else (after, ())


def _apply(
    d: Declaration, heard: AuthorityReply, policy: DeclarationPolicy, came_at: datetime | None
) -> Decision:
    if d.release_waits and heard.on == "declare":
        return d, ()  # a release is the last word on a list
    before = d.status
    if (
        heard.on != "cancel" or heard.meaning == "granted"
    ):  # a cancellation that fails says nothing of the list
        d = replace(d, status=heard.status)
    if heard.meaning == "returned":
        way = remedy_of(heard, policy)
        d = replace(
            d,
            waits_since=(d.waits_since or came_at or reply_time(heard)) if way == "wait" else None,
        )
        if way == "wait" and is_out_of_patience(d, came_at or reply_time(heard), policy):
            way = "decision"
        if heard.on == "declare" and d.state is DeclarationState.MATCHED and not heard.technical:
            return _apply_late_rejection(d, heard, way, before, policy)
        return _ON_FAILURE[heard.on](d, heard, way, came_at or reply_time(heard), policy)
    if d.waits_since is not None:
        d = replace(d, waits_since=None)
    if heard.on == "cancel":
        return apply_cancellation_reply(d, heard, policy)
    if heard.on == "return":
        return apply_return_reply(d, heard, policy)
    return _apply_progress(d, heard, before, policy)


def _with_numbers(d: Declaration, heard: AuthorityReply, *, earlier: bool) -> Declaration:
    """With the numbers it tells; a cancellation that waited for the list's is lodged now."""
    newly_numbered = d.invt_no is None and heard.invt_no is not None
    pre_no = d.pre_no
    if heard.on == "declare":  # a cancellation and a return have numbers of their own
        pre_no = d.pre_no or heard.pre_no if earlier else heard.pre_no or d.pre_no
    first = earlier or gives_another_number(d, heard)
    invt_no = d.invt_no or heard.invt_no if first else heard.invt_no or d.invt_no
    if (invt_no, pre_no) != (d.invt_no, d.pre_no):
        d = replace(d, invt_no=invt_no, pre_no=pre_no)
    return (
        replace(d, waiting="cancel")
        if newly_numbered and d.state is DeclarationState.WITHDRAWING
        else d
    )


def gives_another_number(d: Declaration, heard: AuthorityReply) -> bool:
    """Whether customs gives this list a second number: the first stays. A list that is lodged anew may get one of its own."""
    if heard.invt_no is None or d.invt_no in (None, heard.invt_no):
        return False
    return not (
        heard.on == "declare"
        and d.attempt > 1
        and heard.attempt == d.attempt
        and d.state is DeclarationState.LODGED
    )


def concerns_earlier_list(d: Declaration, heard: AuthorityReply) -> bool:
    """Whether a list is spoken of that was returned and corrected since: what was to be done about that word is done.

    That the goods were released, detained or ordered back is about the goods, under whichever number it is said.
    """
    of_goods = ("released", "closed", "detained", "shipback")
    if heard.on != "declare" or heard.attempt is None or heard.meaning in of_goods:
        return False
    return heard.attempt < last_distinct_list(d.attempt)


def _ends_correction(
    d: Declaration, heard: AuthorityReply, before: str | None, policy: DeclarationPolicy
) -> bool:
    """Whether customs goes on with a list that was to be corrected: the goods are decided on, or it was never returned.

    Not returned is what only the e-port said no to (`before`: the last status): a word that came twice was refused the second
    time, say. After a 100 a lesser word is one that was overtaken.
    """
    of_goods = heard.meaning in ("released", "closed", "detained", "shipback")
    return d.attempt > 0 and (of_goods or failed_in_transit(before, policy))


def _apply_progress(
    d: Declaration, heard: AuthorityReply, before: str | None, policy: DeclarationPolicy
) -> Decision:
    kind = PROGRESS_EVENTS.get(heard.meaning)
    if kind is None or (
        d.state is DeclarationState.MATCHED and not _ends_correction(d, heard, before, policy)
    ):
        return d, ()
    if d.state is DeclarationState.MATCHED and failed_in_transit(before, policy):
        d = count_attempt(d)
    # A release is the last word on a list, also while its cancellation is under way.
    if d.state is DeclarationState.WITHDRAWING and d.released:
        return d, ()
    if heard.meaning in ("released", "closed") and d.state in (
        *PENDING,
        DeclarationState.MATCHED,
        DeclarationState.WITHDRAWING,
    ):
        return _apply_release(d, heard, policy)
    fact = kind(
        order_id=d.order_id,
        cop_no=d.cop_no,
        status=heard.status,
        info=heard.info,
        invt_no=d.invt_no,
    )
    if not LIST.allows(d.state, fact):
        return d, ()
    over = isinstance(fact, said.GoodsDetained | said.ReturnShipmentOrdered)
    waiting = None if over or d.state is DeclarationState.MATCHED else d.waiting
    return emit(replace(d, stored=True, waiting=waiting), fact)


def _apply_release(d: Declaration, heard: AuthorityReply, policy: DeclarationPolicy) -> Decision:
    """800; or 899 where 800 was not heard, and both are said then: goods that are closed were released.

    While a cancellation is under way the release waits for its answer: granted, the list is withdrawn in whichever order the
    two words came.
    """
    d = replace(d, stored=True, released_at=heard.at)
    if d.state is DeclarationState.WITHDRAWING:
        return release_and_return(d, reply_time(heard), policy) if d.cancel_refused else (d, ())
    common: dict[str, Any] = {
        "order_id": d.order_id, "cop_no": d.cop_no, "status": heard.status, "info": heard.info, "invt_no": d.invt_no,
    }  # fmt: skip
    waiting = None if d.state is DeclarationState.MATCHED else d.waiting
    d, facts = emit(replace(d, released=True, waiting=waiting), said.GoodsReleased(**common))
    if heard.meaning == "closed":
        d, closed = emit(d, said.ListClosed(**common))
        facts += closed
    return d, facts


def _apply_rejection(
    d: Declaration, heard: AuthorityReply, way: Remedy, now: datetime, policy: DeclarationPolicy
) -> Decision:
    """100 or a negative code: lodge again where that can help, give up where it cannot."""
    if heard.technical and (way == "there" or _is_about_repetition(d)):
        return d, ()
    if d.state is DeclarationState.WITHDRAWING and not d.released:
        return emit(
            replace(d, waiting=None), said.ListWithdrawn(order_id=d.order_id, cop_no=d.cop_no)
        )
    if d.state not in PENDING:
        return d, ()
    d = replace(d, stored=d.stored or heard.status == "100")
    returned = said.ListReturned(
        order_id=d.order_id,
        cop_no=d.cop_no,
        status=heard.status,
        info=heard.info,
        invt_no=d.invt_no,
        attempt=d.attempt,
    )
    if way in RETRIED:
        return emit(replace(queue_again(d, heard, way, now, policy), spared=d.spared + 1), returned)
    if _is_correctable(d, heard, policy):
        return emit(replace(d, waiting="declare", waiting_s=0.0), returned)
    return emit(d, _list_refused(d, heard))


def _apply_late_rejection(
    d: Declaration,
    heard: AuthorityReply,
    way: Remedy,
    before: str | None,
    policy: DeclarationPolicy,
) -> Decision:
    """100 for the list that is to be lodged again already, in whichever order the two words came.

    The e-port's failure was told first: then this is the decision. Customs gave another reason first: then the list is given
    up, if this one is mended by no correction.
    """
    failed = failed_in_transit(before, policy)
    if (
        d.attempt == 0
        or way != "decision"
        or heard.attempt != d.attempt
        or not (failed or before == heard.status)
    ):
        return d, ()
    if failed:
        d = replace(count_attempt(d), stored=d.stored or heard.status == "100", waiting="declare")
    if _is_correctable(d, heard, policy):
        return d, ()
    return emit(replace(d, waiting=None), _list_refused(d, heard))


def _is_correctable(d: Declaration, heard: AuthorityReply, policy: DeclarationPolicy) -> bool:
    return (
        heard.code or heard.status
    ) in policy.correctable and d.attempt - d.spared < policy.attempts_max


def _list_refused(d: Declaration, heard: AuthorityReply) -> said.ListRefused:
    found = heard.info or heard.status
    fault = Fault(
        field="declaration_list",
        rule="customs_accepts",
        found=found,
        expected="accepted (120)",
        code=heard.code or heard.status,
    )
    return said.ListRefused(
        order_id=d.order_id,
        cop_no=d.cop_no,
        status=heard.status,
        info=heard.info,
        invt_no=d.invt_no,
        faults=(fault,),
    )


def _is_about_repetition(d: Declaration) -> bool:
    """Whether an e-port's no is about a message that came twice: customs has the list, and will say what becomes of it.

    A number below zero is a failure on the way and no decision of customs (message specification 202205). Followed, it would
    give the money back for goods that are still to be released, or lodge a second list beside a live one.
    """
    if d.state is DeclarationState.WITHDRAWING:
        return d.attempt - d.spared <= 1 and d.invt_no is not None
    return d.state is not DeclarationState.LODGED


_ON_FAILURE: Final[Mapping[RequestKind, Callable[[Declaration, AuthorityReply, Remedy, datetime, DeclarationPolicy], Decision]]] = {
    "declare": _apply_rejection, "cancel": apply_cancellation_failure, "return": apply_return_failure,
}  # fmt: skip
