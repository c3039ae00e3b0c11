"""Payments on a real database, against the sandbox bank over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from aiohttp import web
from prometheus_client import REGISTRY

from sandbox.bank.http import application
from sandbox.bank.party import Bank as SandboxBank
from services.cli.connect import RunningStack
from services.cli.verify import reconciliation
from services.payments import handlers, metrics, store
from services.payments.bank_commands.items import PAYER_FIELD
from services.payments.bank_commands.sender import BankSender
from services.payments.domain.bank import Authorise
from services.payments.domain.payment import Payment
from services.payments.domain.payment_states import PAYMENT, PaymentState
from services.payments.http_bank import HttpBank
from services.payments.invariants import INVARIANTS
from shared import topics
from shared.clock import utc_now
from shared.database import connect_pool
from shared.effect_runner import EffectRunner
from shared.envelope import Record, headers_of
from shared.errors import Unavailable
from shared.events.base import EVENT_TYPES, Event
from shared.events.customs import GoodsReleased, ReturnedLine
from shared.events.orders import OrderPlaced, OrderUnwinding, Party, ReturnAccepted
from shared.events.payments import PaymentCaptured, PaymentDeclined
from shared.events.persons import Particulars, SealedConsignee, SealedPerson
from shared.failpoints import Failpoints, Killed
from shared.handler import Handler
from shared.money import Money
from shared.outbox import unpack_headers
from shared.outcomes import write
from shared.sealing import Sealing, bound, seal
from shared.settings import Settings
from shared.subscriptions import EmittedEvent, Outcome
from tests.integration.conftest import offsets_begin, snapshot

PAYER = Particulars(name="张三", id_type="1", id_number="110101199003070038")
TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@dataclass
class Line:
    """The way to the bank, which can be cut after a request arrived, or before."""

    bank: SandboxBank
    cut: str = ""
    asked: list[str] = field(default_factory=list)

    @web.middleware
    async def guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked.append(request.path)
        if self.cut == "before":
            raise web.HTTPBadGateway
        response: web.StreamResponse = await handler(request)
        if self.cut == "after":
            raise web.HTTPGatewayTimeout
        return response


@dataclass
class Rig:
    """Payments without Kafka: records are handed to its handler, its outbox is read."""

    pool: Any
    dsn: str
    sealing: Sealing
    line: Line
    http: HttpBank
    offsets: dict[str, int] = field(default_factory=dict)
    counted: list[EmittedEvent] = field(default_factory=list)

    def handler(self, points: Failpoints | None = None) -> Handler:
        return Handler(
            "payments", topics.PAYMENTS, handlers.SUBSCRIPTIONS, self.pool, None, sealing=self.sealing,
            after=lambda outcome: self.counted.extend(outcome.facts), failpoints=points,
        )  # fmt: skip

    def runner(self, points: Failpoints | None = None) -> EffectRunner:
        return EffectRunner(
            "payments", self.pool, None, BankSender(self.http, self.sealing, self.pool).send, handlers.handle_replies,
            self._finish, lambda outcome: self.counted.extend(outcome.facts), sealing=self.sealing,
            failpoints=points,
        )  # fmt: skip

    async def _finish(self, conn: Any, outcome: Outcome) -> None:
        await write(conn, "payments", topics.PAYMENTS, outcome, self.sealing)

    def record(self, event: Event, event_id: UUID | None = None) -> Record:
        """The event as the broker would deliver it next."""
        topic = topics.CUSTOMS if isinstance(event, GoodsReleased) else topics.ORDERS
        offset = self.offsets.get(topic, 0)
        self.offsets[topic] = offset + 1
        headers = headers_of(
            event_id=event_id or uuid4(),
            event_type=event.type,
            source="test",
            at=utc_now(),
            traceparent=TRACE,
        )
        return Record(
            topic,
            0,
            offset,
            1_700_000_000_000,
            str(event.order_id).encode(),
            event.to_json(),
            headers,
        )

    async def hear(self, *events: Event) -> None:
        records = [self.record(event) for event in events]
        await self.handler().handle(records)

    async def ask_bank(self, rounds: int = 8) -> None:
        """Let every instruction be asked, and asked again without waiting, until none is left."""
        for _ in range(rounds):
            async with self.pool.acquire() as conn:
                await conn.execute("UPDATE effect SET next_at = now()")
            if not await self.runner().once():
                return

    async def facts(self, order_id: UUID) -> list[Event]:
        """What was announced about an order, in order, whose versions must be without a hole."""
        async with self.pool.acquire() as conn:
            rows = await conn.fetch(
                "SELECT * FROM outbox WHERE key = $1 ORDER BY id", str(order_id).encode()
            )
        headers = [dict(unpack_headers(row["headers"])) for row in rows]
        assert [int(h["order_version"]) for h in headers] == list(range(1, len(rows) + 1))
        assert all(h["traceparent"] == TRACE for h in headers)
        return [
            EVENT_TYPES[h["ce_type"].decode()].model_validate_json(row["value"])
            for h, row in zip(headers, rows, strict=True)
        ]

    async def told(self, order_id: UUID) -> list[str]:
        return [fact.type.split(".")[1] for fact in await self.facts(order_id)]

    async def state(self, order_id: UUID) -> Payment:
        async with self.pool.acquire() as conn:
            return (await store.lock(conn, [order_id]))[order_id]

    async def verify(self) -> None:
        conn = await asyncpg.connect(self.dsn)
        try:
            broken = {i.name: await conn.fetch(i.sql) for i in INVARIANTS}
        finally:
            await conn.close()
        assert {name: rows for name, rows in broken.items() if rows} == {}

    def bank_moved(self) -> dict[str, int]:
        rows = self.line.bank.file.db.execute(
            "SELECT kind, sum(minor) FROM movement GROUP BY kind"
        ).fetchall()
        return dict(rows)

    async def placed(self, token: str = "tok_ok") -> OrderPlaced:
        order_id = uuid4()
        person = self.sealing.person_ref(PAYER.id_type, PAYER.id_number)
        self.sealing.forget(
            person
        )  # of another test's database, which it outlives by less than a minute
        conn = await asyncpg.connect(self.dsn)  # orders makes the keys, payments may only read them
        keys = await self.sealing.keys_of(conn, [person], make=True)
        await conn.close()
        sealed = seal(keys[person], PAYER.model_dump_json().encode(), bound(order_id, PAYER_FIELD))
        payer = SealedPerson(
            person_ref=person, sealed=sealed, id_type="1", name_digest="n", id_digest="i"
        )
        return order(order_id, payer, token)


def order(order_id: UUID, payer: SealedPerson, token: str) -> OrderPlaced:
    consignee = SealedConsignee(
        person_ref=payer.person_ref,
        sealed=b"",
        country="CN",
        name_digest="n",
        phone_digest="p",
        address_digest="a",
    )
    return OrderPlaced(
        order_id=order_id, order_no="SHOP1-1", placed_at=datetime(2026, 11, 23, tzinfo=UTC),
        direction="import", mode="9610", corridor="US-CN", platform=Party(code="1105910159", name="P"),
        merchant=Party(code="46016602EV", name="M"), buyer=payer, payer=payer, consignee=consignee,
        payment_enterprise="440316T004", payment_token=token, currency="CNY", lines=(),
        goods_value=cny("172"), freight=cny("20"), insurance=cny("0"), discount=cny("0"),
        tax_withheld=cny("12.10"), amount_paid=cny("204.10"),
    )  # fmt: skip


def cny(amount: str) -> Money:
    return Money.of(amount, "CNY")


def given_back(order_id: UUID) -> ReturnAccepted:
    """All of it, in time."""
    line = ReturnedLine(line_no=1, quantity=Decimal(1), returned_before=Decimal(0), ordered=Decimal(1), total=Money.of("172", "CNY"),
                        tax=Money.of("12.10", "CNY"))  # fmt: skip
    return ReturnAccepted(
        order_id=order_id, return_no=1, in_time=True, refund_goods=True, whole=True, lines=(line,)
    )


def unwinding(order_id: UUID) -> OrderUnwinding:
    return OrderUnwinding(order_id=order_id, towards="rejected")


def released(order_id: UUID) -> GoodsReleased:
    return GoodsReleased(order_id=order_id, cop_no="C1", status="800", info="released")


@pytest.fixture
async def rig(database: str, sealing: Sealing) -> AsyncIterator[Rig]:
    pool = await connect_pool(Settings(postgres=database), "payments")
    await offsets_begin(pool, (topics.ORDERS, 0), (topics.CUSTOMS, 0))
    line = Line(SandboxBank(pace=0.0))
    app = application(line.bank)
    app.middlewares.append(line.guard)
    server = web.AppRunner(app)
    await server.setup()
    site = web.TCPSite(server, "127.0.0.1", 0)
    await site.start()
    http = HttpBank(f"http://127.0.0.1:{server.addresses[0][1]}")
    rig = Rig(pool, database, sealing, line, http)
    yield rig
    await rig.verify()
    await http.close()
    await server.cleanup()
    pool.terminate()


async def test_an_order_is_captured_and_settled_when_the_goods_are_released(rig: Rig) -> None:
    placed = await rig.placed()
    await rig.hear(placed)
    await rig.ask_bank()
    captured = (await rig.facts(placed.order_id))[0]
    assert isinstance(captured, PaymentCaptured)
    assert captured.payer_ref == rig.sealing.person_ref("1", PAYER.id_number)
    assert captured.payer_name_digest == rig.sealing.digest(PAYER.name)
    await rig.hear(released(placed.order_id))
    assert await rig.told(placed.order_id) == ["captured", "settled"]
    async with rig.pool.acquire() as conn:
        balance = {r["account"]: r["minor"] for r in await conn.fetch("SELECT * FROM balance")}
    assert balance == {
        "bank_clearing": 20410,
        "buyer_funds": 0,
        "merchant_payable": -19200,
        "tax_payable": -1210,
    }
    assert rig.bank_moved() == {"capture": 20410}


@pytest.mark.parametrize(
    ("token", "told"),
    [
        ("tok_ok", ["captured"]),
        ("tok_declined", ["declined"]),
        ("tok_expired", ["declined"]),
        ("tok_unknown", ["captured"]),
        ("tok_unknown_lost", ["captured"]),
        ("tok_hangup", ["captured"]),
        ("tok_slow", ["captured"]),
        ("tok_flaky", ["captured"]),
        ("tok_other_payer", ["captured"]),
        ("tok_short", ["captured"]),
        ("tok_nobody_knows", ["declined"]),
    ],
)
async def test_whatever_the_bank_does_nothing_is_taken_twice_and_all_of_it_goes_back(
    rig: Rig, token: str, told: list[str]
) -> None:
    placed = await rig.placed(token)
    await rig.hear(placed)
    await rig.ask_bank()
    assert await rig.told(placed.order_id) == told
    await rig.hear(unwinding(placed.order_id))
    await rig.ask_bank()
    end = "refunded" if "captured" in told else "voided"
    assert await rig.told(placed.order_id) == [*told, end]
    took = 0 if end == "voided" else 20310 if token == "tok_short" else 20410
    moved = rig.bank_moved()
    assert moved.get("capture", 0) == moved.get("refund", 0) == took


async def test_a_refund_the_bank_stumbles_over_goes_back_once(rig: Rig) -> None:
    placed = await rig.placed("tok_refund_flaky")
    await rig.hear(placed)
    await rig.ask_bank()
    await rig.hear(released(placed.order_id), given_back(placed.order_id))
    await rig.ask_bank()
    assert await rig.told(placed.order_id) == ["captured", "settled", "return-refunded"]
    assert rig.bank_moved() == {"capture": 20410, "refund": 20410}


@pytest.mark.parametrize("cut", ["before", "after"])
async def test_a_cut_line_is_an_unknown_outcome_and_an_undone_order_waits_for_it(
    rig: Rig, cut: str
) -> None:
    placed = await rig.placed()
    await rig.hear(placed)
    await rig.runner().once()
    rig.line.cut = cut
    await rig.runner().once()
    await rig.hear(unwinding(placed.order_id))
    assert await rig.told(placed.order_id) == []
    assert (await rig.state(placed.order_id)).state is PaymentState.AUTHORISED
    rig.line.cut = ""
    rig.line.asked.clear()
    await rig.ask_bank()
    assert rig.line.asked[0] == "/v1/operations/query"
    assert await rig.told(placed.order_id) == ["captured", "refunded"]
    assert rig.bank_moved() == {"capture": 20410, "refund": 20410}


async def test_orders_of_every_kind_in_one_batch_do_not_hinder_one_another(rig: Rig) -> None:
    tokens = ["tok_ok", "tok_declined", "tok_flaky", "tok_unknown", "tok_hangup"] * 30
    orders = [await rig.placed(token) for token in tokens]
    await rig.hear(*orders)
    await rig.ask_bank(12)
    ends = [(await rig.told(o.order_id))[-1] for o in orders]
    assert ends == ["captured", "declined", "captured", "captured", "captured"] * 30
    assert rig.bank_moved() == {"capture": 120 * 20410}


async def test_an_erased_payer_is_declined_unless_the_bank_was_asked_before(rig: Rig) -> None:
    erased, asked = await rig.placed(), await rig.placed()
    rig.line.cut = "after"
    await rig.hear(asked)
    await rig.runner().once()
    rig.line.cut = ""
    await rig.hear(erased)
    conn = await asyncpg.connect(rig.dsn)
    await conn.execute("DELETE FROM vault.person_key")
    await conn.close()
    rig.sealing.forget(erased.payer.person_ref)
    await rig.ask_bank()
    (declined,) = await rig.facts(erased.order_id)
    assert isinstance(declined, PaymentDeclined)
    assert declined.code == "erased"
    assert await rig.told(asked.order_id) == ["captured"]


async def test_no_particulars_in_clear_rest_in_any_table(rig: Rig) -> None:
    placed = await rig.placed()
    await rig.hear(placed)
    waiting = await snapshot(rig.pool)
    await rig.ask_bank()
    done = await snapshot(rig.pool)
    for secret in (PAYER.name, PAYER.id_number, repr(PAYER.name.encode())[2:-1]):
        assert secret not in repr(waiting)
        assert secret not in repr(done)


def steps_of(placed: OrderPlaced) -> Sequence[tuple[str, Sequence[Event]]]:
    """What is heard in turn, with the bank's answers between."""
    return (
        ("placed", [placed]),
        ("released", [released(placed.order_id)]),
        ("returned", [given_back(placed.order_id)]),
    )


@pytest.mark.parametrize("step", ["placed", "released", "returned"])
async def test_hearing_it_twice_changes_nothing(rig: Rig, step: str) -> None:
    placed = await rig.placed()
    for name, events in steps_of(placed):
        event_id = uuid4()
        await rig.handler().handle([rig.record(event, event_id) for event in events])
        if name == step:
            before = await snapshot(rig.pool)
            await rig.handler().handle([rig.record(event, event_id) for event in events])
            after = await snapshot(rig.pool)
            assert {t: r for t, r in after.items() if t != "consumer_offset"} == {
                t: r for t, r in before.items() if t != "consumer_offset"
            }
            return
        await rig.ask_bank()


@pytest.mark.parametrize("step", ["placed", "released", "returned"])
@pytest.mark.parametrize("point", ["after_reaction", "before_commit"])
async def test_a_failure_while_hearing_leaves_no_trace(rig: Rig, step: str, point: str) -> None:
    placed = await rig.placed()
    for name, events in steps_of(placed):
        records = [rig.record(event) for event in events]
        if name == step:
            before = await snapshot(rig.pool)
            with pytest.raises(Killed):
                await rig.handler(Failpoints(point, in_process=True)).handle(records)
            assert await snapshot(rig.pool) == before
            await rig.handler().handle(records)
            assert await snapshot(rig.pool) != before
            return
        await rig.handler().handle(records)
        await rig.ask_bank()


@pytest.mark.parametrize(
    "point",
    ["effect_after_claim", "effect_after_call", "effect_before_commit", "effect_after_commit"],
)
async def test_dying_at_any_step_of_asking_the_bank_takes_the_money_once(
    rig: Rig, point: str
) -> None:
    for nth in (1, 2):
        placed = await rig.placed()
        await rig.hear(placed)
        with pytest.raises(Killed):
            await rounds(rig.runner(Failpoints(f"{point}:{nth}", in_process=True)), 3)
        await rig.ask_bank()
        assert await rig.told(placed.order_id) == ["captured"]
    assert rig.bank_moved() == {"capture": 2 * 20410}


async def test_what_the_bank_moved_and_is_still_to_be_booked_breaks_nothing_and_what_nobody_asked_for_does(
    rig: Rig, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies when the bank has taken the money of two orders, before it writes the answers down."""
    to = RunningStack("", rig.dsn, "", home)
    monkeypatch.setenv("CROSSBORDER_BANK_URL", str(rig.http._client.base_url))
    orders = [await rig.placed() for _ in range(2)]
    await rig.hear(*orders)
    with pytest.raises(Killed):
        await rounds(rig.runner(Failpoints("effect_after_call:2", in_process=True)), 3)
    assert rig.bank_moved() == {"capture": 2 * 20410}
    (found,) = await reconciliation.bank(to)
    assert (found.offending, found.skipped) == ((), "")
    # The bank took the money of one of them once more.
    take = "INSERT INTO movement (kind, reference, payment_no, minor, currency, at) SELECT kind, reference, {}, minor, currency, at "
    db = rig.line.bank.file.db
    db.execute(take.format("payment_no") + "FROM movement LIMIT 1")
    (found,) = await reconciliation.bank(to)
    assert [line.split(": ")[1] for line in found.offending] == ["bank 204.10 CNY, journal nothing"]
    db.execute("DELETE FROM movement WHERE rowid = (SELECT max(rowid) FROM movement)")
    await rig.ask_bank()
    (found,) = await reconciliation.bank(to)
    assert found.offending == ()
    db.execute(take.format("'P-none'") + "FROM movement LIMIT 1")
    (found,) = await reconciliation.bank(to)
    assert found.offending == ("payment P-none capture: bank 204.10 CNY, journal nothing",)


async def rounds(runner: EffectRunner, count: int) -> None:
    for _ in range(count):
        await runner.once()


async def test_the_journal_refuses_a_transaction_that_does_not_balance(rig: Rig) -> None:
    insert = (
        "INSERT INTO journal (txn_id, seq, order_id, purpose, account, party, currency, amount_minor) "
        "SELECT $1, seq, $2, 'capture', account, '', currency, minor "
        "FROM unnest($3::int[], $4::text[], $5::text[], $6::bigint[]) AS u(seq, account, currency, minor)"
    )
    accounts = ["bank_clearing", "buyer_funds"]
    async with rig.pool.acquire() as conn:
        for currencies, minors in ((["CNY", "CNY"], [100, -99]), (["CNY", "USD"], [100, -100])):
            with pytest.raises(asyncpg.CheckViolationError) as refused:
                await conn.execute(insert, uuid4(), uuid4(), [0, 1], accounts, currencies, minors)
            assert refused.value.constraint_name in {"journal_balances", "journal_one_movement"}
        with pytest.raises(asyncpg.CheckViolationError):
            await conn.execute(insert, uuid4(), uuid4(), [0], ["bank_clearing"], ["CNY"], [100])
        assert await conn.fetchval("SELECT count(*) FROM journal") == 0


async def test_the_journal_cannot_be_changed_by_the_service_itself(rig: Rig) -> None:
    placed = await rig.placed()
    await rig.hear(placed)
    await rig.ask_bank()
    async with rig.pool.acquire() as conn:
        for sql in (
            "UPDATE journal SET amount_minor = 1",
            "DELETE FROM journal",
            "TRUNCATE journal",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await conn.execute(sql)


async def test_a_second_capture_of_an_order_cannot_be_booked_even_by_mistake(rig: Rig) -> None:
    placed = await rig.placed()
    await rig.hear(placed)
    await rig.ask_bank()
    again = (
        "INSERT INTO journal (txn_id, seq, order_id, purpose, account, party, currency, amount_minor) "
        "SELECT $1, seq, order_id, purpose, account, party, currency, amount_minor FROM journal"
    )
    async with rig.pool.acquire() as conn:
        with pytest.raises(asyncpg.UniqueViolationError):
            await conn.execute(again, uuid4())
        with pytest.raises(asyncpg.CheckViolationError) as refused:
            await conn.execute("UPDATE payment SET refunded_minor = captured_minor + 1")
        assert refused.value.constraint_name == "never_refunds_more_than_captured"


async def test_a_payment_begun_by_another_transaction_is_tried_again_not_overwritten(
    rig: Rig,
) -> None:
    first, second = (
        Payment(uuid4(), state=PaymentState.VOIDED, version=1),
        Payment(uuid4(), state=PaymentState.VOIDED, version=1),
    )
    async with rig.pool.acquire() as conn:
        await store.save(conn, {}, [first])
        with pytest.raises(Unavailable, match="another transaction"):
            await store.save(conn, {}, [first, second])
        await store.save(conn, {first.order_id: first}, [first])


async def test_money_moved_is_counted_once_it_is_committed(rig: Rig) -> None:
    good, bad = await rig.placed(), await rig.placed("tok_declined")
    await rig.hear(good, bad)
    await rig.ask_bank()
    await rig.hear(unwinding(good.order_id), unwinding(bad.order_id))
    await rig.ask_bank()
    before = {outcome: counter(outcome) for outcome in ("captured", "refunded", "declined")}
    metrics.observe(rig.counted)
    moved = {outcome: counter(outcome) - was for outcome, was in before.items()}
    assert moved == {"captured": 20410, "refunded": 20410, "declined": 20410}


def counter(outcome: str) -> float:
    labels = {"currency": "CNY", "outcome": outcome}
    return REGISTRY.get_sample_value("crossborder_captured_minor_total", labels) or 0.0


async def test_a_broken_book_is_found_by_an_invariant(rig: Rig) -> None:
    placed = await rig.placed()
    await rig.hear(placed)
    await rig.ask_bank()
    conn = await asyncpg.connect(rig.dsn)
    try:
        tx = conn.transaction()
        await tx.start()
        await conn.execute(
            "UPDATE payments.journal SET amount_minor = amount_minor + 1 WHERE seq = 0"
        )
        await conn.execute("UPDATE payments.payment SET state = 'authorised'")
        found = {i.name for i in INVARIANTS if await conn.fetch(i.sql)}
        await tx.rollback()
    finally:
        await conn.close()
    assert found == {
        "payments_books_balance",
        "payments_agree_with_books",
        "payments_agree_with_state",
        "payments_buyer_funds",
        "payments_awaited_is_asked",
    }


def test_every_instruction_of_the_table_is_one_the_teller_can_ask() -> None:
    from services.payments.bank_commands.sender import COMMANDS

    assert set(COMMANDS) == {"authorise", "capture", "void", "refund", "refund_tax", "transfer"}
    assert COMMANDS["authorise"] is Authorise
    assert {state for state, _, _ in PAYMENT} <= set(PaymentState)
