"""Refusals of the bank, tax and customs as the faults of an order."""

from __future__ import annotations

from shared.events import customs, payments, tax
from shared.events.base import Event, Fault


def faults_of(event: Event) -> tuple[Fault, ...]:
    match event:
        case payments.PaymentDeclined():
            return (_fault("payment", "bank_accepts", event.reason, "accepted", event.code),)
        case tax.TaxRefused():
            return (_fault("tax", "tax_accepts", event.value, event.limit, event.code),)
        case customs.DocumentsMismatched():
            return tuple(
                _fault(
                    m.field,
                    f"{m.left.document}_matches_{m.right.document}",
                    m.right.value,
                    m.left.value,
                    m.code,
                )
                for m in event.mismatches
            )
        case customs.ListRefused():
            return event.faults
        case customs.ReceiptEvent():
            status = f"{event.status} {event.info}".strip()
            expected = "released (800)"
            return (_fault("declaration_list", "customs_releases", status, expected, event.status),)
    return ()


def _fault(field: str, rule: str, value: str, expected: str, code: str | None) -> Fault:
    return Fault(field=field, rule=rule, found=value, expected=expected, code=code)
