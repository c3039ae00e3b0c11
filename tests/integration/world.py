"""The four services and the sandboxes in one process: the database is real, the log is kept in memory.

So a test holds the wire itself: which record a service hears next, how often, and what it finds in its place.
"""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import asyncpg

from sandbox.authority.party import Authority as SandboxAuthority
from sandbox.authority.signature import Declarants
from sandbox.bank.oddities import BulkFailure
from sandbox.bank.party import Bank as SandboxBank
from sandbox.carrier.party import Carrier
from sandbox.kafka_io import Transport
from sandbox.order_reader import read_submissions
from sandbox.storage import drop_outbox, pending_outbox
from services.cli.verify.cross_service_invariants import BETWEEN
from services.customs import deps as customs_deps
from services.customs import handlers as customs
from services.customs import match_input, policy_file
from services.customs.ceb.sign import CERTIFICATE_FILE, Signer
from services.customs.consolidation.publication import publish_pending
from services.customs.consolidation.requests import make_requests
from services.customs.consolidation.terms import ConsolidationRules
from services.customs.contradiction_cases import review_cases
from services.customs.expired_returns import give_up_returns
from services.customs.gateway import Authority
from services.customs.invariants import INVARIANTS as CUSTOMS_INVARIANTS
from services.customs.lodging.timer import lodge_due
from services.customs.tax_bills.timer import announce_bills
from services.orders import deps as orders_deps
from services.orders import handlers as orders
from services.orders.invariants import INVARIANTS as ORDERS_INVARIANTS
from services.payments import deps as payments_deps
from services.payments import handlers as payments
from services.payments.bank_commands.sender import BankSender
from services.payments.customs_debt import deposit
from services.payments.domain.bank_replies import BankRecord, BankReply
from services.payments.gateway import BankRecords, BankReplies, Item
from services.payments.invariants import INVARIANTS as PAYMENTS_INVARIANTS
from services.tax import deps as tax_deps
from services.tax import handlers as tax
from services.tax.bills.handlers import Billing, open_overdue_cases, settle_and_hand_over
from services.tax.invariants import INVARIANTS as TAX_INVARIANTS
from services.tax.rulebook import files as rule_files
from shared import inbox, operator_requests, topics
from shared.database import connect_pool
from shared.dead_letters import pack_record
from shared.effect_runner import EffectRunner
from shared.effects import Send
from shared.envelope import Message, Outgoing, Record
from shared.errors import Unprocessable
from shared.failpoints import Failpoints
from shared.handler import Handler
from shared.outbox import BOUND, unpack_headers
from shared.outcomes import write
from shared.parties import Parties
from shared.sealing import Sealing
from shared.settings import Settings
from shared.subscriptions import Outcome, Subscriptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SPEAKS: Final = {
    "orders": topics.ORDERS,
    "payments": topics.PAYMENTS,
    "tax": topics.TAX,
    "customs": topics.CUSTOMS,
}
SUBSCRIPTIONS: Final[dict[str, Subscriptions]] = {
    "orders": orders.SUBSCRIPTIONS, "payments": payments.SUBSCRIPTIONS, "tax": tax.SUBSCRIPTIONS, "customs": customs.SUBSCRIPTIONS,
}  # fmt: skip
TIMERS: Final[tuple[tuple[str, Any], ...]] = (
    ("customs", lodge_due), ("customs", announce_bills), ("customs", give_up_returns), ("customs", review_cases),
    ("customs", make_requests), ("customs", publish_pending), ("tax", settle_and_hand_over), ("tax", open_overdue_cases),
    ("payments", deposit.reconcile),
)  # fmt: skip
INVARIANTS: Final = (
    *ORDERS_INVARIANTS,
    *PAYMENTS_INVARIANTS,
    *TAX_INVARIANTS,
    *CUSTOMS_INVARIANTS,
    *BETWEEN,
)
AGE_S: Final = 600
"""Records lie in the log for so long already, so that every batch of customs is old enough to close."""

Channel = tuple[str, str]
"""A service, and a topic it hears."""
Deliver = Callable[["World", Channel, list[Record]], Awaitable[None]]
"""Gives a service records, and may look on."""


@dataclass
class Clock:
    """The sandboxes' clock: it stands until a test moves it."""

    now: float = field(default_factory=time.time)


@dataclass
class DirectBank:
    """The sandbox bank without HTTP, which test_payments is about."""

    bank: SandboxBank
    clock: Clock

    def wait_s(self, kind: str) -> float:
        return 0.0

    async def send(self, kind: str, items: Sequence[Item], *, again: bool = False) -> BankReplies:
        asked = (
            "refund" if kind == "refund_tax" else kind
        )  # one path at the bank, two reasons of ours
        try:
            answers, _ = self.bank.perform(asked, items, self.clock.now)
        except BulkFailure:
            heard = BankReplies()
            for item in items if len(items) > 1 else ():
                heard.answers |= (await self.send(kind, [item])).answers
            return heard
        return self._heard(answers, [str(item["key"]) for item in items])

    async def query(self, keys: Sequence[UUID], kind: str = "authorise") -> BankReplies:
        answers = self.bank.ask([str(key) for key in keys], self.clock.now)
        return self._heard(answers, [str(key) for key in keys])

    @staticmethod
    def _heard(answers: Sequence[Any], asked: Sequence[str]) -> BankReplies:
        return BankReplies(
            {found.key: found for found in map(BankReply.model_validate, answers)},
            spoken=set(asked),
        )

    async def find(self, kind: str, references: Sequence[str]) -> BankRecords:
        found: dict[str, list[BankRecord]] = {reference: [] for reference in references}
        for record in map(BankRecord.model_validate, self.bank.find(references, self.clock.now)):
            found[record.reference or ""].append(record)
        return BankRecords(found)

    async def close(self) -> None:
        pass


@dataclass
class World:
    """Everything between a shop and the border. `log` has every record of a topic; `read` how far a service is in it."""

    admin: Any
    pools: dict[str, Any]
    deps: dict[str, Any]
    sealing: Sealing
    clock: Clock
    bank: SandboxBank
    carrier: Carrier
    authority: SandboxAuthority
    deliver: Deliver
    log: dict[str, list[Record]] = field(default_factory=lambda: defaultdict(list))
    read: Counter[Channel] = field(default_factory=Counter)
    offsets: Counter[Channel] = field(default_factory=Counter)
    wrap_bank: Callable[[Send], Send] = lambda perform: perform
    looking: dict[str, Any] = field(default_factory=dict)
    all_bound: bool = False
    """Whether a party without a key says nothing, as where the broker tells its users apart."""

    def __post_init__(self) -> None:
        self._heard_by_sandbox: Counter[str] = Counter()
        self._trial = False
        self._wire = Transport("", "", self.bank, self.carrier, self.authority)

    # --- one service

    def handler(self, service: str, points: Failpoints | None = None) -> Handler:
        return Handler(
            service,
            SPEAKS[service],
            SUBSCRIPTIONS[service],
            self.pools[service],
            self.deps[service],
            sealing=self.sealing,
            failpoints=points,
            parties=Parties(all_bound=self.all_bound),
        )

    def runner(self, points: Failpoints | None = None) -> EffectRunner:
        async def finish(conn: Any, outcome: Outcome) -> None:
            await write(conn, "payments", topics.PAYMENTS, outcome, self.sealing)

        pool = self.pools["payments"]
        perform = self.wrap_bank(
            BankSender(DirectBank(self.bank, self.clock), self.sealing, pool).send
        )
        return EffectRunner(
            "payments",
            pool,
            self.deps["payments"],
            perform,
            payments.handle_replies,
            finish,
            lambda _: None,
            sealing=self.sealing,
            failpoints=points,
        )

    def place(self, channel: Channel, records: Iterable[Record]) -> list[Record]:
        """The records at the offsets at which this service would read on."""
        at = self.offsets[channel]
        return [replace(record, offset=at + i) for i, record in enumerate(records)]

    async def replay(self, channel: Channel, offset: int, record: Record) -> None:
        """What an operator does about the letter of this offset, once its cause is mended: `record` is what it should have been."""
        service, topic = channel
        async with self.pools[service].acquire() as conn:
            await conn.execute(
                "UPDATE dead_letter SET record = $3, sealed = false WHERE topic = $1 AND part = 0 AND at_offset = $2",
                topic, offset, pack_record(record),
            )  # fmt: skip
            await operator_requests.ask(
                conn, service, "replay", "an operator", place=(topic, 0, offset)
            )
        await operator_requests.obey(self.handler(service))

    async def handle(
        self, channel: Channel, records: Sequence[Record], points: Failpoints | None = None
    ) -> None:
        """Give one service records of one topic; the offsets move only if it returns."""
        handler = self.handler(channel[0], points)
        await handler.parties.refresh(self.pools[channel[0]])
        await handler.handle(self.place(channel, records))
        self.offsets[channel] += len(records)

    def decoded(self, channel: Channel, record: Record) -> Sequence[Message]:
        """What the service makes of a record; nothing if it cannot be read or is not for it."""
        found = self.handler(channel[0]).decode(record)
        return () if isinstance(found, Unprocessable) else found

    # --- the wire

    def publish(self, topic: str, records: Iterable[Outgoing]) -> None:
        for r in records:
            at = int((time.time() - AGE_S) * 1000)
            self.log[topic].append(
                Record(topic, 0, len(self.log[topic]), at, r.key, r.value, r.headers)
            )

    def pending(self, channel: Channel) -> list[Record]:
        return self.log[channel[1]][self.read[channel] :]

    def channels(self) -> list[Channel]:
        return [
            (service, topic)
            for service, table in SUBSCRIPTIONS.items()
            for topic in table.sources
            if self.pending((service, topic))
        ]

    async def advance(self, channel: Channel, most: int | None = None) -> None:
        """Let a service hear what is next for it."""
        records = self.pending(channel)[:most]
        self.read[channel] += len(records)
        await self.deliver(self, channel, records)

    async def relay(self) -> None:
        """Put every outbox onto the log."""
        for service in SPEAKS:
            rows = await self.admin.fetch(f"DELETE FROM {service}.outbox RETURNING *")
            for row in sorted(rows, key=lambda row: row["id"]):
                value = self.sealing.decrypt(row["value"], BOUND) if row["sealed"] else row["value"]
                self.publish(
                    row["topic"],
                    [
                        Outgoing(
                            row["topic"], row["key"], value, tuple(unpack_headers(row["headers"]))
                        )
                    ],
                )

    async def ask_bank(self) -> bool:
        """Let every instruction be asked now; True if one was answered."""
        await self.admin.execute("UPDATE payments.effect SET next_at = now()")
        before = await self.admin.fetchval("SELECT count(*) FROM payments.effect")
        await self.runner().once()
        return bool(before) and await self.facts_waiting()

    async def facts_waiting(self) -> bool:
        return bool(
            await self.admin.fetchval("SELECT EXISTS (SELECT FROM payments.outbox)")
        ) or bool(
            await self.admin.fetchval(
                "SELECT EXISTS (SELECT FROM payments.effect WHERE attempts = 0)"
            )
        )

    async def lodge(self) -> None:
        """What the timers do."""
        await self.admin.execute(
            "UPDATE customs.pause SET next_at = now() + CASE WHEN $1 THEN interval '0' ELSE interval '1 year' END",
            self._trial,
        )
        self._trial = False
        for service, action in TIMERS:
            async with self.looking[service].acquire() as conn, conn.transaction():
                await write(
                    conn,
                    service,
                    SPEAKS[service],
                    await action(conn, self.deps[service]),
                    self.sealing,
                )

    def outside(self) -> None:
        """Let carrier and authority hear and speak."""
        now = self.clock.now
        submissions = [
            s for r in self._next(topics.SUBMISSIONS) for s in read_submissions(r.value, r.headers)
        ]
        self.carrier.book(submissions, now)
        self.authority.record_orders(submissions, now)
        self.bank.finish_due(now)
        self.carrier.issue_late(now)
        self._wire._hand_over(now)
        self.authority.receive([r.value or b"" for r in self._next(topics.DECLARATIONS)], now)
        while self._wire._hand_over(now) or self.authority.fall_due(now):
            pass
        for file in (self.carrier.file, self.authority.register.file):
            found = pending_outbox(file, 100_000)
            for _, record in found:
                self.publish(record.topic, [record])
            drop_outbox(file, [number for number, _ in found])

    def _next(self, topic: str) -> list[Record]:
        found = self.log[topic][self._heard_by_sandbox[topic] :]
        self._heard_by_sandbox[topic] += len(found)
        return found

    async def settle_down(self) -> None:
        """Go on, each service hearing all there is in one batch, until nothing moves any more.

        Where lodging pauses, one list of each group is tried, once: the sandboxes' clock stands, so no other would end better.
        """
        self._trial = True
        while True:
            length = sum(map(len, self.log.values()))
            for channel in self.channels():
                await self.advance(channel)
            answered = await self.ask_bank()
            await self.lodge()
            await self.relay()
            self.outside()
            if not answered and not self.channels() and length == sum(map(len, self.log.values())):
                return

    async def stumble_on(self, chance: random.Random) -> None:
        """The same, but who moves next, and how far, is left to chance."""
        while True:
            for _ in range(200):
                moves: list[Channel | str] = [*self.channels(), "bank", "lodge", "relay", "outside"]
                await self._move(chance.choice(moves), chance)
            before = [len(records) for records in self.log.values()]
            await self.settle_down()
            if before == [len(records) for records in self.log.values()]:
                return

    async def _move(self, move: Channel | str, chance: random.Random) -> None:
        match move:
            case "bank":
                await self.ask_bank()
            case "lodge":
                await self.lodge()
            case "relay":
                await self.relay()
            case "outside":
                self.outside()
            case (service, topic):
                await self.advance((service, topic), chance.choice((1, 3, 50)))

    # --- what there is

    async def snapshot(
        self, service: str, *, without: Sequence[str] = (), unstamped: bool = False
    ) -> dict[str, str]:
        """A digest of each of a service's tables, and of the keys; `unstamped` leaves out when a row was touched last."""
        tables = await self.admin.fetch(
            "SELECT schemaname || '.' || tablename AS name FROM pg_tables WHERE schemaname = ANY($1) ORDER BY 1",
            [service, "vault"],
        )
        stamp = " - 'updated_at'" if unstamped else ""
        return {
            t["name"]: await self.admin.fetchval(
                f"SELECT count(*) || ' ' || coalesce(md5(string_agg(row, '|' ORDER BY row)), '') "
                f"FROM (SELECT (to_jsonb(t){stamp})::text AS row FROM {t['name']} t) AS rows"
            )
            for t in tables if t["name"].split(".")[1] not in without
        }  # fmt: skip

    async def states(self) -> dict[str, str]:
        return {
            row["order_no"]: row["state"]
            for row in await self.admin.fetch("SELECT order_no, state FROM orders.orders")
        }

    async def broken(self) -> dict[str, list[Any]]:
        """The invariants that do not hold, with the offending ids."""
        found = {i.name: [tuple(row) for row in await self.admin.fetch(i.sql)] for i in INVARIANTS}
        return {name: rows for name, rows in found.items() if rows}


async def deliver_plainly(world: World, channel: Channel, records: list[Record]) -> None:
    await world.handle(channel, records)


@asynccontextmanager
async def opened(
    dsn: str,
    keys: Path,
    deliver: Deliver = deliver_plainly,
    wrap_bank: Callable[[Send], Send] | None = None,
) -> AsyncIterator[World]:
    """A world on a fresh database; `keys` has the master keys and the declarant's."""
    async with AsyncExitStack() as stack:
        admin = await asyncpg.connect(dsn)
        stack.push_async_callback(admin.close)
        pools, looking = {}, {}
        for service in SPEAKS:
            pools[service] = await connect_pool(
                Settings(postgres=dsn), service, size=2, plan_once=True
            )
            looking[service] = await connect_pool(Settings(postgres=dsn), service, size=1)
            stack.callback(pools[service].terminate)
            stack.callback(looking[service].terminate)
            async with pools[service].acquire() as conn:
                await inbox.known_offsets(
                    conn, {(topic, 0): 0 for topic in SUBSCRIPTIONS[service].sources}
                )
        sealing, rules, clock = Sealing.from_dir(keys), policy_file.load(None), Clock()
        deps = {
            "orders": orders_deps.Deps(sealing), "payments": payments_deps.Deps(),
            "tax": tax_deps.Deps(rule_files.load(), Billing(now=lambda: datetime.fromtimestamp(clock.now, UTC))),
            "customs": customs_deps.Deps(
                sealing=sealing, authority=Authority(rules, Signer.from_dir(keys)), match=match_input.mismatches,
                policy=rules.rules, consolidation=ConsolidationRules(rules, now=lambda: datetime.fromtimestamp(clock.now, UTC)),
            ),
        }  # fmt: skip
        authority = SandboxAuthority(topics.RECEIPTS, Declarants(keys / CERTIFICATE_FILE))
        world = World(
            admin,
            pools,
            deps,
            sealing,
            clock,
            SandboxBank(),
            Carrier(topics.WAYBILLS),
            authority,
            deliver,
        )
        if wrap_bank is not None:
            world.wrap_bank = wrap_bank
        world.looking = looking
        for file in (world.bank.file, world.carrier.file, authority.register.file):
            stack.callback(file.close)
        yield world
