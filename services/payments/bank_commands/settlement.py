"""Settle a case of payments: a person's verdict becomes the state of an attempt, for the sender."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from services.payments.bank_commands import store as command_store
from services.payments.bank_commands.store import Attempt
from services.payments.domain import ledger
from shared.cases import StoredCase
from shared.database import Connection
from shared.effect_runner import CALL_S
from shared.money import Money, MoneyError

ASK_AGAIN: Final = "ask-again"
NEW_ATTEMPT: Final = "new-attempt"
DONE: Final = "done"
NOT_DONE: Final = "not-done"
WRITE_OFF: Final = "write-off"
CAPTURED: Final = "captured"
NOTED: Final = "noted"
VERDICTS: Final[dict[str, str]] = {
    ASK_AGAIN: "ask the bank about the same attempt once more",
    NEW_ATTEMPT: "the bank did nothing: ask it anew, under a new key",
    DONE: "the bank did it: book it with the bank's number, "
    "and the amount if it differs from the one asked",
    NOT_DONE: "the bank did nothing: a hold or capture is declined; "
    "a refund or transfer is asked anew, under a new key",
    WRITE_OFF: "the money will not go back: book what is owed to the buyer against an account",
    CAPTURED: "the bank captured what it said it declined: book the capture, and have it refunded",
    NOTED: "nothing is left to do: the bank answered, "
    "and the contradiction is cleared up with the bank",
}
_GIVEN_OUT: Final = frozenset({"refund", "refund_tax", "transfer"})
_REFUNDS: Final = frozenset({"refund", "refund_tax"})


class NotSettled(ValueError):
    """The verdict does not fit the case; the message names one that does."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A person's verdict; `bank_no` and `amount` belong to `done`, `account` to a write-off."""

    word: str
    bank_no: str | None = None
    amount: str | None = None
    account: str | None = None


async def lock(conn: Connection, case: StoredCase) -> None:
    """Lock the command of a case. Every transaction locks the command before the case."""
    await conn.execute("SELECT FROM effect WHERE intent_id = $1 FOR UPDATE", UUID(case.subject))


async def settle(conn: Connection, case: StoredCase, verdict: Verdict) -> str:
    """Act on a verdict in the caller's transaction, in the schema of payments. Raises NotSettled.

    Returns what follows, for people. The caller closes the case.
    """
    effect = await conn.fetchrow(
        "SELECT intent_id, kind FROM effect WHERE intent_id = $1 FOR UPDATE", UUID(case.subject)
    )
    if effect is None:
        if verdict.word != NOTED:
            raise NotSettled(f"settle it as {NOTED}: the bank owes no answer on this any more")
        return "nothing is open at the bank; the case is closed"
    if verdict.word == NOTED:
        raise NotSettled(
            f"choose another of {', '.join(VERDICTS)}: the bank still owes an answer on this"
        )
    intent_id, kind = effect["intent_id"], effect["kind"]
    attempt = (await command_store.last_attempts(conn, [intent_id]))[intent_id]
    if attempt.state in command_store.BY_HAND:
        raise NotSettled(
            f"settle it as {NOTED} in a minute: "
            f"by another case of {kind} it counts as {attempt.state} already"
        )
    follows = await _act(conn, case, kind, attempt, verdict)
    # A call under way may still succeed: it ends first, and its reply overrides the verdict.
    waits = attempt.state == command_store.OPEN and verdict.word in {
        NEW_ATTEMPT,
        NOT_DONE,
        WRITE_OFF,
    }
    await conn.execute(
        "UPDATE effect SET next_at = now() + make_interval(secs => $2) WHERE intent_id = $1",
        intent_id,
        CALL_S if waits else 0,
    )
    return f"{follows}, in half a minute" if waits else follows


async def _act(
    conn: Connection, case: StoredCase, kind: str, attempt: Attempt, verdict: Verdict
) -> str:
    word = verdict.word
    if word == ASK_AGAIN:
        await _put(conn, kind, case, attempt, "open", {"asked_again": attempt.asked_again + 1})
        return f"the bank is asked after attempt {attempt.number} of {kind} again"
    if word == NEW_ATTEMPT or (word == NOT_DONE and kind in _GIVEN_OUT):
        await _put(
            conn,
            kind,
            case,
            attempt,
            "refused" if attempt.state == command_store.REFUSED else "not_done",
            {},
        )
        await command_store.begin_attempts(conn, [(attempt.intent_id, attempt.number + 1)])
        return f"the bank is asked anew, by attempt {attempt.number + 1} of {kind}"
    if word == NOT_DONE:
        await _put(conn, kind, case, attempt, "not_done", {})
        return f"{kind} counts as not done"
    if word in {WRITE_OFF, CAPTURED}:
        return await _act_on_money(conn, case, kind, attempt, verdict)
    done = _done(case, kind, verdict)
    await _put(conn, kind, case, attempt, "done", done)
    return f"{kind} counts as done"


def _done(case: StoredCase, kind: str, verdict: Verdict) -> dict[str, Any]:
    if kind == "void":
        return {}
    number = _bank_no(verdict)
    asked_text, currency = str(case.details["asked"]).split()
    requested = Money.of(asked_text, currency)
    amount = _amount(verdict, requested)
    _check_amount(kind, requested, amount)
    rest = kind in _REFUNDS and amount < requested
    return {
        "bank_no": number,
        "minor": amount.minor,
        "account": _account(verdict) if rest else None,
    }


def _bank_no(verdict: Verdict) -> str:
    number = verdict.bank_no
    if not number or not (number.isascii() and number.isprintable() and len(number) <= 64):
        raise NotSettled(
            "give the bank's number of it with --number: 1 to 64 printable ASCII characters"
        )
    return number


def _check_amount(kind: str, requested: Money, amount: Money) -> None:
    currency = requested.currency
    if kind in {"authorise", "transfer"} and amount != requested:
        raise NotSettled(
            f"have the bank mend it: {kind} is of {requested} {currency} and of nothing else, "
            f"found {amount}"
        )
    if amount.minor <= 0 or (kind in _REFUNDS and amount > requested):
        most = f", at most {requested}" if kind in _REFUNDS else ""
        raise NotSettled(
            f"give an amount above zero with --amount{most} {currency}: found {amount}"
        )


def _account(verdict: Verdict) -> str:
    names = [account.value for account in ledger.WRITE_OFF_ACCOUNTS]
    if verdict.account not in names:
        raise NotSettled(
            f"name with --account what it is written off against: {' or '.join(names)}, "
            f"found {verdict.account}"
        )
    return verdict.account


async def _act_on_money(
    conn: Connection, case: StoredCase, kind: str, attempt: Attempt, verdict: Verdict
) -> str:
    """Write off a refund, or book a capture that the bank declined and did."""
    if verdict.word == WRITE_OFF:
        if kind not in _REFUNDS:
            raise NotSettled(
                f"settle {kind} as {DONE} or {NOT_DONE}: "
                "only what is owed to a buyer can be written off"
            )
        await _put(conn, kind, case, attempt, "written_off", {"account": _account(verdict)})
        return f"what is owed is written off against {verdict.account}"
    if kind != "void":
        raise NotSettled(f"settle {kind} as {DONE} or {NOT_DONE}: only a void can be {CAPTURED}")
    await _put(conn, kind, case, attempt, "captured", await _late_capture(conn, case, verdict))
    return "the capture is booked, and the bank is asked to refund it"


async def _late_capture(conn: Connection, case: StoredCase, verdict: Verdict) -> dict[str, Any]:
    """Return the number and amount of a capture, by default the amount of the order."""
    terms = await conn.fetchrow(
        "SELECT amount_minor, currency FROM payment WHERE order_id = $1", case.order_id
    )
    assert terms is not None, "a void is of an order that was placed"
    instructed = Money(terms["amount_minor"], terms["currency"])
    amount = _amount(verdict, instructed)
    if not 0 < amount.minor <= instructed.minor:
        raise NotSettled(
            f"give an amount above zero with --amount, at most {instructed} {instructed.currency}: "
            f"found {amount}"
        )
    return {"bank_no": _bank_no(verdict), "minor": amount.minor, "currency": amount.currency}


def _amount(verdict: Verdict, instructed: Money) -> Money:
    if verdict.amount is None:
        return instructed
    try:
        return Money.of(verdict.amount, instructed.currency)
    except MoneyError as error:
        raise NotSettled(
            f"give the amount in {instructed.currency} with --amount: {error}"
        ) from None


async def _put(
    conn: Connection,
    kind: str,
    case: StoredCase,
    attempt: Attempt,
    state: str,
    fields: dict[str, Any],
) -> None:
    """Write a verdict as the attempt's state; the first attempt may have no row yet."""
    order_id = case.order_id or await conn.fetchval(
        "SELECT order_id FROM effect WHERE intent_id = $1", attempt.intent_id
    )
    await conn.execute(
        "INSERT INTO bank_attempt AS a (intent_id, number, order_id, kind, key, state, bank_no, "
        "minor, account, asked_again, began_at, currency, ended_at) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, "
        "CASE WHEN $6 = 'open' THEN NULL ELSE now() END) "
        "ON CONFLICT (intent_id, number) DO UPDATE SET state = excluded.state, "
        "bank_no = excluded.bank_no, minor = excluded.minor, "
        "currency = excluded.currency, account = excluded.account, "
        "asked_again = excluded.asked_again, ended_at = excluded.ended_at",
        attempt.intent_id,
        attempt.number,
        order_id,
        kind,
        attempt.key,
        state,
        fields.get("bank_no"),
        fields.get("minor"),
        fields.get("account"),
        fields.get("asked_again", attempt.asked_again),
        attempt.began_at,
        fields.get("currency"),
    )
