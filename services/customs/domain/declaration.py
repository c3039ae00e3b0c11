"""One order's declaration, from its first document to the authority's last word."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Literal
from uuid import UUID

from services.customs.domain import returns
from services.customs.domain.numbers import cop_no_of, last_told_apart
from services.customs.domain.returns import Return, Terms
from shared.events import Event, Fault
from shared.events import customs as said
from shared.events.logistics import WaybillIssued
from shared.events.orders import OrderPlaced, OrderUnwinding, WithdrawalAsked
from shared.events.payments import PaymentCaptured
from shared.events.tax import TaxAssessed
from shared.transitions import Transitions
from shared.values import replace


class State(StrEnum):
    """Where a declaration stands."""

    COLLECTING = "collecting"
    MATCHED = "matched"
    LODGED = "lodged"
    ACCEPTED = "accepted"
    REVIEW = "review"
    EXAMINATION = "examination"
    HELD = "held"
    RELEASED = "released"
    CLOSED = "closed"
    WITHDRAWING = "withdrawing"
    RETURNING = "returning"
    MISMATCHED = "mismatched"
    REFUSED = "refused"
    DETAINED = "detained"
    SHIPPED_BACK = "shipped_back"
    WITHDRAWN = "withdrawn"
    RETURNED = "returned"


PENDING: Final = (State.LODGED, State.ACCEPTED, State.REVIEW, State.EXAMINATION, State.HELD)
"""The list is with the authority and not decided."""
CLEARED: Final = (State.RELEASED, State.CLOSED)
RELEASES: Final = ("800", "899")
"""The statuses of a list whose goods may go (message specification 202205)."""
OVER: Final = (
    State.MISMATCHED,
    State.REFUSED,
    State.DETAINED,
    State.SHIPPED_BACK,
    State.WITHDRAWN,
    State.RETURNED,
)
"""Nothing more can come of it."""

Kind = Literal["declare", "cancel", "return"]
"""What a declaration may be waiting to lodge in a collective message."""

Way = Literal["decision", "there", "wait", "ours", "again"]
"""What follows from a failure on the way: nothing more is to be hoped for; customs has it already; the same again later;
our own signature or registration is wrong; the message was refused whole, and this request goes again in a smaller one."""


@dataclass(frozen=True, slots=True)
class Lodged:
    """A collective message with this order's list, cancellation or return left for the authority."""

    kind: Kind
    batch_id: UUID
    message_guid: str


@dataclass(frozen=True, slots=True)
class Answer:
    """One entry of a receipt: the list it is about, its status, and what the status means (a class of domain 2.4).

    `on` tells which request is answered; `code` is the inner or negative code where there is one; `at` is the authority's time.
    `attempt` is the list that the number in the receipt is of, None where it has none. `technical`: the e-port says it, on the
    way to customs, and customs decided nothing; `way` is what follows then. `unknown`: a status that is in none of the
    authority's lists here. `part`: the smaller message this request goes in next, and after how long (`pause_s`), where the one
    it was in was refused whole.
    """

    on: Kind
    meaning: Literal[
        "waiting", "accepted", "review", "examination", "held", "released", "closed", "returned", "detained", "shipback", "granted",
        "unknown",
    ]  # fmt: skip
    status: str
    info: str
    code: str | None = None
    invt_no: str | None = None
    pre_no: str | None = None
    at: datetime | None = None
    attempt: int | None = None
    technical: bool = False
    way: Way | None = None
    part: UUID | None = None
    pause_s: float = 0.0


@dataclass(frozen=True)
class Declaration:
    """The documents and the list of one order. `version` counts the facts said about it; `attempt` the lists lodged, and
    `spared` those of them that were lodged again through no fault of theirs: a failure on the way is no decision.
    `waits_since`: when the first of the failures was told that nothing else was heard after.

    `present` names the documents there are; whether they are at hand as well is the caller's affair until the last comes.
    So are `returns` and `released_at`, which matter to returns alone.
    """

    order_id: UUID
    state: State = State.COLLECTING
    version: int = 0
    direction: str | None = None
    present: frozenset[str] = frozenset()
    order: OrderPlaced | None = None
    payment: PaymentCaptured | None = None
    tax: TaxAssessed | None = None
    waybill: WaybillIssued | None = None
    attempt: int = 0
    stored: bool = False
    released: bool = False
    cancel_refused: bool = False
    invt_no: str | None = None
    pre_no: str | None = None
    status: str | None = None
    batch_id: UUID | None = None
    message_guid: str | None = None
    group_key: str | None = None
    waiting: Kind | None = None
    waiting_s: float = 0.0
    part: UUID | None = None
    spared: int = 0
    waits_since: datetime | None = None
    released_at: datetime | None = None
    returns: tuple[Return, ...] = ()

    @property
    def release_waits(self) -> bool:
        """Released while its cancellation is under way: which of the two stands is known once the cancellation is answered."""
        return self.state is State.WITHDRAWING and not self.released and self.status in RELEASES

    @property
    def cop_no(self) -> str:
        """The number of the list lodged last; before the first, of the first."""
        return cop_no_of(self.order_id, self.attempt)


BLANK: Final = Declaration(UUID(int=0))
"""What is known of an order of which nothing is here yet."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the declarant may decide: which return codes a corrected list mends, and how often; which ask for patience only, and
    which say that customs has the list already, beside those of the authority's own lists; how long to be
    patient, and how long to wait first and at most; and the terms of the law for returns."""

    correctable: Collection[str]
    too_soon: Collection[str]
    attempts_max: int
    too_soon_wait_s: float
    returns: Sequence[Terms] = ()
    there_already: Collection[str] = ()
    patience_s: float = 24 * 3600.0
    wait_max_s: float = 2 * 3600.0
    way_of: Callable[[str], Way | None] = lambda _code: None
    """What the authority's lists say of a code, for an answer that does not tell its `way`."""


Match = Callable[[OrderPlaced, PaymentCaptured, WaybillIssued], Sequence[said.Mismatch]]
Followed = tuple[Declaration, tuple[Event, ...]]


Document = OrderPlaced | PaymentCaptured | TaxAssessed | WaybillIssued
DOCUMENTS: Final = {
    OrderPlaced: "order",
    PaymentCaptured: "payment",
    TaxAssessed: "tax",
    WaybillIssued: "waybill",
}
ALL_DOCUMENTS: Final = frozenset(DOCUMENTS.values())

# Which state a receipt on a live list leads to. Statuses repeat and overtake one another on the wire: a lesser word after
# a greater one changes nothing, and no word changes a decided list (the contradiction is counted, not followed).
_PROGRESS: Final = {
    "accepted": State.ACCEPTED, "review": State.REVIEW, "examination": State.EXAMINATION, "held": State.HELD,
    "released": State.RELEASED, "closed": State.CLOSED, "detained": State.DETAINED, "shipback": State.SHIPPED_BACK,
}  # fmt: skip
_SAID: Final[dict[str, type[said.ReceiptEvent]]] = {
    "accepted": said.ListAccepted, "review": said.ListInReview, "examination": said.ExaminationOrdered, "held": said.GoodsHeld,
    "released": said.GoodsReleased, "closed": said.ListClosed, "detained": said.GoodsDetained,
    "shipback": said.ReturnShipmentOrdered,
}  # fmt: skip

LIST: Final = Transitions[State](
    {
        **{(s, said.ListAccepted): State.ACCEPTED for s in (State.LODGED,)},
        **{(s, said.ListInReview): State.REVIEW for s in (State.LODGED, State.ACCEPTED)},
        **{(s, said.GoodsHeld): State.HELD for s in (State.LODGED, State.ACCEPTED, State.REVIEW)},
        **{(s, said.ExaminationOrdered): State.EXAMINATION for s in PENDING if s is not State.EXAMINATION},
        **{(s, said.GoodsReleased): State.RELEASED for s in PENDING},
        **{(s, said.GoodsDetained): State.DETAINED for s in (*PENDING, State.WITHDRAWING)},
        **{(s, said.ReturnShipmentOrdered): State.SHIPPED_BACK for s in (*PENDING, State.WITHDRAWING)},
        (State.RELEASED, said.ListClosed): State.CLOSED,
        (State.WITHDRAWING, said.GoodsReleased): State.WITHDRAWING,
        **{(s, said.ListReturned): State.MATCHED for s in PENDING},
        **{(s, said.ListRefused): State.REFUSED for s in (*PENDING, State.MATCHED)},
        **{(s, said.ListWithdrawn): State.WITHDRAWN for s in (State.COLLECTING, State.MATCHED, State.WITHDRAWING)},
        **{(s, said.DocumentsMismatched): State.MISMATCHED for s in (State.COLLECTING, State.MATCHED)},
        **{(s, said.WaybillCorrected): s for s in (State.COLLECTING, State.MATCHED)},
        **{(s, said.ReturnOpened): State.RETURNING for s in (*CLEARED, State.WITHDRAWING)},
        (State.RETURNING, said.ReturnGranted): State.RETURNING,
        (State.RETURNING, said.GoodsPartlyReturned): State.CLOSED,
        (State.RETURNING, said.GoodsReturned): State.RETURNED,
        **{(s, said.ReturnRefused): State.CLOSED for s in (State.RETURNING, State.WITHDRAWING)},
        # Refused before it was ever lodged.
        **{(s, said.ReturnRefused): s for s in CLEARED},
        (State.MATCHED, said.ListLodged): State.LODGED,
        # While a correction waits to be lodged, customs goes on with the list it is of (`_goes_on`).
        **{(State.MATCHED, kind): _PROGRESS[meaning] for meaning, kind in _SAID.items() if meaning != "closed"},
    }
)  # fmt: skip


def collect(found: Declaration | None, document: Document, match: Match) -> Followed:
    """Keep a document, whichever comes first and however late; when the last one is there, match and make the list.

    The four are the legal trio and the assessment (GACC 2016 No. 26 arts. 3-4). Absence is a wait, never a refusal.
    """
    d = found or Declaration(document.order_id)
    if isinstance(document, WaybillIssued) and may_be_corrected(d):
        return _corrected(d, document, match)
    if d.state is not State.COLLECTING:
        return d, ()
    d = _with(d, document)
    if d.present != ALL_DOCUMENTS:
        return d, ()
    d, facts = _matched(d, match)
    return (d, facts) if facts else (replace(d, state=State.MATCHED, waiting="declare"), ())


def _matched(d: Declaration, match: Match) -> Followed:
    """Nothing is said of documents that match."""
    assert d.order is not None
    assert d.payment is not None
    assert d.waybill is not None
    mismatches = match(d.order, d.payment, d.waybill)
    if not mismatches:
        return d, ()
    return _say(
        replace(d, waiting=None),
        said.DocumentsMismatched(order_id=d.order_id, mismatches=tuple(mismatches)),
    )


def may_be_corrected(d: Declaration) -> bool:
    """Whether another waybill takes the place of the one that is there: until a list with it is lodged."""
    return "waybill" in d.present and (
        d.state is State.COLLECTING or (d.state is State.MATCHED and d.attempt == 0)
    )


def _corrected(d: Declaration, waybill: WaybillIssued, match: Match) -> Followed:
    """The carrier says something else before the list is lodged; the waybill that is there must be at hand.

    An order that nobody has placed has no timeline to tell it in.
    """
    before = d.waybill
    assert before is not None
    if before == waybill:
        return d, ()
    told: tuple[Event, ...] = ()
    d = replace(d, waybill=waybill)
    if "order" in d.present:
        d, told = _say(d, said.WaybillCorrected(order_id=d.order_id, logistics_code=waybill.logistics_code,
                                                logistics_no=waybill.logistics_no, instead_of=before.logistics_no))  # fmt: skip
    if d.state is State.COLLECTING:
        return d, told
    d, facts = _matched(d, match)
    return d, (*told, *facts)


def _with(d: Declaration, document: Document) -> Declaration:
    name = DOCUMENTS[type(document)]
    # The first of a kind counts, but for a waybill that is corrected in time.
    if name in d.present:
        return d
    direction = document.direction if isinstance(document, OrderPlaced) else d.direction
    return replace(d, present=d.present | {name}, direction=direction, **{name: document})


def stop(found: Declaration | None, event: OrderUnwinding) -> Followed:
    """The order is being undone for a reason of its own: no list is made of it any more, and nobody asks to be told."""
    d = found or Declaration(event.order_id)
    if d.state in (State.COLLECTING, State.MATCHED):
        return replace(d, state=State.WITHDRAWN, waiting=None), ()
    return d, ()


def withdraw(
    found: Declaration | None, event: WithdrawalAsked, at: datetime, policy: Policy
) -> Followed:
    """Take the list back if that is still possible, else open a return; where it is over already, the fact was said.

    For a cleared list its returns, its release and its documents must be at hand.
    """
    d = found or Declaration(event.order_id)
    if d.state in (State.COLLECTING, State.MATCHED):
        return _say(
            replace(d, waiting=None),
            said.ListWithdrawn(order_id=d.order_id, cop_no=d.cop_no if d.attempt else None),
        )
    if d.state in PENDING:
        # A cancellation names the list by the number customs gave it, so it waits for that number.
        return replace(d, state=State.WITHDRAWING, waiting="cancel" if d.invt_no else None), ()
    if d.state in CLEARED:
        return _open_return(d, event, at, policy)
    return d, ()


def _open_return(
    d: Declaration, event: WithdrawalAsked | None, at: datetime, policy: Policy
) -> Followed:
    """Apply for the return of what is asked for; `event` is None for a list released while it was being cancelled."""
    parts = event.lines if event is not None else ()
    why = _why_no_return(d, parts, at, policy)
    if why is not None:
        return _say(
            replace(d, waiting=None), said.ReturnRefused(order_id=d.order_id, status="", info=why)
        )
    number = len(d.returns) + 1
    asked = Return(number, "asked", parts, event.refund_if_late if event is not None else True, at)
    opened = said.ReturnOpened(order_id=d.order_id, invt_no=d.invt_no or "", return_no=number)
    return _say(replace(d, waiting="return", returns=(*d.returns, asked)), opened)


def _why_no_return(
    d: Declaration, parts: Sequence[Any], at: datetime, policy: Policy
) -> str | None:
    terms = _terms(d, policy)
    if terms is None or d.released_at is None:
        return "no terms for returns are known for goods released on that day"
    days = returns.days_between(d.released_at, at)
    if days > terms.apply_days_max:
        return f"applied for {days} days after the release, expected at most {terms.apply_days_max} ({terms.source})"
    assert d.order is not None
    return returns.unreturnable(d.order, parts, returns.returned_before(d.returns))


def _terms(d: Declaration, policy: Policy) -> Terms | None:
    if d.released_at is None:
        return None
    return returns.terms_on(policy.returns, d.direction or "", returns.beijing_date(d.released_at))


def lodged(d: Declaration, event: Lodged) -> Followed:
    """The collective message with this declaration's request was put on the wire."""
    d = replace(
        d,
        waiting=None,
        waiting_s=0.0,
        part=None,
        batch_id=event.batch_id,
        message_guid=event.message_guid,
    )
    if event.kind != "declare":
        return d, ()
    d = replace(d, attempt=d.attempt + 1)
    return _say(d, said.ListLodged(order_id=d.order_id, cop_no=d.cop_no, batch_id=event.batch_id, message_guid=event.message_guid,
                                   attempt=d.attempt))  # fmt: skip


def unlodgeable(
    d: Declaration, kind: Kind, why: str, at: datetime, policy: Policy, fault: Fault | None = None
) -> Followed:
    """The request cannot be printed at all (a code without a word at the authority, an erased person): no wait can help.

    `fault` says it of the field that is wrong; by default it is the list as a whole.
    """
    d = replace(d, waiting=None)
    if kind == "declare":
        fault = fault or Fault(
            field="declaration_list",
            rule="list_can_be_printed",
            found=why,
            expected="a declarable list",
        )
        return _say(
            d,
            said.ListRefused(
                order_id=d.order_id,
                cop_no=d.cop_no,
                status="",
                info=why,
                invt_no=d.invt_no,
                faults=(fault,),
            ),
        )
    if kind == "return":
        return _say(
            _with_return(d, state="refused"),
            said.ReturnRefused(order_id=d.order_id, status="", info=why),
        )
    return _cancellation_refused(d, at, policy)


def answer(
    d: Declaration, heard: Answer, policy: Policy, came_at: datetime | None = None
) -> Followed:
    """Follow one entry of a receipt; `came_at` is when it came, by which patience is measured, by default the authority's time.

    In whichever order the words on a list come, it ends in one state. A word that leads to nothing changes nothing: `status`
    is the last word on the list that was followed.
    """
    if heard.meaning in ("waiting", "unknown") and (heard.invt_no or d.invt_no) == d.invt_no:
        return d, ()
    earlier = is_of_an_earlier_list(d, heard)
    d = _with_numbers(d, heard, earlier=earlier)
    if earlier or heard.meaning in ("waiting", "unknown"):
        return d, ()
    after, facts = _follow(d, heard, policy, came_at)
    if facts:
        return after, facts
    same = (
        replace(after, status=d.status, waits_since=d.waits_since) == d
        and after.release_waits == d.release_waits
    )
    return (d, ()) if same else (after, ())


def _follow(d: Declaration, heard: Answer, policy: Policy, came_at: datetime | None) -> Followed:
    if d.release_waits and heard.on == "declare":
        return d, ()  # a release is the last word on a list
    before = d.status
    if (
        heard.on != "cancel" or heard.meaning == "granted"
    ):  # a cancellation that fails says nothing of the list
        d = replace(d, status=heard.status)
    if heard.meaning == "returned":
        way = way_of(heard, policy)
        d = replace(
            d, waits_since=(d.waits_since or came_at or _at(heard)) if way == "wait" else None
        )
        if way == "wait" and _is_out_of_patience(d, came_at or _at(heard), policy):
            way = "decision"
        if heard.on == "declare" and d.state is State.MATCHED and not heard.technical:
            return _on_returned_as_well(d, heard, way, before, policy)
        return _ON_FAILURE[heard.on](d, heard, way, came_at or _at(heard), policy)
    if d.waits_since is not None:
        d = replace(d, waits_since=None)
    if heard.on == "cancel":
        return _on_cancellation(d, heard, policy)
    if heard.on == "return":
        return _on_return(d, heard, policy)
    return _on_progress(d, heard, before, policy)


def way_of(heard: Answer, policy: Policy) -> Way:
    """What follows from a refusal: of the authority's own lists, or what the declarant's policy says of its code."""
    code = heard.code or heard.status
    way = heard.way or (
        (policy.way_of(code) or policy.way_of(heard.status)) if heard.technical else None
    )
    if way is not None and way != "decision":
        return way
    if code in policy.there_already and heard.technical:
        return "there"
    return "wait" if code in policy.too_soon else "decision"


def _is_out_of_patience(d: Declaration, now: datetime, policy: Policy) -> bool:
    """Patience is a time and never a number of attempts: an outage has as many of these as it lasts."""
    return d.waits_since is not None and (now - d.waits_since).total_seconds() > policy.patience_s


def _again(d: Declaration, heard: Answer, way: Way, now: datetime, policy: Policy) -> Declaration:
    """The same request waits to be lodged again. The pause grows with the time that it has waited already."""
    pause_s = heard.pause_s
    if way == "wait" and d.waits_since is not None:
        pause_s = max(
            policy.too_soon_wait_s, min((now - d.waits_since).total_seconds(), policy.wait_max_s)
        )
    return replace(d, waiting=heard.on, waiting_s=pause_s, part=heard.part)


def _with_numbers(d: Declaration, heard: Answer, *, earlier: bool) -> Declaration:
    """With the numbers it tells; a cancellation that waited for the list's is lodged now."""
    newly_numbered = d.invt_no is None and heard.invt_no is not None
    pre_no = d.pre_no
    if heard.on == "declare":  # a cancellation and a return have numbers of their own
        pre_no = d.pre_no or heard.pre_no if earlier else heard.pre_no or d.pre_no
    first = earlier or is_another_number(d, heard)
    invt_no = d.invt_no or heard.invt_no if first else heard.invt_no or d.invt_no
    if (invt_no, pre_no) != (d.invt_no, d.pre_no):
        d = replace(d, invt_no=invt_no, pre_no=pre_no)
    return replace(d, waiting="cancel") if newly_numbered and d.state is State.WITHDRAWING else d


def is_another_number(d: Declaration, heard: Answer) -> bool:
    """Whether customs gives this list a second number: the first stays. A list that is lodged anew may get one of its own."""
    if heard.invt_no is None or d.invt_no in (None, heard.invt_no):
        return False
    return not (
        heard.on == "declare"
        and d.attempt > 1
        and heard.attempt == d.attempt
        and d.state is State.LODGED
    )


def is_of_an_earlier_list(d: Declaration, heard: Answer) -> bool:
    """Whether a list is spoken of that was returned and corrected since: what was to be done about that word is done.

    That the goods were released, detained or ordered back is about the goods, under whichever number it is said.
    """
    of_goods = ("released", "closed", "detained", "shipback")
    if heard.on != "declare" or heard.attempt is None or heard.meaning in of_goods:
        return False
    return heard.attempt < last_told_apart(d.attempt)


def _goes_on(d: Declaration, heard: Answer, before: str | None, policy: Policy) -> bool:
    """Whether customs goes on with a list that was to be corrected: the goods are decided on, or it was never returned.

    Not returned is what only the e-port said no to (`before`: the last status): a word that came twice was refused the second
    time, say. After a 100 a lesser word is one that was overtaken.
    """
    of_goods = heard.meaning in ("released", "closed", "detained", "shipback")
    return d.attempt > 0 and (of_goods or _failed_on_the_way(before, policy))


def _failed_on_the_way(status: str | None, policy: Policy) -> bool:
    """Whether a list that waits to be lodged again was never returned by customs: the e-port said no to it (4, below zero)."""
    return status is not None and (status.startswith("-") or policy.way_of(status) is not None)


def _not_spared(d: Declaration) -> Declaration:
    """Customs has the list that failed on the way, or had it: its own word on it counts, and the wait is over."""
    return replace(d, spared=max(0, d.spared - 1), waiting_s=0.0, part=None)


def _on_progress(d: Declaration, heard: Answer, before: str | None, policy: Policy) -> Followed:
    kind = _SAID.get(heard.meaning)
    if kind is None or (d.state is State.MATCHED and not _goes_on(d, heard, before, policy)):
        return d, ()
    if d.state is State.MATCHED and _failed_on_the_way(before, policy):
        d = _not_spared(d)
    # A release is the last word on a list, also while its cancellation is under way.
    if d.state is State.WITHDRAWING and d.released:
        return d, ()
    if heard.meaning in ("released", "closed") and d.state in (
        *PENDING,
        State.MATCHED,
        State.WITHDRAWING,
    ):
        return _on_release(d, heard, policy)
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
    waiting = None if over or d.state is State.MATCHED else d.waiting
    return _say(replace(d, stored=True, waiting=waiting), fact)


def _on_release(d: Declaration, heard: Answer, policy: Policy) -> Followed:
    """800; or 899 where 800 was not heard, and both are said then: goods that are closed were released.

    While a cancellation is under way the release waits for its answer: granted, the list is withdrawn in whichever order the
    two words came.
    """
    d = replace(d, stored=True, released_at=heard.at)
    if d.state is State.WITHDRAWING:
        return _release_and_return(d, _at(heard), policy) if d.cancel_refused else (d, ())
    common: dict[str, Any] = {
        "order_id": d.order_id, "cop_no": d.cop_no, "status": heard.status, "info": heard.info, "invt_no": d.invt_no,
    }  # fmt: skip
    waiting = None if d.state is State.MATCHED else d.waiting
    d, facts = _say(replace(d, released=True, waiting=waiting), said.GoodsReleased(**common))
    if heard.meaning == "closed":
        d, closed = _say(d, said.ListClosed(**common))
        facts += closed
    return d, facts


def _release_and_return(d: Declaration, at: datetime, policy: Policy) -> Followed:
    """The cancellation came too late: the goods were released, and only a return takes them back."""
    facts: tuple[Event, ...] = ()
    if not d.released:
        fact = said.GoodsReleased(
            order_id=d.order_id, cop_no=d.cop_no, status=d.status or "", info="", invt_no=d.invt_no
        )
        d, facts = _say(replace(d, released=True), fact)
    d, opened = _open_return(d, None, at, policy)
    return d, (*facts, *opened)


def _on_returned(
    d: Declaration, heard: Answer, way: Way, now: datetime, policy: Policy
) -> Followed:
    """100 or a negative code: lodge again where that can help, give up where it cannot."""
    if heard.technical and (way == "there" or _has_the_list(d)):
        return d, ()
    if d.state is State.WITHDRAWING and not d.released:
        return _say(
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
    if way in _AGAIN:
        return _say(replace(_again(d, heard, way, now, policy), spared=d.spared + 1), returned)
    if _mendable(d, heard, policy):
        return _say(replace(d, waiting="declare", waiting_s=0.0), returned)
    return _say(d, _refused(d, heard))


def _on_returned_as_well(
    d: Declaration, heard: Answer, way: Way, before: str | None, policy: Policy
) -> Followed:
    """100 for the list that is to be lodged again already, in whichever order the two words came.

    The e-port's failure was told first: then this is the decision. Customs gave another reason first: then the list is given
    up, if this one is mended by no correction.
    """
    failed = _failed_on_the_way(before, policy)
    if (
        d.attempt == 0
        or way != "decision"
        or heard.attempt != d.attempt
        or not (failed or before == heard.status)
    ):
        return d, ()
    if failed:
        d = replace(_not_spared(d), stored=d.stored or heard.status == "100", waiting="declare")
    if _mendable(d, heard, policy):
        return d, ()
    return _say(replace(d, waiting=None), _refused(d, heard))


def _mendable(d: Declaration, heard: Answer, policy: Policy) -> bool:
    return (
        heard.code or heard.status
    ) in policy.correctable and d.attempt - d.spared < policy.attempts_max


def _refused(d: Declaration, heard: Answer) -> said.ListRefused:
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


def _has_the_list(d: Declaration) -> bool:
    """Whether an e-port's no is about a message that came twice: customs has the list, and will say what becomes of it.

    A number below zero is a failure on the way and no decision of customs (message specification 202205). Followed, it would
    give the money back for goods that are still to be released, or lodge a second list beside a live one.
    """
    if d.state is State.WITHDRAWING:
        return d.attempt - d.spared <= 1 and d.invt_no is not None
    return d.state is not State.LODGED


def _on_cancellation_failed(
    d: Declaration, heard: Answer, way: Way, now: datetime, policy: Policy
) -> Followed:
    if d.state is not State.WITHDRAWING or way == "there":
        return d, ()
    if way in _AGAIN:
        return _again(d, heard, way, now, policy), ()
    return _cancellation_refused(replace(d, waiting=None), _at(heard), policy)


def _on_cancellation(d: Declaration, heard: Answer, policy: Policy) -> Followed:
    if d.state is not State.WITHDRAWING or heard.meaning != "granted":
        return d, ()
    if not d.released:
        # Also where the release was heard: customs cancels no list that it has cleared, and nothing has followed from that word.
        gone = replace(d, waiting=None, released_at=None)
        return _say(gone, said.ListWithdrawn(order_id=d.order_id, cop_no=d.cop_no))
    # Granted for goods whose release was followed: they are on their way to the buyer, and only a return takes them back.
    return _cancellation_refused(replace(d, waiting=None), _at(heard), policy)


def _cancellation_refused(d: Declaration, at: datetime, policy: Policy) -> Followed:
    """The list is cleared, or an officer has it in hand: what the list itself is told next decides."""
    d = replace(d, cancel_refused=True)
    return _release_and_return(d, at, policy) if d.released or d.release_waits else (d, ())


def _on_return(d: Declaration, heard: Answer, policy: Policy) -> Followed:
    """Granted (399), the goods are awaited; released (800), the authority has seen that they are back."""
    if d.state is not State.RETURNING or _is_of_another_return(d, heard):
        return d, ()
    match heard.meaning:
        case "granted" if d.returns[-1].state == "asked":
            return _granted(_with_return(d, state="granted", pre_no=heard.pre_no), policy)
        case "released" | "closed":
            return _back(d, heard, policy)
    return d, ()


def _is_of_another_return(d: Declaration, heard: Answer) -> bool:
    return heard.pre_no is not None and any(heard.pre_no == each.pre_no for each in d.returns[:-1])


def _on_return_failed(
    d: Declaration, heard: Answer, way: Way, now: datetime, policy: Policy
) -> Followed:
    if d.state is not State.RETURNING or _is_of_another_return(d, heard) or way == "there":
        return d, ()
    if way in _AGAIN and d.returns[-1].state == "asked":
        return _again(d, heard, way, now, policy), ()
    d = _with_return(d, state="refused", pre_no=heard.pre_no)
    return _say(
        replace(d, waiting=None),
        said.ReturnRefused(order_id=d.order_id, status=heard.status, info=heard.info),
    )


_AGAIN: Final = ("wait", "ours", "again")
_ON_FAILURE: Final[Mapping[Kind, Callable[[Declaration, Answer, Way, datetime, Policy], Followed]]] = {
    "declare": _on_returned, "cancel": _on_cancellation_failed, "return": _on_return_failed,
}  # fmt: skip


def _granted(d: Declaration, policy: Policy) -> Followed:
    back_by = returns.beijing_date(_released_at(d)) + timedelta(
        days=_known_terms(d, policy).back_days_max
    )
    granted = said.ReturnGranted(
        order_id=d.order_id,
        invt_no=d.invt_no or "",
        return_no=d.returns[-1].return_no,
        back_by=back_by,
    )
    return _say(d, granted)


def _back(d: Declaration, heard: Answer, policy: Policy) -> Followed:
    """The goods are back, in time or late; which of the two decides whether tax is levied (GACC 2020 No. 45, art. 3)."""
    assert d.order is not None
    asked, at = d.returns[-1], _at(heard)
    lines = returns.lines_back(d.order, d.tax, asked.parts, d.returns[:-1])
    in_time = returns.days_between(_released_at(d), at) <= _known_terms(d, policy).back_days_max
    d = _with_return(
        d,
        state="back" if in_time else "late",
        back_at=at,
        pre_no=heard.pre_no or asked.pre_no,
        lines=lines,
    )
    kind = (
        said.GoodsReturned
        if all(x.returned == x.ordered for x in lines)
        else said.GoodsPartlyReturned
    )
    fact = kind(
        order_id=d.order_id, invt_no=d.invt_no or "", return_no=asked.return_no, in_time=in_time,
        refund_if_late=asked.refund_if_late, released_on=returns.beijing_date(_released_at(d)), back_on=returns.beijing_date(at),
        lines=lines,
    )  # fmt: skip
    return _say(replace(d, waiting=None), fact)


def give_up_return(d: Declaration, at: datetime, policy: Policy) -> Followed:
    """A return whose goods never came, or that nobody ever answered: the list stays closed and the sale a sale.

    Its returns and its release must be at hand. Before the day, and of what is no open return, nothing follows.
    """
    if d.state is not State.RETURNING or d.returns[-1].state not in returns.OPEN:
        return d, ()
    last = returns.given_up_after(_known_terms(d, policy), _released_at(d))
    if returns.beijing_date(at) <= last:
        return d, ()
    why = f"the goods were not back: found none by {last}, the last day they are waited for"
    d = replace(_with_return(d, state="refused"), waiting=None)
    return _say(d, said.ReturnRefused(order_id=d.order_id, status="", info=why))


def _with_return(d: Declaration, **change: Any) -> Declaration:
    """With its open return changed, which is the last."""
    return replace(d, returns=(*d.returns[:-1], replace(d.returns[-1], **change)))


def _at(heard: Answer) -> datetime:
    assert heard.at is not None, "the authority dates every receipt"
    return heard.at


def _released_at(d: Declaration) -> datetime:
    assert d.released_at is not None, "only what was released comes back"
    return d.released_at


def _known_terms(d: Declaration, policy: Policy) -> Terms:
    terms = _terms(d, policy)
    assert terms is not None, "a return is opened under terms that are known"
    return terms


def _say(d: Declaration, fact: Event) -> Followed:
    """Fold one's own fact and announce it."""
    return replace(d, state=LIST.next(d.state, fact), version=d.version + 1), (fact,)


def correction_of(d: Declaration) -> Literal["1", "2"]:
    """appType of the next list: 2 (amend) once customs has stored it, 1 (new) while only the e-port has seen it."""
    return "2" if d.stored else "1"
