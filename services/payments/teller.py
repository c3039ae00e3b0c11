"""How the bank is asked so that each thing is done once: under one key, never anew before asking after it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import structlog
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.payments.domain import bank as said
from services.payments.domain.bank import Ask, Authorise, Capture, Refund, RefundTax, Transfer, Void
from services.payments.gateway import Bank, BankAnswer, Item
from shared import metrics
from shared.effects import Answered, Effect, Unknown
from shared.events.persons import Particulars
from shared.money import Money, MoneyError
from shared.sealing import Sealing, bound, unseal

log = structlog.get_logger(__name__)

PERSON_S: Final = 60.0
"""What only a person can mend is asked again this often."""

PAYER_FIELD: Final = "payer"
_ERASED: Final = "the payer's particulars can no longer be read"
ASKS: Final[dict[str, type[Ask]]] = {kind.kind: kind for kind in (Authorise, Capture, Void, Refund, RefundTax, Transfer)}

Asked = tuple[Effect, Any]
Word = Answered | Unknown


class NotAnAnswer(Exception):
    """The bank's answer says neither done nor refused nor later in a way that can be believed."""


class Teller:
    """Performs the effects of payments."""

    def __init__(self, bank: Bank, sealing: Sealing, pool: Any) -> None:
        self._bank = bank
        self._sealing = sealing
        self._pool = pool

    async def perform(self, kind: str, claimed: Sequence[Effect]) -> Sequence[Word]:
        """Ask the bank. What was claimed before may have reached it: its key is asked after first."""
        asked = [(effect, ASKS[kind].model_validate_json(effect.request)) for effect in claimed]
        first = [pair for pair in asked if pair[0].attempts <= 1]
        later = [pair for pair in asked if pair[0].attempts > 1]
        words = await asyncio.gather(self._send(kind, first), self._ask_after(kind, later))
        return [*words[0], *words[1]]

    async def _ask_after(self, kind: str, asked: Sequence[Asked]) -> list[Word]:
        if not asked:
            return []
        told = await self._bank.query([effect.intent_id for effect, _ in asked])
        nothing_done = {key for key, answer in told.items() if answer.status in {"unknown_key", "error"}}
        words = [
            _word(effect, ask, told.get(effect.intent_id), self._sealing)
            for effect, ask in asked
            if effect.intent_id not in nothing_done
        ]
        anew = [(effect, ask) for effect, ask in asked if effect.intent_id in nothing_done]
        return words + await self._send(kind, anew, again=True)

    async def _send(self, kind: str, asked: Sequence[Asked], *, again: bool = False) -> list[Word]:
        if not asked:
            return []
        keys = await self._keys(asked)
        items: list[Item] = []
        words: list[Word] = []
        sent: list[Asked] = []
        for effect, ask in asked:
            item = _item(ask, keys)
            if item is None:
                # Nothing was sent under this key, or the bank has just said so: nobody is contradicted.
                words.append(Answered(effect, said.AuthorisationDeclined(ask.order_id, "erased", _ERASED)))
            else:
                items.append(item)
                sent.append((effect, ask))
        told = await self._bank.send(kind, items, again=again) if items else {}
        return words + [_word(effect, ask, told.get(effect.intent_id), self._sealing) for effect, ask in sent]

    async def _keys(self, asked: Sequence[Asked]) -> Mapping[UUID, AESGCM]:
        payers = {ask.payer.person_ref for _, ask in asked if isinstance(ask, Authorise)}
        if not payers:
            return {}
        async with self._pool.acquire() as conn:
            return await self._sealing.keys_of(conn, payers)


def _item(ask: Ask, keys: Mapping[UUID, AESGCM]) -> Item | None:
    """The item on the wire; None if its payer can no longer be read."""
    item: dict[str, Any] = {"key": str(ask.intent_id), "reference": ask.reference}
    match ask:
        case Authorise():
            payer = _open(ask, keys)
            if payer is None:
                return None
            who = {"name": payer.name, "id_type": payer.id_type, "id_number": payer.id_number}
            item |= {"token": ask.token, "payer": who, "enterprise_code": ask.enterprise_code}
            return item | _money(ask.amount)
        case Capture():
            return item | _money(ask.amount) | {"authorisation_no": ask.authorisation_no}
        case Refund() | RefundTax():
            return item | _money(ask.amount) | {"payment_no": ask.payment_no}
        case Transfer():
            return item | _money(ask.amount) | {"payment_book": ask.payment_book}
        case Void():
            return item | {"authorisation_no": ask.authorisation_no}
    raise TypeError(f"{ask.kind} cannot be asked of the bank")


def _money(amount: Money) -> dict[str, str]:
    return {"amount": str(amount), "currency": amount.currency}


def _open(ask: Authorise, keys: Mapping[UUID, AESGCM]) -> Particulars | None:
    key = keys.get(ask.payer.person_ref)
    if key is None:
        return None
    try:
        opened = unseal(key, ask.payer.sealed, bound(ask.order_id, PAYER_FIELD))
        return Particulars.model_validate_json(opened)
    except ValueError:
        # Erased and come again under a new key, or altered: either way nobody can read it.
        log.error("a payer's particulars cannot be opened", order_id=str(ask.order_id))
        return None


def _word(effect: Effect, ask: Ask, told: BankAnswer | None, sealing: Sealing) -> Word:
    """The bank's word on one effect; without one, `pending` or `error` (nothing done) it is asked again."""
    if told is None or told.status in {"pending", "error", "unknown_key"}:
        return Unknown(effect)
    try:
        return Answered(effect, _answer(ask, told, sealing))
    except (NotAnAnswer, MoneyError) as error:
        metrics.EFFECTS.labels("payments", ask.kind, "conflict").inc()
        log.error("a person must look at this at the bank", order_id=str(ask.order_id), kind=ask.kind,
                  status=told.status, code=told.code, error=str(error))  # fmt: skip
        return Unknown(effect, PERSON_S)


_REFUSED: Final = {"declined", "invalid"}
_GONE: Final = {"AC04", "NOOR"}
"""Why the bank declines to void what it no longer holds: the hold is closed, as when it ran out, or no such hold is known. Of any
other reason, above all that it was captured, nothing follows by itself."""


def _answer(ask: Ask, told: BankAnswer, sealing: Sealing) -> said.Answer | said.Transferred:
    code, reason = told.code or "unspecified", told.reason or "the bank gave no reason"
    match ask:
        case Authorise() if told.status in _REFUSED:
            return said.AuthorisationDeclined(ask.order_id, code, reason)
        case Authorise() if told.status == "authorised" and told.authorisation_no:
            return said.Authorised(ask.order_id, told.authorisation_no)
        case Capture() if told.status in _REFUSED:
            return said.CaptureDeclined(ask.order_id, code, reason)
        case Capture() if told.status == "captured":
            return _captured(ask, told, sealing)
        case Void():
            return _let_go(ask, told)
    return _given(ask, told)


def _let_go(ask: Void, told: BankAnswer) -> said.Voided | said.HoldGone:
    if told.status == "voided":
        return said.Voided(ask.order_id)
    if told.status == "declined" and told.code in _GONE:
        return said.HoldGone(ask.order_id)
    raise NotAnAnswer(f"{told.status} {told.code or 'without a code'} is no answer to {ask.kind}")


def _given(ask: Ask, told: BankAnswer) -> said.Answer | said.Transferred:
    """Money that went out: back to the buyer, or to customs. The bank has no right to refuse it, nor to give another sum."""
    if isinstance(ask, Refund | RefundTax | Transfer):
        _is_of(ask, told)
    match ask:
        case Refund() if told.status == "refunded" and told.refund_no:
            return said.Refunded(ask.order_id, told.refund_no)
        case RefundTax() if told.status == "refunded" and told.refund_no:
            return said.ExcessRefunded(ask.order_id, ask.amount, told.refund_no, ask.turn)
        case Transfer() if told.status == "transferred" and told.transfer_no:
            return said.Transferred(ask.order_id, told.transfer_no)
    raise NotAnAnswer(f"{told.status} is no answer to {ask.kind}")


def _is_of(ask: Refund | RefundTax | Transfer, told: BankAnswer) -> None:
    """Raises NotAnAnswer, or MoneyError, where the bank names an amount or a payment that is not the one it was asked about."""
    asked, currency = ask.amount, ask.amount.currency
    amount = Money.of(told.amount or str(asked), told.currency or currency)
    if amount != asked:
        raise NotAnAnswer(f"ask the bank what it moved: amount must be {asked} {currency}, found {amount} {amount.currency}")
    if not isinstance(ask, Transfer) and told.payment_no not in (None, ask.payment_no):
        raise NotAnAnswer(f"ask the bank what it moved: payment_no must be {ask.payment_no}, found {told.payment_no}")


def _captured(ask: Capture, told: BankAnswer, sealing: Sealing) -> said.Captured:
    if not (told.payment_no and told.amount and told.currency and told.paid_at):
        raise NotAnAnswer("the capture lacks its number, amount or time")
    if not (told.enterprise_code and told.payer):
        raise NotAnAnswer("the capture lacks its enterprise or payer")
    amount = Money.of(told.amount, told.currency)
    if amount.currency != ask.amount.currency or amount.minor <= 0 or told.paid_at.tzinfo is None:
        raise NotAnAnswer("the capture is in another currency, of nothing, or at no certain time")
    payer = told.payer
    return said.Captured(
        ask.order_id, amount, told.payment_no, told.enterprise_code,
        sealing.person_ref(payer.id_type, payer.id_number), sealing.digest(payer.name), told.paid_at,
        len(payer.name), len(payer.id_number),
    )  # fmt: skip
