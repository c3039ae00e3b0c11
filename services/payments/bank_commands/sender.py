"""How the bank is asked so that each thing is done once.

An attempt has its key. A word that is missing keeps it: the key is asked after, then the bank's books by our reference, and
only then is it sent again. A refusal for good ends the attempt; whether another follows is policy (`bank.toml`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import structlog
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.payments.bank_commands import store as command_store
from services.payments.bank_commands.items import PAYER_FIELD, item_of, sealed_in
from services.payments.bank_commands.policy import KeyMemory, in_force
from services.payments.bank_commands.replies import (
    DUPLICATION,
    BankRefusal,
    ContradictoryReply,
    ImplausibleReply,
    Meaning,
    as_declined,
    interpret,
    record_of_command,
    refunds_elsewhere,
)
from services.payments.bank_commands.store import Attempt, RecordedReply, RefusedAttempt, TalkEntry
from services.payments.bank_commands.verdicts import reply_of_verdict
from services.payments.cases import (
    CONTRADICTIONS,
    IMPOSSIBLE,
    POISON,
    REFUNDED_ELSEWHERE,
    REFUSED,
    UNANSWERED,
)
from services.payments.domain import bank as said
from services.payments.domain.bank import (
    Authorise,
    BankCommand,
    Capture,
    HoldGone,
    Refund,
    RefundTax,
    Transfer,
    Void,
)
from services.payments.domain.bank_replies import BankRecord, BankReply
from services.payments.gateway import NOTHING_DONE, Bank, BankRecords, Item
from shared import cases, metrics
from shared.cases import Case
from shared.effects import Effect, NoReply, Reply
from shared.sealing import Sealing

log = structlog.get_logger(__name__)

PERSON_S: Final = 60.0
"""What contradicts itself is asked again this often: the bank may mend it."""
WAITS_S: Final = 3600.0
"""What waits for a person is looked at this often; a person's word brings it forward."""

_ERASED: Final = "the payer's particulars can no longer be read"
__all__ = ["COMMANDS", "PAYER_FIELD", "BankSender"]
COMMANDS: Final[dict[str, type[BankCommand]]] = {
    kind.kind: kind for kind in (Authorise, Capture, Void, Refund, RefundTax, Transfer)
}

RunnerReply = Reply | NoReply


@dataclass(slots=True)
class InFlight:
    """One claimed instruction on its way: its attempt, the refusal that is looked up, and whether the bank was reached at all."""

    effect: Effect
    ask: BankCommand
    attempt: Attempt
    refused: tuple[BankRefusal, BankReply] | None = None
    gone: RecordedReply | None = None
    reached: bool = False

    @property
    def key(self) -> UUID:
        return self.attempt.key

    @property
    def keys(self) -> list[UUID]:
        """The keys of all attempts so far."""
        return [
            command_store.key_of(self.effect.intent_id, number)
            for number in range(1, self.attempt.number + 1)
        ]


@dataclass(slots=True)
class CallResult:
    """What a call of the bank came to: the words for the runner, and what is written down beside them."""

    words: list[RunnerReply] = field(default_factory=list)
    talk: list[TalkEntry] = field(default_factory=list)
    refusals: list[RefusedAttempt] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    silent: list[InFlight] = field(default_factory=list)
    in_doubt: list[InFlight] = field(default_factory=list)


class BankSender:
    """Performs the effects of payments."""

    def __init__(self, bank: Bank, sealing: Sealing, pool: Any) -> None:
        self._bank = bank
        self._sealing = sealing
        self._pool = pool

    async def perform(self, kind: str, claimed: Sequence[Effect]) -> Sequence[RunnerReply]:
        """Ask the bank. What was claimed before may have reached it: its key is asked after first."""
        asked = [(effect, COMMANDS[kind].model_validate_json(effect.request)) for effect in claimed]
        now = CallResult()
        first = [_first(effect, ask) for effect, ask in asked if effect.attempts <= 1]
        later = await self._under_way([pair for pair in asked if pair[0].attempts > 1], now)
        if pause_s := self._bank.wait_s(kind):
            now.words += [NoReply(a.effect, _jittered(pause_s)) for a in (*first, *later)]
        else:
            await asyncio.gather(self._send(kind, first, now), self._ask_after(kind, later, now))
            await self._clear_up(kind, now)
        await self._write_down(now)
        return now.words

    async def _under_way(
        self, pairs: Sequence[tuple[Effect, BankCommand]], now: CallResult
    ) -> list[InFlight]:
        """The instructions that are to be asked of the bank; a person's word needs no bank, and what waits for one is not asked."""
        if not pairs:
            return []
        async with self._pool.acquire() as conn:
            attempts = await command_store.last_attempts(
                conn, [effect.intent_id for effect, _ in pairs]
            )
        found: list[InFlight] = []
        for effect, ask in pairs:
            attempt = attempts.get(effect.intent_id)
            if attempt is None:
                now.words.append(NoReply(effect))  # answered by another meanwhile
            elif attempt.state in command_store.BY_HAND:
                now.words.append(reply_of_verdict(effect, ask, attempt))
            elif attempt.state == command_store.OPEN:
                found.append(InFlight(effect, ask, attempt))
            else:
                now.words.append(NoReply(effect, _jittered(WAITS_S)))
        return found

    # --- asking

    async def _ask_after(self, kind: str, asked: Sequence[InFlight], now: CallResult) -> None:
        """By key, where the bank still remembers keys; what it does not know by key, by reference; then send it."""
        if not asked:
            return
        oldest = datetime.now(UTC).timestamp() - _memory().keys_s
        young = [
            a
            for a in asked
            if a.attempt.began_at is None or a.attempt.began_at.timestamp() > oldest
        ]
        nothing = [a for a in asked if a not in young]
        heard = await self._bank.query([a.key for a in young], kind)
        for a in young:
            told = heard.answers.get(a.key)
            if told is not None and told.status in NOTHING_DONE:
                a.reached = True
                nothing.append(a)
            else:
                a.reached = str(a.key) in heard.spoken
                self._weigh(a, told, now)
        await self._send(kind, await self._not_on_record(kind, nothing, now), now, again=True)

    async def _not_on_record(
        self, kind: str, asked: Sequence[InFlight], now: CallResult
    ) -> list[InFlight]:
        """Those of which the bank has nothing in its books; of the others its record is the answer."""
        if not asked:
            return []
        records, known = await self._records(kind, asked)
        oldest = datetime.now(UTC).timestamp() - _memory().keys_s
        found: list[InFlight] = []
        for a in asked:
            theirs = records.found.get(a.ask.reference)
            if theirs is None:
                forgotten = (
                    a.attempt.began_at is not None and a.attempt.began_at.timestamp() <= oldest
                )
                a.reached = a.reached or not records.able
                # A key the bank has forgotten would do it again: without its books nobody can tell.
                (now.silent if forgotten or records.able else found).append(a)
            elif (
                record := record_of_command(a.ask, a.keys, theirs, known.get(a.ask.order_id, ()))
            ) is not None:
                self._weigh(a, _as_answer(record, a.key), now, by="records")
            else:
                found.append(a)
        return found

    async def _records(
        self, kind: str, asked: Sequence[InFlight]
    ) -> tuple[BankRecords, Mapping[UUID, set[str]]]:
        records = await self._bank.find(kind, sorted({a.ask.reference for a in asked}))
        if kind not in {"refund", "refund_tax"}:
            return records, {}
        async with self._pool.acquire() as conn:
            return records, await command_store.refund_numbers(
                conn, {a.ask.order_id for a in asked}
            )

    async def _send(
        self, kind: str, asked: Sequence[InFlight], now: CallResult, *, again: bool = False
    ) -> None:
        if not asked:
            return
        keys = await self._keys(asked)
        items: list[Item] = []
        sent: list[InFlight] = []
        for a in asked:
            item = item_of(a.ask, a.key, keys)
            if item is None:
                # Nothing was sent under this key, or the bank has just said so: nobody is contradicted.
                now.words.append(
                    Reply(a.effect, said.AuthorisationDeclined(a.ask.order_id, "erased", _ERASED))
                )
            else:
                items.append(item)
                sent.append(a)
        if not items:
            return
        heard = await self._bank.send(kind, items, again=again)
        for a in sent:
            if a.key in heard.poison:
                now.cases.append(
                    _case(
                        POISON,
                        a,
                        {"bank_says": "nothing: it fails on this alone and answers others"},
                    )
                )
            a.reached = str(a.key) in heard.spoken
            self._weigh(a, heard.answers.get(a.key), now)

    async def _keys(self, asked: Sequence[InFlight]) -> Mapping[UUID, AESGCM]:
        payers = [sealed_in(a.ask) for a in asked if isinstance(a.ask, Authorise)]
        if not payers:
            return {}
        async with self._pool.acquire() as conn:
            return await self._sealing.keys_for(conn, payers)

    # --- what the bank's word means

    def _weigh(
        self, a: InFlight, told: BankReply | None, now: CallResult, *, by: str = "bank"
    ) -> None:
        """The word on one instruction; what contradicts itself is looked up in the bank's books (`_clear_up`)."""
        if told is None:
            now.silent.append(a)
            return
        try:
            meaning = interpret(a.ask, told, self._sealing)
        except ImplausibleReply as error:
            metrics.PARTY_CALLS.labels("bank", a.ask.kind, "unreadable").inc()
            log.warning(
                "an answer of the bank is none",
                kind=a.ask.kind,
                order_id=str(a.ask.order_id),
                error=str(error),
            )
            a.reached = True
            now.silent.append(a)
        except ContradictoryReply as doubt:
            now.talk.append(command_store.talk_entry(a.ask, a.attempt, told, by))
            now.cases.append(
                _case(
                    doubt.kind, a, command_store.case_details(now.talk[-1]) | {"found": str(doubt)}
                )
            )
            if by == "records":
                now.words.append(NoReply(a.effect, _jittered(PERSON_S)))
            else:
                now.in_doubt.append(a)
        else:
            self._take(a, told, meaning, now, by)

    def _take(
        self, a: InFlight, told: BankReply, meaning: Meaning | None, now: CallResult, by: str
    ) -> None:
        kept = command_store.talk_entry(a.ask, a.attempt, told, by)
        if meaning is None:
            a.reached = True
            now.talk.append(kept)
            now.silent.append(a)
        elif isinstance(meaning, HoldGone):
            # A bank says so of a hold that it captured as well.
            a.gone = RecordedReply(a.effect, meaning, kept)
            now.in_doubt.append(a)
        elif not isinstance(meaning, BankRefusal):
            now.words.append(RecordedReply(a.effect, meaning, kept))
        elif _needs_books(a.ask, meaning) and by == "bank":
            now.talk.append(kept)
            a.refused = meaning, told
            now.in_doubt.append(a)
        else:
            self._refuse(a, told, meaning, now)

    def _refuse(
        self,
        a: InFlight,
        told: BankReply,
        refused: BankRefusal,
        now: CallResult,
        elsewhere: Sequence[BankRecord] = (),
    ) -> None:
        """A refusal for good: another attempt, or the answer that it is, or a person's case."""
        kept = command_store.talk_entry(a.ask, a.attempt, told)
        pause_s = _pause_s(a.ask, refused, a.attempt.number)
        if pause_s is None and isinstance(a.ask, Authorise | Capture):
            now.words.append(RecordedReply(a.effect, as_declined(a.ask, refused), kept))
            return
        now.talk.append(kept)
        wait_s = _jittered(WAITS_S if pause_s is None else pause_s)
        now.refusals.append(
            RefusedAttempt(a.effect, a.attempt, refused.code, pause_s is not None, wait_s)
        )
        if pause_s is None:
            details = command_store.case_details(kept)
            if elsewhere:
                details["refunds_at_the_bank"] = [
                    f"{r.refund_no} {r.amount} {r.currency}" for r in elsewhere[:20]
                ]
            now.cases.append(_case(REFUNDED_ELSEWHERE if elsewhere else REFUSED, a, details))
        now.words.append(NoReply(a.effect, wait_s))

    # --- what is looked up

    async def _clear_up(self, kind: str, now: CallResult) -> None:
        """Look up in the bank's books what contradicts itself; give what had no word its next time."""
        # Looked up when it is asked after: those that were asked for beside it do not wait for a slow look-up.
        now.words += [NoReply(a.effect, 0.0) for a in now.in_doubt if a.effect.attempts <= 1]
        if any(a.effect.attempts > 1 for a in now.in_doubt):
            await self._look_up(kind, now)
        memory = _memory()
        for a in now.silent:
            now.words.append(NoReply(a.effect, _patiently(a)))
            # A bank that answers nothing at all has an alert, not a case for each payment; past its memory a person must ask it.
            if _age_s(a) > (memory.patience_s if a.reached else memory.keys_s):
                now.cases.append(_case(UNANSWERED, a, {}))

    async def _look_up(self, kind: str, now: CallResult) -> None:
        doubtful, now.in_doubt = [a for a in now.in_doubt if a.effect.attempts > 1], []
        records, known = await self._records(kind, doubtful)
        for a in doubtful:
            theirs = records.found.get(a.ask.reference)
            if a.gone is not None:
                self._let_go(a, a.gone, theirs, records, now)
                continue
            numbers = known.get(a.ask.order_id, set())
            asked_twice = a.refused is None or a.refused[0].code in DUPLICATION
            record = (
                record_of_command(a.ask, a.keys, theirs, numbers)
                if theirs and asked_twice
                else None
            )
            if record is not None:
                self._weigh(a, _as_answer(record, a.key), now, by="records")
            elif a.refused is not None and (theirs is not None or not asked_twice):
                refused, told = a.refused
                self._stand_by(
                    a, told, refused, now, refunds_elsewhere(a.ask, a.keys, theirs or (), numbers)
                )
            else:
                if a.refused is not None and not records.able:
                    word = command_store.case_details(
                        command_store.talk_entry(a.ask, a.attempt, a.refused[1])
                    )
                    now.cases.append(
                        _case(
                            IMPOSSIBLE,
                            a,
                            word | {"found": "done already, and the bank's books cannot be asked"},
                        )
                    )
                now.words.append(NoReply(a.effect, _jittered(PERSON_S)))

    @staticmethod
    def _let_go(
        a: InFlight,
        gone: RecordedReply,
        theirs: Sequence[BankRecord] | None,
        records: BankRecords,
        now: CallResult,
    ) -> None:
        """The hold is gone: let go, unless the bank's books say that it was captured, so that the buyer's money is there."""
        taken = next(
            (r for r in theirs or () if (r.operation, r.status) == ("capture", "captured")), None
        )
        if taken is not None:
            found = f"the bank's books have the capture {taken.payment_no} of {taken.amount} {taken.currency}, which it declined"
            now.cases.append(
                _case(IMPOSSIBLE, a, command_store.case_details(gone.said) | {"found": found})
            )
        if taken is None and (theirs is not None or not records.able):
            now.words.append(gone)
        else:
            now.talk.append(gone.said)
            now.words.append(NoReply(a.effect, _jittered(PERSON_S)))

    def _stand_by(
        self,
        a: InFlight,
        told: BankReply,
        refused: BankRefusal,
        now: CallResult,
        elsewhere: Sequence[BankRecord],
    ) -> None:
        """The bank's books do not speak against its refusal; unless it says it was done already, which they do not show."""
        if isinstance(a.ask, Authorise | Capture):
            kept = command_store.talk_entry(a.ask, a.attempt, told)
            now.cases.append(
                _case(
                    IMPOSSIBLE,
                    a,
                    command_store.case_details(kept)
                    | {"found": "done already, and not in the bank's books"},
                )
            )
            now.words.append(NoReply(a.effect, _jittered(PERSON_S)))
        else:
            self._refuse(a, told, refused, now, elsewhere)

    async def _write_down(self, now: CallResult) -> None:
        if not (now.talk or now.refusals or now.cases):
            return
        async with self._pool.acquire() as conn, conn.transaction():
            await command_store.record_refusals(conn, now.refusals)
            await command_store.append_talk(conn, now.talk, repeats=True)
            opened = await cases.open_all(conn, now.cases)
        for case in opened:
            if case.kind in CONTRADICTIONS:
                metrics.EFFECTS.labels("payments", case.details["kind"], "conflict").inc()
            log.error("a person must settle this", case=case.kind, order_id=str(case.order_id))


def _first(effect: Effect, ask: BankCommand) -> InFlight:
    return InFlight(effect, ask, Attempt(effect.intent_id, 1, effect.intent_id))


def _memory() -> KeyMemory:
    return in_force().memory(datetime.now(UTC).date())


def _age_s(a: InFlight) -> float:
    return (datetime.now(UTC) - a.attempt.began_at).total_seconds() if a.attempt.began_at else 0.0


def _patiently(a: InFlight) -> float | None:
    """Half as long again as it has been waited for, a minute at most: claims while the lane paused count for nothing."""
    return None if a.attempt.began_at is None else _jittered(min(60.0, max(0.2, _age_s(a) / 2)))


def _jittered(seconds: float) -> float:
    """A little longer, so that not all that waits comes back at once."""
    return seconds * (1 + 0.1 * random.random())


def _pause_s(ask: BankCommand, refused: BankRefusal, attempt: int) -> float | None:
    return in_force().pause_s(ask.kind, refused.code, attempt, datetime.now(UTC).date())


def _needs_books(ask: BankCommand, refused: BankRefusal) -> bool:
    """A refusal that the bank's books may explain: it was done already, or given back at the bank's own desk."""
    if isinstance(ask, Refund | RefundTax):
        return _pause_s(ask, refused, 1) is None
    return refused.code in DUPLICATION and not isinstance(ask, Void)


def _as_answer(record: BankRecord, key: UUID) -> BankReply:
    return record.model_copy(update={"key": key})


def _case(kind: str, a: InFlight, word: Mapping[str, Any]) -> Case:
    """What a person must settle about an instruction. A transfer to customs is of no order."""
    amount = getattr(a.ask, "amount", None)
    asked = {
        "kind": a.ask.kind, "attempt": a.attempt.number, "asked": f"{amount} {amount.currency}" if amount else None,
        "asked_of": a.ask.about, "asked_again": a.attempt.asked_again or None,
    }  # fmt: skip
    order_id = None if isinstance(a.ask, Transfer) else a.ask.order_id
    details = {name: value for name, value in asked.items() if value is not None} | dict(word)
    return Case(kind, str(a.effect.intent_id), order_id, details)
