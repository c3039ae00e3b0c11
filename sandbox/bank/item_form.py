"""The form of a bulk's items, checked before any of them is decided."""

from __future__ import annotations

from typing import Any, Final

from sandbox.bank.ledger import Item
from shared.money import Money, MoneyError

_REQUIRED: Final = {
    "authorise": ("key", "reference", "amount", "currency", "token", "enterprise_code"),
    "capture": ("key", "reference", "authorisation_no", "amount", "currency"),
    "void": ("key", "reference", "authorisation_no"),
    "refund": ("key", "reference", "payment_no", "amount", "currency"),
    "transfer": ("key", "reference", "payment_book", "amount", "currency"),
}


def item_fault(kind: str, item: Item) -> str | None:
    for name in _REQUIRED[kind]:
        if not _is_text(item.get(name)):
            return f"{name} must be a text of 1 to 128 characters"
    if kind == "authorise" and not _is_payer(item.get("payer")):
        return "payer must have name, id_type and id_number"
    if "amount" in _REQUIRED[kind]:
        try:
            if Money.of(item["amount"], item["currency"]).minor <= 0:
                return "amount must be above zero"
        except MoneyError as error:
            return str(error)
    return None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 128


def _is_payer(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(name), str) for name in ("name", "id_type", "id_number")
    )
