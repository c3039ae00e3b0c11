"""Send commands to the bank so that each is done once.

Each attempt has its key. An attempt without a reply keeps the key: the bank is asked by key, then
for its books by our reference, and only then the command is sent again. A refusal for good ends the
attempt; whether another follows is policy (`bank.toml`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import structlog
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.payments.bank_commands import store as command_store
from services.payments.bank_commands.in_flight import (
    CASE_RETRY_S,
    CallResult,
    InFlight,
    first_call,
    jittered,
    silence_retry_s,
)
from services.payments.bank_commands.items import item_of, sealed_in
from services.payments.bank_commands.judgement import RECORDS, Judgement, as_reply
from services.payments.bank_commands.policy import KeyMemory, in_force
from services.payments.bank_commands.replies import record_of_command
from services.payments.bank_commands.talk import append_talk, refund_numbers
from services.payments.bank_commands.verdicts import reply_of_verdict
from services.payments.cases import CONTRADICTIONS, POISON, UNANSWERED
from services.payments.domain.bank import (
    AuthorisationDeclined,
    Authorise,
    BankCommand,
    Capture,
    Refund,
    RefundTax,
    Transfer,
    Void,
)
from services.payments.gateway import NOTHING_DONE, Bank, BankRecords, Item
from shared import cases, metrics
from shared.effects import Effect, NoReply, Reply
from shared.sealing import Sealing

log = structlog.get_logger(__name__)

COMMANDS: Final[dict[str, type[BankCommand]]] = {
    command.kind: command for command in (Authorise, Capture, Void, Refund, RefundTax, Transfer)
}
_ERASED: Final = "the payer's particulars can no longer be read"


class _Call:
    """One call of the bank for claimed commands of one kind."""

    def __init__(self, kind: str, sealing: Sealing, now: datetime) -> None:
        self.kind = kind
        self.memory: KeyMemory = in_force().memory(now.date())
        self.result = CallResult()
        self.judgement = Judgement(sealing, now.date(), self.result)

    def is_forgotten(self, flight: InFlight, now: datetime) -> bool:
        return flight.attempt.began_at is not None and flight.age_s(now) >= self.memory.keys_s


class BankSender:
    """Sends the commands of payments."""

    def __init__(self, bank: Bank, sealing: Sealing, pool: Any) -> None:
        self._bank = bank
        self._sealing = sealing
        self._pool = pool

    async def send(self, kind: str, claimed: Sequence[Effect]) -> Sequence[Reply | NoReply]:
        """Send claimed commands of one kind; earlier claims may have reached the bank, so ask
        first."""
        call = _Call(kind, self._sealing, datetime.now(UTC))
        pairs = [(effect, COMMANDS[kind].model_validate_json(effect.request)) for effect in claimed]
        new = [first_call(effect, command) for effect, command in pairs if effect.attempts <= 1]
        old = await self._resume([pair for pair in pairs if pair[0].attempts > 1], call)
        if pause_s := self._bank.wait_s(kind):
            for flight in (*new, *old):
                call.result.retry(flight, pause_s)
        else:
            await asyncio.gather(self._post(call, new), self._inquire(call, old))
            await self._resolve(call)
        await self._save(call.result)
        return call.result.replies

    async def _resume(
        self, pairs: Sequence[tuple[Effect, BankCommand]], call: _Call
    ) -> list[InFlight]:
        """Return the commands that the bank must be asked about.

        A person's verdict is a reply at once. A command that waits for a person is not sent.
        """
        if not pairs:
            return []
        async with self._pool.acquire() as conn:
            attempts = await command_store.last_attempts(
                conn, [effect.intent_id for effect, _ in pairs]
            )
        flights: list[InFlight] = []
        replies = call.result.replies
        for effect, command in pairs:
            attempt = attempts.get(effect.intent_id)
            if attempt is None:
                replies.append(NoReply(effect))  # another worker recorded the reply meanwhile
            elif attempt.state in command_store.BY_HAND:
                replies.append(reply_of_verdict(effect, command, attempt, datetime.now(UTC)))
            elif attempt.state == command_store.OPEN:
                flights.append(InFlight(effect, command, attempt))
            else:
                replies.append(NoReply(effect, jittered(CASE_RETRY_S)))
        return flights

    # --- asking

    async def _inquire(self, call: _Call, flights: Sequence[InFlight]) -> None:
        """Ask by key while the bank remembers keys, then by reference; send what it did not do."""
        if not flights:
            return
        now = datetime.now(UTC)
        by_key = [flight for flight in flights if not call.is_forgotten(flight, now)]
        undone = [flight for flight in flights if call.is_forgotten(flight, now)]
        replies = await self._bank.query([flight.key for flight in by_key], call.kind)
        for flight in by_key:
            reply = replies.answers.get(flight.key)
            if reply is not None and reply.status in NOTHING_DONE:
                flight.reached = True
                undone.append(flight)
            else:
                flight.reached = str(flight.key) in replies.spoken
                call.judgement.weigh(flight, reply)
        await self._post(call, await self._not_on_record(call, undone), again=True)

    async def _not_on_record(self, call: _Call, flights: Sequence[InFlight]) -> list[InFlight]:
        if not flights:
            return []
        records, known = await self._records(call.kind, flights)
        now = datetime.now(UTC)
        missing: list[InFlight] = []
        for flight in flights:
            theirs = records.by_reference.get(flight.command.reference)
            if theirs is None:
                is_forgotten = call.is_forgotten(flight, now)
                flight.reached = flight.reached or not records.able
                # Under a forgotten key the bank would do it again; without its books nobody knows.
                waits = is_forgotten or records.able
                (call.result.silent if waits else missing).append(flight)
                continue
            numbers = known.get(flight.command.order_id, set())
            record = record_of_command(flight.command, flight.keys, theirs, numbers)
            if record is None:
                missing.append(flight)
            else:
                call.judgement.weigh(flight, as_reply(record, flight.key), by=RECORDS)
        return missing

    async def _records(
        self, kind: str, flights: Sequence[InFlight]
    ) -> tuple[BankRecords, Mapping[UUID, set[str]]]:
        references = sorted({flight.command.reference for flight in flights})
        records = await self._bank.find(kind, references)
        if kind not in {Refund.kind, RefundTax.kind}:
            return records, {}
        async with self._pool.acquire() as conn:
            order_ids = {flight.command.order_id for flight in flights}
            return records, await refund_numbers(conn, order_ids)

    async def _post(self, call: _Call, flights: Sequence[InFlight], *, again: bool = False) -> None:
        if not flights:
            return
        keys = await self._payer_keys(flights)
        items: list[Item] = []
        sent: list[InFlight] = []
        for flight in flights:
            item = item_of(flight.command, flight.key, keys)
            if item is None:
                # Nothing was sent under this key, or the bank has just said so.
                declined = AuthorisationDeclined(flight.command.order_id, "erased", _ERASED)
                call.result.replies.append(Reply(flight.effect, declined))
            else:
                items.append(item)
                sent.append(flight)
        if not items:
            return
        replies = await self._bank.send(call.kind, items, again=again)
        for flight in sent:
            if flight.key in replies.poison:
                details = {"bank_says": "nothing: it fails on this alone and answers others"}
                call.result.open_case(POISON, flight, details)
            flight.reached = str(flight.key) in replies.spoken
            call.judgement.weigh(flight, replies.answers.get(flight.key))

    async def _payer_keys(self, flights: Sequence[InFlight]) -> Mapping[UUID, AESGCM]:
        payers = [sealed_in(f.command) for f in flights if isinstance(f.command, Authorise)]
        if not payers:
            return {}
        async with self._pool.acquire() as conn:
            return await self._sealing.keys_for(conn, payers)

    # --- what is left after the replies

    async def _resolve(self, call: _Call) -> None:
        """Look up doubtful replies in the bank's books, and give silent commands their next time.

        A doubtful reply to a first call is looked up at the next claim: a slow look-up must not
        delay the commands sent beside it.
        """
        result = call.result
        result.replies += [NoReply(f.effect, 0.0) for f in result.doubtful if f.is_first_call]
        doubtful = [f for f in result.doubtful if not f.is_first_call]
        if doubtful:
            result.doubtful = []
            records, known = await self._records(call.kind, doubtful)
            for flight in doubtful:
                call.judgement.compare(flight, records, known.get(flight.command.order_id, set()))
        now = datetime.now(UTC)
        for flight in result.silent:
            result.replies.append(NoReply(flight.effect, silence_retry_s(flight, now)))
            # A bank that answers nothing has an alert, not a case for each payment. Once it has
            # forgotten the key, a person must ask it.
            patience_s = call.memory.patience_s if flight.reached else call.memory.keys_s
            if flight.age_s(now) > patience_s:
                result.open_case(UNANSWERED, flight, {})

    async def _save(self, result: CallResult) -> None:
        if not (result.talk or result.refusals or result.cases):
            return
        async with self._pool.acquire() as conn, conn.transaction():
            await command_store.record_refusals(conn, result.refusals)
            await append_talk(conn, result.talk, repeats=True)
            opened = await cases.open_all(conn, result.cases)
        for case in opened:
            if case.kind in CONTRADICTIONS:
                metrics.EFFECTS.labels("payments", case.details["kind"], "conflict").inc()
            log.error("a person must settle this", case=case.kind, order_id=str(case.order_id))
