"""What others' refusals are in the words of an order's own: field, rule, found, expected, and the field's code."""

from __future__ import annotations

from shared.events import customs, payments, tax
from shared.events.base import Event, Fault


def faults_of(heard: Event) -> tuple[Fault, ...]:
    """Why the bank, tax or customs refused; nothing for a fact that is no refusal."""
    match heard:
        case payments.PaymentDeclined():
            return (
                Fault(
                    field="payment",
                    rule="bank_accepts",
                    found=heard.reason,
                    expected="accepted",
                    code=heard.code,
                ),
            )
        case tax.TaxRefused():
            return (
                Fault(
                    field="tax",
                    rule="tax_accepts",
                    found=heard.value,
                    expected=heard.limit,
                    code=heard.code,
                ),
            )
        case customs.DocumentsMismatched():
            return tuple(
                Fault(
                    field=m.field,
                    rule=f"{m.left.document}_matches_{m.right.document}",
                    found=m.right.value,
                    expected=m.left.value,
                    code=m.code,
                )
                for m in heard.mismatches
            )
        case customs.ListRefused():
            return heard.faults
        case customs.ReceiptEvent():
            found = f"{heard.status} {heard.info}".strip()
            return (
                Fault(
                    field="declaration_list",
                    rule="customs_releases",
                    found=found,
                    expected="released (800)",
                    code=heard.status,
                ),
            )
    return ()
