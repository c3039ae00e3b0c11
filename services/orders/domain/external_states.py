"""The tables of an order's stages and of the three waits that run beside one another: payment, tax and the border."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from shared.events import customs, payments, tax
from shared.transitions import Transitions


class Stage(StrEnum):
    """Where an order stands. It ends fulfilled (until the goods come back), rejected, cancelled or returned."""

    AWAITS_ORDER = "awaits_order"
    PLACED = "placed"
    LODGED = "lodged"
    WITHDRAWING = "withdrawing"
    UNWINDING = "unwinding"
    FULFILLED = "fulfilled"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    RETURNED = "returned"


class Payment(StrEnum):
    """What payments has said. Refunded: wholly, or in part for goods that came back."""

    AWAITED = "awaited"
    CAPTURED = "captured"
    SETTLED = "settled"
    DECLINED = "declined"
    VOIDED = "voided"
    REFUNDED = "refunded"


class Tax(StrEnum):
    """What tax has said. Restored: wholly, or in part for goods that came back in time."""

    AWAITED = "awaited"
    ASSESSED = "assessed"
    POSTED = "posted"
    REFUSED = "refused"
    VOIDED = "voided"
    RESTORED = "restored"


class Border(StrEnum):
    """What customs has said."""

    AWAITED = "awaited"
    LODGED = "lodged"
    ACCEPTED = "accepted"
    REVIEW = "review"
    EXAMINATION = "examination"
    HELD = "held"
    CORRECTING = "correcting"
    RELEASED = "released"
    CLOSED = "closed"
    RETURNING = "returning"
    MISMATCHED = "mismatched"
    REFUSED = "refused"
    DETAINED = "detained"
    SHIPPED_BACK = "shipped_back"
    WITHDRAWN = "withdrawn"
    RETURNED = "returned"


UNDONE: Final = frozenset({Payment.VOIDED, Payment.REFUNDED, Tax.VOIDED})
"""Answers to the unwinding: nothing is held any more."""

CLEARED: Final = frozenset({Border.RELEASED, Border.CLOSED, Border.RETURNING, Border.RETURNED})
"""The goods were released."""

OF_SUMMARIES: Final = (
    customs.SummaryRequested, customs.SummaryRefused, customs.ListConsolidated, customs.ConsolidatedDeclarationClosed,
)  # fmt: skip
"""Facts about the consolidation of an export list, weeks after its release: the timeline shows them, and they change nothing."""

_AT_CUSTOMS: Final = (
    Border.LODGED,
    Border.ACCEPTED,
    Border.REVIEW,
    Border.EXAMINATION,
    Border.HELD,
)
# Customs may go on with a list that was to be corrected.
_ON_THE_WAY: Final = (*_AT_CUSTOMS, Border.CORRECTING)

PAYMENT: Final = Transitions[Payment](
    {
        (Payment.AWAITED, payments.PaymentCaptured): Payment.CAPTURED,
        (Payment.AWAITED, payments.PaymentDeclined): Payment.DECLINED,
        (Payment.AWAITED, payments.PaymentVoided): Payment.VOIDED,
        (Payment.CAPTURED, payments.MerchantSettled): Payment.SETTLED,
        (Payment.CAPTURED, payments.PaymentRefunded): Payment.REFUNDED,
        # Goods that came back; the merchant was settled when they were released.
        (Payment.SETTLED, payments.ReturnRefunded): Payment.REFUNDED,
        (Payment.REFUNDED, payments.ReturnRefunded): Payment.REFUNDED,
        (Payment.DECLINED, payments.PaymentVoided): Payment.VOIDED,
    }
)

TAX: Final = Transitions[Tax](
    {
        (Tax.AWAITED, tax.TaxAssessed): Tax.ASSESSED,
        (Tax.AWAITED, tax.TaxRefused): Tax.REFUSED,
        (Tax.AWAITED, tax.TaxVoided): Tax.VOIDED,
        (Tax.ASSESSED, tax.TaxPosted): Tax.POSTED,
        (Tax.ASSESSED, tax.TaxVoided): Tax.VOIDED,
        (Tax.POSTED, tax.TaxRestored): Tax.RESTORED,
        (Tax.RESTORED, tax.TaxRestored): Tax.RESTORED,
        (Tax.POSTED, tax.TaxKept): Tax.POSTED,
        (Tax.RESTORED, tax.TaxKept): Tax.RESTORED,
        (Tax.REFUSED, tax.TaxVoided): Tax.VOIDED,
    }
)

BORDER: Final = Transitions[Border](
    {
        (Border.AWAITED, customs.WaybillCorrected): Border.AWAITED,
        (Border.AWAITED, customs.ListLodged): Border.LODGED,
        (Border.CORRECTING, customs.ListLodged): Border.LODGED,
        **{(at, customs.ListAccepted): Border.ACCEPTED for at in _ON_THE_WAY},
        **{(at, customs.ListInReview): Border.REVIEW for at in _ON_THE_WAY},
        **{(at, customs.ExaminationOrdered): Border.EXAMINATION for at in _ON_THE_WAY},
        **{(at, customs.GoodsHeld): Border.HELD for at in _ON_THE_WAY},
        **{(at, customs.ListReturned): Border.CORRECTING for at in _AT_CUSTOMS},
        **{(at, customs.GoodsReleased): Border.RELEASED for at in _ON_THE_WAY},
        (Border.RELEASED, customs.GoodsReleased): Border.RELEASED,
        (Border.RELEASED, customs.ListClosed): Border.CLOSED,
        # Over at the border.
        (Border.AWAITED, customs.DocumentsMismatched): Border.MISMATCHED,
        **{(at, customs.ListRefused): Border.REFUSED for at in (*_ON_THE_WAY, Border.AWAITED)},
        **{(at, customs.GoodsDetained): Border.DETAINED for at in _ON_THE_WAY},
        **{(at, customs.ReturnShipmentOrdered): Border.SHIPPED_BACK for at in _ON_THE_WAY},
        **{(at, customs.ListWithdrawn): Border.WITHDRAWN for at in (*_ON_THE_WAY, Border.AWAITED)},
        # Coming back. A return that was refused may be asked for again.
        **{(at, customs.ReturnOpened): Border.RETURNING for at in (Border.RELEASED, Border.CLOSED)},
        (Border.RETURNING, customs.ReturnGranted): Border.RETURNING,
        (Border.RETURNING, customs.GoodsPartlyReturned): Border.CLOSED,
        (Border.RETURNING, customs.GoodsReturned): Border.RETURNED,
        (Border.RETURNING, customs.ReturnRefused): Border.CLOSED,
        # Refused before it was opened.
        **{(at, customs.ReturnRefused): at for at in (Border.RELEASED, Border.CLOSED)},
        (Border.RETURNING, customs.ListClosed): Border.RETURNING,
        # Consolidated in a month's declaration, whatever becomes of the goods meanwhile.
        **{(at, told): at for at in sorted(CLEARED) for told in OF_SUMMARIES},
    }
)
