"""The stages of an order, and the tables of its three external states: payment, tax and border."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from shared.events import customs, payments, tax
from shared.transitions import Transitions


class Stage(StrEnum):
    """Where an order stands. FULFILLED is an end too, until goods come back."""

    AWAITS_ORDER = "awaits_order"
    PLACED = "placed"
    LODGED = "lodged"
    WITHDRAWING = "withdrawing"
    UNWINDING = "unwinding"
    FULFILLED = "fulfilled"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    RETURNED = "returned"


class PaymentStatus(StrEnum):
    """The last event of payments. REFUNDED: the whole, or the part of goods that came back."""

    AWAITED = "awaited"
    CAPTURED = "captured"
    SETTLED = "settled"
    DECLINED = "declined"
    VOIDED = "voided"
    REFUNDED = "refunded"


class TaxStatus(StrEnum):
    """The last event of tax. RESTORED: the whole, or the part of goods back in time."""

    AWAITED = "awaited"
    ASSESSED = "assessed"
    POSTED = "posted"
    REFUSED = "refused"
    VOIDED = "voided"
    RESTORED = "restored"


class BorderStatus(StrEnum):
    """The last event of customs."""

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


UNDONE: Final = frozenset({PaymentStatus.VOIDED, PaymentStatus.REFUNDED, TaxStatus.VOIDED})
"""States that answer the unwinding: no money or quota is held any more."""

CLEARED: Final = frozenset(
    {BorderStatus.RELEASED, BorderStatus.CLOSED, BorderStatus.RETURNING, BorderStatus.RETURNED}
)
"""The goods were released."""

SUMMARY_EVENTS: Final = (
    customs.SummaryRequested,
    customs.SummaryRefused,
    customs.ListConsolidated,
    customs.ConsolidatedDeclarationClosed,
)
"""Consolidation of an export list, weeks after its release.

Shown in the timeline, changes nothing.
"""

_AT_CUSTOMS: Final = (
    BorderStatus.LODGED,
    BorderStatus.ACCEPTED,
    BorderStatus.REVIEW,
    BorderStatus.EXAMINATION,
    BorderStatus.HELD,
)
# Customs may continue with a list that it returned for correction.
_ON_THE_WAY: Final = (*_AT_CUSTOMS, BorderStatus.CORRECTING)

PAYMENT: Final = Transitions[PaymentStatus](
    {
        (PaymentStatus.AWAITED, payments.PaymentCaptured): PaymentStatus.CAPTURED,
        (PaymentStatus.AWAITED, payments.PaymentDeclined): PaymentStatus.DECLINED,
        (PaymentStatus.AWAITED, payments.PaymentVoided): PaymentStatus.VOIDED,
        (PaymentStatus.CAPTURED, payments.MerchantSettled): PaymentStatus.SETTLED,
        (PaymentStatus.CAPTURED, payments.PaymentRefunded): PaymentStatus.REFUNDED,
        # Goods came back; the merchant was settled at their release.
        (PaymentStatus.SETTLED, payments.ReturnRefunded): PaymentStatus.REFUNDED,
        (PaymentStatus.REFUNDED, payments.ReturnRefunded): PaymentStatus.REFUNDED,
        (PaymentStatus.DECLINED, payments.PaymentVoided): PaymentStatus.VOIDED,
    }
)

TAX: Final = Transitions[TaxStatus](
    {
        (TaxStatus.AWAITED, tax.TaxAssessed): TaxStatus.ASSESSED,
        (TaxStatus.AWAITED, tax.TaxRefused): TaxStatus.REFUSED,
        (TaxStatus.AWAITED, tax.TaxVoided): TaxStatus.VOIDED,
        (TaxStatus.ASSESSED, tax.TaxPosted): TaxStatus.POSTED,
        (TaxStatus.ASSESSED, tax.TaxVoided): TaxStatus.VOIDED,
        (TaxStatus.POSTED, tax.TaxRestored): TaxStatus.RESTORED,
        (TaxStatus.RESTORED, tax.TaxRestored): TaxStatus.RESTORED,
        (TaxStatus.POSTED, tax.TaxKept): TaxStatus.POSTED,
        (TaxStatus.RESTORED, tax.TaxKept): TaxStatus.RESTORED,
        (TaxStatus.REFUSED, tax.TaxVoided): TaxStatus.VOIDED,
    }
)

BORDER: Final = Transitions[BorderStatus](
    {
        (BorderStatus.AWAITED, customs.WaybillCorrected): BorderStatus.AWAITED,
        (BorderStatus.AWAITED, customs.ListLodged): BorderStatus.LODGED,
        (BorderStatus.CORRECTING, customs.ListLodged): BorderStatus.LODGED,
        **{(at, customs.ListAccepted): BorderStatus.ACCEPTED for at in _ON_THE_WAY},
        **{(at, customs.ListInReview): BorderStatus.REVIEW for at in _ON_THE_WAY},
        **{(at, customs.ExaminationOrdered): BorderStatus.EXAMINATION for at in _ON_THE_WAY},
        **{(at, customs.GoodsHeld): BorderStatus.HELD for at in _ON_THE_WAY},
        **{(at, customs.ListReturned): BorderStatus.CORRECTING for at in _AT_CUSTOMS},
        **{(at, customs.GoodsReleased): BorderStatus.RELEASED for at in _ON_THE_WAY},
        (BorderStatus.RELEASED, customs.GoodsReleased): BorderStatus.RELEASED,
        (BorderStatus.RELEASED, customs.ListClosed): BorderStatus.CLOSED,
        # Ends at the border.
        (BorderStatus.AWAITED, customs.DocumentsMismatched): BorderStatus.MISMATCHED,
        **{
            (at, customs.ListRefused): BorderStatus.REFUSED
            for at in (*_ON_THE_WAY, BorderStatus.AWAITED)
        },
        **{(at, customs.GoodsDetained): BorderStatus.DETAINED for at in _ON_THE_WAY},
        **{(at, customs.ReturnShipmentOrdered): BorderStatus.SHIPPED_BACK for at in _ON_THE_WAY},
        **{
            (at, customs.ListWithdrawn): BorderStatus.WITHDRAWN
            for at in (*_ON_THE_WAY, BorderStatus.AWAITED)
        },
        # Returns. A refused return may be requested again.
        **{
            (at, customs.ReturnOpened): BorderStatus.RETURNING
            for at in (BorderStatus.RELEASED, BorderStatus.CLOSED)
        },
        (BorderStatus.RETURNING, customs.ReturnGranted): BorderStatus.RETURNING,
        (BorderStatus.RETURNING, customs.GoodsPartlyReturned): BorderStatus.CLOSED,
        (BorderStatus.RETURNING, customs.GoodsReturned): BorderStatus.RETURNED,
        (BorderStatus.RETURNING, customs.ReturnRefused): BorderStatus.CLOSED,
        # The return was refused before it was opened.
        **{(at, customs.ReturnRefused): at for at in (BorderStatus.RELEASED, BorderStatus.CLOSED)},
        (BorderStatus.RETURNING, customs.ListClosed): BorderStatus.RETURNING,
        # Consolidation in a month's declaration does not depend on the goods' whereabouts.
        **{(at, event): at for at in sorted(CLEARED) for event in SUMMARY_EVENTS},
    }
)
