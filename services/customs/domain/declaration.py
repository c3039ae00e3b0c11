"""One order's declaration: its states, its values and the table of transitions. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal
from uuid import UUID

from services.customs.domain.numbers import cop_no_of
from services.customs.domain.returns import Return, ReturnTerms
from shared.events import Event
from shared.events import customs as events
from shared.events.logistics import WaybillIssued
from shared.events.orders import OrderPlaced
from shared.events.payments import PaymentCaptured
from shared.events.tax import TaxAssessed
from shared.transitions import Transitions
from shared.values import replace


class DeclarationState(StrEnum):
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


PENDING: Final = (
    DeclarationState.LODGED,
    DeclarationState.ACCEPTED,
    DeclarationState.REVIEW,
    DeclarationState.EXAMINATION,
    DeclarationState.HELD,
)
"""The list is with the authority and undecided."""
CLEARED: Final = (DeclarationState.RELEASED, DeclarationState.CLOSED)
RELEASES: Final = ("800", "899")
"""Statuses of a list whose goods may go (message specification 202205)."""
OVER: Final = (
    DeclarationState.MISMATCHED,
    DeclarationState.REFUSED,
    DeclarationState.DETAINED,
    DeclarationState.SHIPPED_BACK,
    DeclarationState.WITHDRAWN,
    DeclarationState.RETURNED,
)
"""Final states."""

RequestKind = Literal["declare", "cancel", "return"]
"""What a declaration asks of the authority in a collective message."""

Remedy = Literal["decision", "there", "wait", "ours", "again"]
"""What follows from a refusal. `decision`: nothing helps. `there`: customs has the request already.
`wait`: send the same again later. `ours`: our signature or registration is wrong. `again`: the
whole message was refused, and this request goes into a smaller one.
"""


ReplyMeaning = Literal[
    "waiting",
    "accepted",
    "review",
    "examination",
    "held",
    "released",
    "closed",
    "returned",
    "detained",
    "shipback",
    "granted",
    "unknown",
]
"""What a status means for a request: a class of the status list, or `unknown`."""


@dataclass(frozen=True, slots=True)
class AuthorityReply:
    """One entry of a receipt, in the domain's words (status classes of domain 2.4).

    `on` is the request it answers. `code` is the inner or negative code. `at` is the authority's
    time. `attempt` is the list that the number in the receipt belongs to, None without a number.

    `technical`: the e-port replied and customs decided nothing; `way` says what follows. `unknown`:
    a status in none of the authority's lists here. `part` and `pause_s`: the smaller message this
    request goes into, and after how long.
    """

    on: RequestKind
    meaning: ReplyMeaning
    status: str
    info: str
    code: str | None = None
    invt_no: str | None = None
    pre_no: str | None = None
    at: datetime | None = None
    attempt: int | None = None
    technical: bool = False
    way: Remedy | None = None
    part: UUID | None = None
    pause_s: float = 0.0


@dataclass(frozen=True)
class Declaration:
    """The documents and the list of one order. `version` counts its events, `attempt` the lists
    lodged. `spared` counts lists lodged again after a failure in transit, which is no decision.

    `waits_since` is the first failure since the last other reply. `present` names the stored
    documents; the caller loads them when the last arrives, and `returns` and `released_at` where a
    return needs them.
    """

    order_id: UUID
    state: DeclarationState = DeclarationState.COLLECTING
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
    waiting: RequestKind | None = None
    waiting_s: float = 0.0
    part: UUID | None = None
    spared: int = 0
    waits_since: datetime | None = None
    released_at: datetime | None = None
    returns: tuple[Return, ...] = ()

    @property
    def release_waits(self) -> bool:
        """Return whether a release waits for the reply to the cancellation, which decides between
        the two.
        """
        return (
            self.state is DeclarationState.WITHDRAWING
            and not self.released
            and self.status in RELEASES
        )

    @property
    def cop_no(self) -> str:
        return cop_no_of(self.order_id, self.attempt)


BLANK: Final = Declaration(UUID(int=0))
"""A declaration of which nothing is known."""


@dataclass(frozen=True, slots=True)
class DeclarationPolicy:
    """What the declarant decides.

    `correctable`: codes that a corrected list mends, at most `attempts_max` times. `too_soon`:
    codes that ask for patience. `there_already`: codes that say customs has the list. `returns`:
    the terms of the law.
    """

    correctable: Collection[str]
    too_soon: Collection[str]
    attempts_max: int
    too_soon_wait_s: float
    returns: Sequence[ReturnTerms] = ()
    there_already: Collection[str] = ()
    patience_s: float = 24 * 3600.0
    wait_max_s: float = 2 * 3600.0
    way_of: Callable[[str], Remedy | None] = lambda _code: None
    """What the authority's lists say of a code, where a reply carries no `way`."""


Decision = tuple[Declaration, tuple[Event, ...]]

_S = DeclarationState

# The state that a receipt on a live list leads to. Statuses repeat and overtake one another. A
# lesser status after a greater one changes nothing, and none changes a decided list.
_PROGRESS: Final = {
    "accepted": _S.ACCEPTED,
    "review": _S.REVIEW,
    "examination": _S.EXAMINATION,
    "held": _S.HELD,
    "released": _S.RELEASED,
    "closed": _S.CLOSED,
    "detained": _S.DETAINED,
    "shipback": _S.SHIPPED_BACK,
}
PROGRESS_EVENTS: Final[dict[str, type[events.ReceiptEvent]]] = {
    "accepted": events.ListAccepted,
    "review": events.ListInReview,
    "examination": events.ExaminationOrdered,
    "held": events.GoodsHeld,
    "released": events.GoodsReleased,
    "closed": events.ListClosed,
    "detained": events.GoodsDetained,
    "shipback": events.ReturnShipmentOrdered,
}

LIST: Final = Transitions[DeclarationState](
    {
        **{(s, events.ListAccepted): _S.ACCEPTED for s in (_S.LODGED,)},
        **{(s, events.ListInReview): _S.REVIEW for s in (_S.LODGED, _S.ACCEPTED)},
        **{(s, events.GoodsHeld): _S.HELD for s in (_S.LODGED, _S.ACCEPTED, _S.REVIEW)},
        **{
            (s, events.ExaminationOrdered): _S.EXAMINATION
            for s in PENDING
            if s is not _S.EXAMINATION
        },
        **{(s, events.GoodsReleased): _S.RELEASED for s in PENDING},
        **{(s, events.GoodsDetained): _S.DETAINED for s in (*PENDING, _S.WITHDRAWING)},
        **{(s, events.ReturnShipmentOrdered): _S.SHIPPED_BACK for s in (*PENDING, _S.WITHDRAWING)},
        (_S.RELEASED, events.ListClosed): _S.CLOSED,
        (_S.WITHDRAWING, events.GoodsReleased): _S.WITHDRAWING,
        **{(s, events.ListReturned): _S.MATCHED for s in PENDING},
        **{(s, events.ListRefused): _S.REFUSED for s in (*PENDING, _S.MATCHED)},
        **{
            (s, events.ListWithdrawn): _S.WITHDRAWN
            for s in (_S.COLLECTING, _S.MATCHED, _S.WITHDRAWING)
        },
        **{(s, events.DocumentsMismatched): _S.MISMATCHED for s in (_S.COLLECTING, _S.MATCHED)},
        **{(s, events.WaybillCorrected): s for s in (_S.COLLECTING, _S.MATCHED)},
        **{(s, events.ReturnOpened): _S.RETURNING for s in (*CLEARED, _S.WITHDRAWING)},
        (_S.RETURNING, events.ReturnGranted): _S.RETURNING,
        (_S.RETURNING, events.GoodsPartlyReturned): _S.CLOSED,
        (_S.RETURNING, events.GoodsReturned): _S.RETURNED,
        **{(s, events.ReturnRefused): _S.CLOSED for s in (_S.RETURNING, _S.WITHDRAWING)},
        # Refused before it was ever lodged.
        **{(s, events.ReturnRefused): s for s in CLEARED},
        (_S.MATCHED, events.ListLodged): _S.LODGED,
        # Customs may continue with the list while its correction waits to be lodged.
        **{
            (_S.MATCHED, kind): _PROGRESS[meaning]
            for meaning, kind in PROGRESS_EVENTS.items()
            if meaning != "closed"
        },
    }
)


def reply_time(reply: AuthorityReply) -> datetime:
    assert reply.at is not None, "the authority dates every receipt"
    return reply.at


def emit(d: Declaration, fact: Event) -> Decision:
    return replace(d, state=LIST.next(d.state, fact), version=d.version + 1), (fact,)
