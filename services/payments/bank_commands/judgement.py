"""What a reply of the bank, or a look into its books, means for a command."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Final

import structlog

from services.payments.bank_commands.in_flight import (
    CASE_RETRY_S,
    CONTRADICTION_RETRY_S,
    CallResult,
    InFlight,
    jittered,
)
from services.payments.bank_commands.policy import in_force
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
from services.payments.bank_commands.store import RefusedAttempt
from services.payments.bank_commands.talk import RecordedReply, case_details, talk_entry
from services.payments.cases import IMPOSSIBLE, REFUNDED_ELSEWHERE, REFUSED
from services.payments.domain.bank import (
    Authorise,
    BankCommand,
    Capture,
    HoldGone,
    Refund,
    RefundTax,
    Void,
)
from services.payments.domain.bank_replies import BankRecord, BankReply
from services.payments.gateway import BankRecords
from shared import metrics
from shared.effects import NoReply
from shared.sealing import Sealing

log = structlog.get_logger(__name__)

BANK: Final = "bank"
RECORDS: Final = "records"
"""Who said it: the bank in its reply, or the bank's books."""


class Judgement:
    """Judges the replies of one call, on one day of the policy."""

    def __init__(self, sealing: Sealing, day: date, result: CallResult) -> None:
        self._sealing = sealing
        self._day = day
        self._result = result

    # --- a reply

    def weigh(self, flight: InFlight, reply: BankReply | None, *, by: str = BANK) -> None:
        """Judge one reply; a contradiction is looked up in the bank's books later."""
        result = self._result
        if reply is None:
            result.silent.append(flight)
            return
        try:
            meaning = interpret(flight.command, reply, self._sealing)
        except ImplausibleReply as error:
            self._count_unreadable(flight, error)
            flight.reached = True
            result.silent.append(flight)
        except ContradictoryReply as contradiction:
            entry = talk_entry(flight.command, flight.attempt, reply, by)
            result.talk.append(entry)
            details = case_details(entry) | {"found": str(contradiction)}
            result.open_case(contradiction.kind, flight, details)
            if by == RECORDS:
                result.retry(flight, CONTRADICTION_RETRY_S)
            else:
                result.doubtful.append(flight)
        else:
            self._accept(flight, reply, meaning, by)

    @staticmethod
    def _count_unreadable(flight: InFlight, error: ImplausibleReply) -> None:
        kind = flight.command.kind
        metrics.PARTY_CALLS.labels("bank", kind, "unreadable").inc()
        log.warning(
            "a reply of the bank is implausible",
            kind=kind,
            order_id=str(flight.command.order_id),
            error=str(error),
        )

    def _accept(self, flight: InFlight, reply: BankReply, meaning: Meaning | None, by: str) -> None:
        result = self._result
        entry = talk_entry(flight.command, flight.attempt, reply, by)
        if meaning is None:
            flight.reached = True
            result.talk.append(entry)
            result.silent.append(flight)
        elif isinstance(meaning, HoldGone):
            # Banks also say so of a hold that was captured.
            flight.hold_gone = RecordedReply(flight.effect, meaning, entry)
            result.doubtful.append(flight)
        elif not isinstance(meaning, BankRefusal):
            result.replies.append(RecordedReply(flight.effect, meaning, entry))
        elif self._needs_books(flight.command, meaning) and by == BANK:
            result.talk.append(entry)
            flight.refused = meaning, reply
            result.doubtful.append(flight)
        else:
            self._refuse(flight, reply, meaning)

    def _refuse(
        self,
        flight: InFlight,
        reply: BankReply,
        refusal: BankRefusal,
        elsewhere: Sequence[BankRecord] = (),
    ) -> None:
        result, command = self._result, flight.command
        entry = talk_entry(command, flight.attempt, reply)
        pause_s = self._pause_s(command, refusal, flight.attempt.number)
        if pause_s is None and isinstance(command, Authorise | Capture):
            declined = as_declined(command, refusal)
            result.replies.append(RecordedReply(flight.effect, declined, entry))
            return
        result.talk.append(entry)
        wait_s = jittered(CASE_RETRY_S if pause_s is None else pause_s)
        result.refusals.append(
            RefusedAttempt(flight.effect, flight.attempt, refusal.code, pause_s is not None, wait_s)
        )
        if pause_s is None:
            details = case_details(entry)
            if elsewhere:
                details["refunds_at_the_bank"] = [
                    f"{r.refund_no} {r.amount} {r.currency}" for r in elsewhere[:20]
                ]
            result.open_case(REFUNDED_ELSEWHERE if elsewhere else REFUSED, flight, details)
        result.replies.append(NoReply(flight.effect, wait_s))

    # --- the bank's books

    def compare(self, flight: InFlight, records: BankRecords, known: set[str]) -> None:
        """Judge a doubtful reply by the bank's books.

        `known`: refund numbers of the order that payments has from other replies.
        """
        theirs = records.by_reference.get(flight.command.reference)
        if flight.hold_gone is not None:
            self._on_hold_gone(flight, flight.hold_gone, theirs, records)
            return
        record = None
        if theirs and _may_be_recorded(flight):
            record = record_of_command(flight.command, flight.keys, theirs, known)
        if record is not None:
            self.weigh(flight, as_reply(record, flight.key), by=RECORDS)
        elif flight.refused is not None:
            elsewhere = refunds_elsewhere(flight.command, flight.keys, theirs or (), known)
            answered = theirs is not None or not _may_be_recorded(flight)
            self._compare_refusal(
                flight, *flight.refused, elsewhere, answered=answered, able=records.able
            )
        else:
            self._result.retry(flight, CONTRADICTION_RETRY_S)

    def _compare_refusal(
        self,
        flight: InFlight,
        refusal: BankRefusal,
        reply: BankReply,
        elsewhere: Sequence[BankRecord],
        *,
        answered: bool,
        able: bool,
    ) -> None:
        """Uphold a refusal that the books do not contradict, if they `answered` or do not
        matter."""
        if answered:
            self._uphold(flight, reply, refusal, elsewhere)
            return
        if not able:
            self._impossible(flight, reply, "done already, and the bank's books cannot be asked")
        self._result.retry(flight, CONTRADICTION_RETRY_S)

    def _impossible(self, flight: InFlight, reply: BankReply, explanation: str) -> None:
        details = case_details(talk_entry(flight.command, flight.attempt, reply))
        self._result.open_case(IMPOSSIBLE, flight, details | {"found": explanation})

    def _on_hold_gone(
        self,
        flight: InFlight,
        hold_gone: RecordedReply,
        theirs: Sequence[BankRecord] | None,
        records: BankRecords,
    ) -> None:
        """Accept that the hold is gone, unless the books have a capture: then the money is
        there."""
        captured = next(
            (r for r in theirs or () if (r.operation, r.status) == ("capture", "captured")), None
        )
        if captured is not None:
            explanation = (
                f"the bank's books have the capture {captured.payment_no} of "
                f"{captured.amount} {captured.currency}, which it declined"
            )
            details = case_details(hold_gone.entry) | {"found": explanation}
            self._result.open_case(IMPOSSIBLE, flight, details)
        if captured is None and (theirs is not None or not records.able):
            self._result.replies.append(hold_gone)
        else:
            self._result.talk.append(hold_gone.entry)
            self._result.retry(flight, CONTRADICTION_RETRY_S)

    def _uphold(
        self,
        flight: InFlight,
        reply: BankReply,
        refusal: BankRefusal,
        elsewhere: Sequence[BankRecord],
    ) -> None:
        """Take the refusal: the books do not contradict it.

        A hold or capture that the bank calls done already, but its books do not show, is a case.
        """
        if isinstance(flight.command, Authorise | Capture):
            self._impossible(flight, reply, "done already, and not in the bank's books")
            self._result.retry(flight, CONTRADICTION_RETRY_S)
        else:
            self._refuse(flight, reply, refusal, elsewhere)

    # --- policy

    def _needs_books(self, command: BankCommand, refusal: BankRefusal) -> bool:
        """Return whether the books may explain a refusal: done already, or refunded at a bank
        desk."""
        if isinstance(command, Refund | RefundTax):
            return self._pause_s(command, refusal, 1) is None
        return refusal.code in DUPLICATION and not isinstance(command, Void)

    def _pause_s(self, command: BankCommand, refusal: BankRefusal, attempt: int) -> float | None:
        return in_force().pause_s(command.kind, refusal.code, attempt, self._day)


def _may_be_recorded(flight: InFlight) -> bool:
    """Return whether the books may have the command: all but refusals that are no duplication."""
    return flight.refused is None or flight.refused[0].code in DUPLICATION


def as_reply(record: BankRecord, key: object) -> BankReply:
    return record.model_copy(update={"key": key})
