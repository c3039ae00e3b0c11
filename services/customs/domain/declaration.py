"""One order's declaration, from its first document to the authority's last word."""

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
from shared.events import customs as said
from shared.events.logistics import WaybillIssued
from shared.events.orders import OrderPlaced
from shared.events.payments import PaymentCaptured
from shared.events.tax import TaxAssessed
from shared.transitions import Transitions
from shared.values import replace


class DeclarationState(StrEnum):
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


PENDING: Final = (
    DeclarationState.LODGED,
    DeclarationState.ACCEPTED,
    DeclarationState.REVIEW,
    DeclarationState.EXAMINATION,
    DeclarationState.HELD,
)
"""The list is with the authority and not decided."""
CLEARED: Final = (DeclarationState.RELEASED, DeclarationState.CLOSED)
RELEASES: Final = ("800", "899")
"""The statuses of a list whose goods may go (message specification 202205)."""
OVER: Final = (
    DeclarationState.MISMATCHED,
    DeclarationState.REFUSED,
    DeclarationState.DETAINED,
    DeclarationState.SHIPPED_BACK,
    DeclarationState.WITHDRAWN,
    DeclarationState.RETURNED,
)
"""Nothing more can come of it."""

RequestKind = Literal["declare", "cancel", "return"]
"""What a declaration may be waiting to lodge in a collective message."""

Remedy = Literal["decision", "there", "wait", "ours", "again"]
"""What follows from a failure on the way: nothing more is to be hoped for; customs has it already; the same again later;
our own signature or registration is wrong; the message was refused whole, and this request goes again in a smaller one."""


@dataclass(frozen=True, slots=True)
class AuthorityReply:
    """One entry of a receipt: the list it is about, its status, and what the status means (a class of domain 2.4).

    `on` tells which request is answered; `code` is the inner or negative code where there is one; `at` is the authority's time.
    `attempt` is the list that the number in the receipt is of, None where it has none. `technical`: the e-port says it, on the
    way to customs, and customs decided nothing; `way` is what follows then. `unknown`: a status that is in none of the
    authority's lists here. `part`: the smaller message this request goes in next, and after how long (`pause_s`), where the one
    it was in was refused whole.
    """

    on: RequestKind
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
    way: Remedy | None = None
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
        """Released while its cancellation is under way: which of the two stands is known once the cancellation is answered."""
        return (
            self.state is DeclarationState.WITHDRAWING
            and not self.released
            and self.status in RELEASES
        )

    @property
    def cop_no(self) -> str:
        """The number of the list lodged last; before the first, of the first."""
        return cop_no_of(self.order_id, self.attempt)


BLANK: Final = Declaration(UUID(int=0))
"""What is known of an order of which nothing is here yet."""


@dataclass(frozen=True, slots=True)
class DeclarationPolicy:
    """What the declarant may decide: which return codes a corrected list mends, and how often; which ask for patience only, and
    which say that customs has the list already, beside those of the authority's own lists; how long to be
    patient, and how long to wait first and at most; and the terms of the law for returns."""

    correctable: Collection[str]
    too_soon: Collection[str]
    attempts_max: int
    too_soon_wait_s: float
    returns: Sequence[ReturnTerms] = ()
    there_already: Collection[str] = ()
    patience_s: float = 24 * 3600.0
    wait_max_s: float = 2 * 3600.0
    way_of: Callable[[str], Remedy | None] = lambda _code: None
    """What the authority's lists say of a code, for an answer that does not tell its `way`."""


Decision = tuple[Declaration, tuple[Event, ...]]


# Which state a receipt on a live list leads to. Statuses repeat and overtake one another on the wire: a lesser word after
# a greater one changes nothing, and no word changes a decided list (the contradiction is counted, not followed).
_PROGRESS: Final = {
    "accepted": DeclarationState.ACCEPTED, "review": DeclarationState.REVIEW, "examination": DeclarationState.EXAMINATION, "held": DeclarationState.HELD,
    "released": DeclarationState.RELEASED, "closed": DeclarationState.CLOSED, "detained": DeclarationState.DETAINED, "shipback": DeclarationState.SHIPPED_BACK,
}  # fmt: skip
PROGRESS_EVENTS: Final[dict[str, type[said.ReceiptEvent]]] = {
    "accepted": said.ListAccepted, "review": said.ListInReview, "examination": said.ExaminationOrdered, "held": said.GoodsHeld,
    "released": said.GoodsReleased, "closed": said.ListClosed, "detained": said.GoodsDetained,
    "shipback": said.ReturnShipmentOrdered,
}  # fmt: skip

LIST: Final = Transitions[DeclarationState](
    {
        **{(s, said.ListAccepted): DeclarationState.ACCEPTED for s in (DeclarationState.LODGED,)},
        **{(s, said.ListInReview): DeclarationState.REVIEW for s in (DeclarationState.LODGED, DeclarationState.ACCEPTED)},
        **{(s, said.GoodsHeld): DeclarationState.HELD for s in (DeclarationState.LODGED, DeclarationState.ACCEPTED, DeclarationState.REVIEW)},
        **{(s, said.ExaminationOrdered): DeclarationState.EXAMINATION for s in PENDING if s is not DeclarationState.EXAMINATION},
        **{(s, said.GoodsReleased): DeclarationState.RELEASED for s in PENDING},
        **{(s, said.GoodsDetained): DeclarationState.DETAINED for s in (*PENDING, DeclarationState.WITHDRAWING)},
        **{(s, said.ReturnShipmentOrdered): DeclarationState.SHIPPED_BACK for s in (*PENDING, DeclarationState.WITHDRAWING)},
        (DeclarationState.RELEASED, said.ListClosed): DeclarationState.CLOSED,
        (DeclarationState.WITHDRAWING, said.GoodsReleased): DeclarationState.WITHDRAWING,
        **{(s, said.ListReturned): DeclarationState.MATCHED for s in PENDING},
        **{(s, said.ListRefused): DeclarationState.REFUSED for s in (*PENDING, DeclarationState.MATCHED)},
        **{(s, said.ListWithdrawn): DeclarationState.WITHDRAWN for s in (DeclarationState.COLLECTING, DeclarationState.MATCHED, DeclarationState.WITHDRAWING)},
        **{(s, said.DocumentsMismatched): DeclarationState.MISMATCHED for s in (DeclarationState.COLLECTING, DeclarationState.MATCHED)},
        **{(s, said.WaybillCorrected): s for s in (DeclarationState.COLLECTING, DeclarationState.MATCHED)},
        **{(s, said.ReturnOpened): DeclarationState.RETURNING for s in (*CLEARED, DeclarationState.WITHDRAWING)},
        (DeclarationState.RETURNING, said.ReturnGranted): DeclarationState.RETURNING,
        (DeclarationState.RETURNING, said.GoodsPartlyReturned): DeclarationState.CLOSED,
        (DeclarationState.RETURNING, said.GoodsReturned): DeclarationState.RETURNED,
        **{(s, said.ReturnRefused): DeclarationState.CLOSED for s in (DeclarationState.RETURNING, DeclarationState.WITHDRAWING)},
        # Refused before it was ever lodged.
        **{(s, said.ReturnRefused): s for s in CLEARED},
        (DeclarationState.MATCHED, said.ListLodged): DeclarationState.LODGED,
        # While a correction waits to be lodged, customs goes on with the list it is of (`_goes_on`).
        **{(DeclarationState.MATCHED, kind): _PROGRESS[meaning] for meaning, kind in PROGRESS_EVENTS.items() if meaning != "closed"},
    }
)  # fmt: skip


def reply_time(heard: AuthorityReply) -> datetime:
    assert heard.at is not None, "the authority dates every receipt"
    return heard.at


def emit(d: Declaration, fact: Event) -> Decision:
    """Fold one's own fact and announce it."""
    return replace(d, state=LIST.next(d.state, fact), version=d.version + 1), (fact,)
