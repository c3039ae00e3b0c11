"""Every reaction in every SUBSCRIPTIONS: twice is once, a failure leaves no trace, a poison record costs only itself.

Each kind of order is played by the real services and sandboxes; the entries are collected from the tables, so that a
topic or type that is added without a story fails here.
"""

from __future__ import annotations

import itertools
import json
import random
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import pytest

from deploy.samples import submission
from sandbox.authority.receipts import format_fault, messages_of
from services.customs.ceb.bills import BILL_MESSAGES
from services.customs.ceb.receipts import RECEIPT_MESSAGES
from services.customs.ceb.summaries import SUMMARY_MESSAGES
from services.orders.intake.decoding import read_submission
from services.orders.intake.fingerprint import fingerprint
from services.orders.intake.submission import Submitted
from services.payments.domain.bank import Refunded
from shared import inbox, topics
from shared.effects import Effect, NoReply, Reply, Send
from shared.envelope import Message, Outgoing, Record, headers_of
from shared.events import customs, payments, tax
from shared.events import orders as said
from shared.events.base import Event
from shared.failpoints import Failpoints, Killed
from shared.identity import order_id_of
from shared.outbox import unpack_headers
from tests.integration.world import SUBSCRIPTIONS, Channel, Deliver, World, deliver_plainly, opened

Entry = tuple[str, str, str]
"""A service, a topic it hears, and a type of message there."""

SUBMITTED, CANCEL, RETURN = "order.submitted.v1", "order.cancel-requested.v1", "return.requested.v1"
ISSUED, DELIVERED = "waybill.issued.v1", "waybill.delivered.v1"
OF_INTAKE: Final = {
    topics.SUBMISSIONS: (SUBMITTED, CANCEL, RETURN),
    topics.WAYBILLS: (ISSUED, DELIVERED),
    topics.RECEIPTS: tuple(sorted(RECEIPT_MESSAGES | BILL_MESSAGES | SUMMARY_MESSAGES)),
}
"""What outsiders write: these topics are decoded by the service itself, so their rows name no wire types."""

STEPS: Final = ("after_offsets", "after_inbox", "after_reaction", "before_commit")
UNDELETED: Final = ("consumer_offset", "inbox")
OF_MODULE: Final = {
    said: topics.ORDERS,
    payments: topics.PAYMENTS,
    tax: topics.TAX,
    customs: topics.CUSTOMS,
}


def all_entries() -> set[Entry]:
    return {
        (service, topic, wire_type)
        for service, table in SUBSCRIPTIONS.items()
        for topic, types in table.event_types.items()
        for wire_type in (tuple(kind.type for kind in types) or OF_INTAKE[topic])
    }


def entry_of(channel: Channel, m: Message) -> Entry:
    return (*channel, m.type.split(".")[0] if channel[1] == topics.RECEIPTS else m.type)


def heard(service: str, *kinds: type[Event] | str) -> set[Entry]:
    """The entries of a service for facts, and for the types of an intake."""
    found: set[Entry] = set()
    for kind in kinds:
        if isinstance(kind, str):
            found.add(
                (service, next(topic for topic, types in OF_INTAKE.items() if kind in types), kind)
            )
        else:
            (topic,) = (
                topic for module, topic in OF_MODULE.items() if kind.__module__ == module.__name__
            )
            found.add((service, topic, kind.type))
    return found


ON_THE_WAY, LATER, DAYS_LATER, MUCH_LATER = "on the way", "later", "days later", "much later"
"""When a shop asks something: before any time has passed, after ten seconds, once there is a tax bill, after the term for returns
and in the time of payment."""


@dataclass(frozen=True)
class Story:
    """How an order goes: what makes it go so, its end, and the entries it is here to show."""

    sample: str
    end: str
    shows: set[Entry]
    token: str = "tok_ok"
    marker: str = ""
    then: tuple[str, str] | None = None
    and_then: tuple[str, str] | None = None
    lines: tuple[int, ...] = ()


STORIES: Final[dict[str, Story]] = {
    "released": Story(
        "cherries", "fulfilled",
        heard("orders", SUBMITTED, payments.PaymentCaptured, payments.MerchantSettled,
              tax.TaxAssessed, tax.TaxPosted, customs.ListLodged, customs.ListAccepted, customs.GoodsReleased)
        | heard("payments", said.OrderPlaced, customs.GoodsReleased, tax.TaxPosted, tax.TaxBillSettled, tax.TaxBillDue)
        | heard("tax", said.OrderPlaced, customs.GoodsReleased, customs.TaxBilled, customs.TaxBillConsolidated)
        | heard("customs", said.OrderPlaced, payments.PaymentCaptured, tax.TaxAssessed, ISSUED, DELIVERED, "CEB622", "CEB816", "CEB818"),
        then=(LATER, DELIVERED),
    ),
    "exported": Story(
        "toys_us", "fulfilled",
        heard("orders", customs.ListClosed, customs.SummaryRequested, customs.ListConsolidated,
              customs.ConsolidatedDeclarationClosed)
        | heard("customs", "CEB604", "CEB702", "CEB792"),
    ),
    "not consolidated": Story("toys_us", "fulfilled", heard("orders", customs.SummaryRefused), marker="sum_refused"),
    "declined": Story(
        "cherries", "rejected",
        heard("orders", payments.PaymentDeclined, payments.PaymentVoided, tax.TaxVoided)
        | heard("payments", said.OrderUnwinding) | heard("tax", said.OrderUnwinding) | heard("customs", said.OrderUnwinding),
        token="tok_declined",
    ),
    "refused by tax": Story("handbag_in_company", "rejected", heard("orders", tax.TaxRefused, payments.PaymentRefunded)),
    "under another waybill": Story("cherries", "fulfilled", heard("orders", customs.WaybillCorrected), marker="newway"),
    "mismatched": Story("cherries", "rejected", heard("orders", customs.DocumentsMismatched), token="tok_short"),
    "examined": Story(
        "cherries", "fulfilled", heard("orders", customs.ListInReview, customs.ExaminationOrdered, customs.GoodsHeld),
        marker="review.hold.examine",
    ),
    "corrected": Story("lotion", "fulfilled", heard("orders", customs.ListReturned), marker="return"),
    "refused by customs": Story("cherries", "rejected", heard("orders", customs.ListRefused), marker="reject"),
    "unreadable": Story("cherries", "rejected", heard("customs", "CEB900"), marker="ceb900"),
    "cancelled and unreadable": Story(
        "cherries", "cancelled", heard("customs", "CEB900"), marker="silent", then=(ON_THE_WAY, CANCEL), and_then=(MUCH_LATER, "CEB900")
    ),
    "lodged twice": Story("cherries", "fulfilled", heard("customs", "CEB622"), marker="twice.examine"),
    "detained": Story("cherries", "rejected", heard("orders", customs.GoodsDetained), marker="detain"),
    "shipped back": Story("cherries", "rejected", heard("orders", customs.ReturnShipmentOrdered), marker="shipback"),
    "cancelled early": Story(
        "cherries", "cancelled", heard("orders", CANCEL, customs.ListWithdrawn) | heard("customs", said.WithdrawalAsked),
        marker="lost", then=(ON_THE_WAY, CANCEL),
    ),
    "cancelled late": Story("cherries", "cancelled", heard("customs", "CEB624"), marker="hold", then=(ON_THE_WAY, CANCEL)),
    "export cancelled": Story("toys_us", "cancelled", heard("customs", "CEB606"), marker="hold", then=(ON_THE_WAY, CANCEL)),
    "given back": Story(
        "cherries", "returned",
        heard("orders", RETURN, customs.ReturnOpened, customs.ReturnGranted, customs.GoodsReturned, payments.ReturnRefunded,
              tax.TaxRestored)
        | heard("payments", said.ReturnAccepted) | heard("tax", said.ReturnAccepted) | heard("customs", "CEB626")
        | heard("payments", tax.TaxRestored),
        then=(LATER, RETURN),
    ),
    "given back in part": Story(
        "basket", "fulfilled", heard("orders", customs.GoodsPartlyReturned), then=(LATER, RETURN), lines=(1,)
    ),
    "back after the term": Story("cherries", "returned", heard("orders", tax.TaxKept), marker="back_late", then=(LATER, RETURN)),
    "given back after the bill": Story(
        "cherries", "returned", heard("tax", customs.TaxBillVoided), marker="billlow", then=(DAYS_LATER, RETURN)
    ),
    "given back in part after the bill": Story(
        "basket", "fulfilled", heard("tax", customs.TaxBillCorrected) | heard("payments", tax.TaxBillCorrected),
        then=(DAYS_LATER, RETURN), lines=(1,),
    ),
    "billed twice": Story("cream", "fulfilled", heard("tax", customs.TaxBillContradicted), marker="contrabill"),
    "export given back": Story("toys_us", "returned", heard("customs", "CEB214"), then=(LATER, RETURN)),
    "given back too late": Story("cherries", "fulfilled", heard("orders", customs.ReturnRefused), then=(MUCH_LATER, RETURN)),
}  # fmt: skip


def test_every_entry_of_every_hears_has_a_story() -> None:
    assert set().union(*(story.shows for story in STORIES.values())) == all_entries()


# --- playing stories


@dataclass
class Cast:
    """Orders of these stories on their way through a world."""

    world: World
    stories: dict[str, Story] = field(default_factory=dict)
    made: list[dict[str, Any]] = field(default_factory=list)

    def submit(self, stories: Sequence[Story]) -> None:
        """Publish one order of each story, their submissions in turn."""
        at = datetime.now(UTC) - timedelta(hours=2)
        for story in stories:
            number = len(self.made) + 1
            # Each a buyer of its own: a person's yearly quota is not what these stories are about.
            made = submission(
                story.sample,
                number,
                seed=7,
                token=story.token,
                marker=story.marker,
                prefix="REACT",
                at=at,
                person=number,
            )
            self.made.append(made)
            self.stories[made["order_no"]] = story
            self.world.publish(topics.SUBMISSIONS, [shop_record(made["order_no"], made, SUBMITTED)])

    async def ask(self, when: str) -> None:
        for made in self.made:
            story = self.stories[made["order_no"]]
            for then in (story.then, story.and_then):
                if then is not None and then[0] == when:
                    await self._ask(made, then[1], story.lines)

    async def _ask(self, made: dict[str, Any], what: str, lines: Sequence[int]) -> None:
        order_id = order_id_of(made["platform"]["code"], made["order_no"])
        if what == DELIVERED:
            signed = {"order_id": str(order_id), "logistics_no": "YT1"}
            self.world.publish(topics.WAYBILLS, [shop_record(str(order_id), signed, DELIVERED)])
        elif what == "CEB900":
            # It speaks of the whole message; the other lists of it are decided by now.
            guid = await self.world.admin.fetchval(
                "SELECT message_guid FROM customs.declaration WHERE order_id = $1", order_id
            )
            fault = format_fault(
                guid, "CEB621Message", -2, "[Code:0002;Desc:schema]", self.world.clock.now
            )
            self.world.publish(
                topics.RECEIPTS, messages_of(topics.RECEIPTS, [fault], self.world.clock.now)
            )
        else:
            value: dict[str, Any] = {
                "platform": made["platform"], "order_no": made["order_no"], "reason": "the buyer changed their mind",
            }  # fmt: skip
            if lines:
                value["lines"] = [{"line_no": number} for number in lines]
            self.world.publish(topics.SUBMISSIONS, [shop_record(made["order_no"], value, what)])

    async def wrong(self) -> dict[str, Any]:
        """The orders that are not at the end of their story: where they are, and why."""
        rows = await self.world.admin.fetch(
            "SELECT order_no, state, doc ->> 'faults' AS faults FROM orders.orders"
        )
        found = {row["order_no"]: (row["state"], row["faults"]) for row in rows}
        return {
            no: found.get(no)
            for no, story in self.stories.items()
            if (found.get(no) or ("",))[0] != story.end
        }


def shop_record(key: str, value: Any, wire_type: str) -> Outgoing:
    headers = headers_of(
        event_id=uuid4(), event_type=wire_type, source="shop", at=datetime.now(UTC)
    )
    return Outgoing(
        topics.SUBMISSIONS, key.encode(), json.dumps(value, ensure_ascii=False).encode(), headers
    )


async def play(cast: Cast, settle: Callable[[], Any]) -> None:
    """Let the stories go to their ends; `settle` goes on until nothing moves any more."""
    clock = cast.world.clock
    await settle()
    for when, seconds in (
        (ON_THE_WAY, 0.0),
        (LATER, 10.0),
        (DAYS_LATER, 3 * 86_400.0),
        (MUCH_LATER, 31 * 86_400.0),
    ):
        clock.now += seconds
        await settle()
        await cast.ask(when)
        await settle()
    # Exports are consolidated in the next month, from its second day on, and told of word by word.
    for seconds in (86_400.0, 1.0, 1.0):
        clock.now += seconds
        await settle()


@asynccontextmanager
async def played_in(
    dsn: str, keys: Path, deliver: Deliver = deliver_plainly, **how: Any
) -> AsyncIterator[Cast]:
    async with opened(dsn, keys, deliver, **how) as world:
        yield Cast(world)


# --- twice is once, and a failure leaves no trace


@dataclass
class Scout:
    """Tries everything on the first message of each wanted entry, alone, before the order goes on."""

    wanted: set[Entry]

    async def __call__(self, world: World, channel: Channel, records: list[Record]) -> None:
        plain: list[Record] = []
        for record in records:
            new = {entry_of(channel, m) for m in world.decoded(channel, record)} & self.wanted
            if not new:
                plain.append(record)
                continue
            if plain:
                await world.handle(channel, plain)
                plain = []
            await dies_and_comes_again(world, channel, record)
            self.wanted -= new
        if plain:
            await world.handle(channel, plain)


async def dies_and_comes_again(world: World, channel: Channel, record: Record) -> None:
    service = channel[0]
    before = await world.snapshot(service)
    for step in STEPS:
        with pytest.raises(Killed):
            await world.handle(channel, [record], Failpoints(step, in_process=True))
        assert await world.snapshot(service) == before, f"{channel}: killed at {step}"
    with pytest.raises(Killed):
        await world.handle(channel, [record], Failpoints("after_commit", in_process=True))
    after = await world.snapshot(service)
    assert after[f"{service}.inbox"] != before[f"{service}.inbox"]
    with pytest.raises(inbox.Fenced):
        await world.handle(channel, [record])
    assert await world.snapshot(service) == after, f"{channel}: the same offsets again"
    world.offsets[channel] += 1
    after = await world.snapshot(service, without=UNDELETED)
    await world.handle(channel, [record])
    assert await world.snapshot(service, without=UNDELETED) == after, (
        f"{channel}: the same event at a later offset"
    )


@pytest.mark.parametrize("name", STORIES)
async def test_heard_twice_is_heard_once_and_a_failure_leaves_no_trace(
    database: str, keys: Path, name: str
) -> None:
    scout = Scout(set(STORIES[name].shows))
    async with played_in(database, keys, scout) as cast:
        cast.submit([STORIES[name]])
        await play(cast, cast.world.settle_down)
        assert scout.wanted == set()
        assert await cast.wrong() == {}
        assert await cast.world.broken() == {}


async def test_a_whole_log_heard_again_under_later_offsets_changes_nothing(
    database: str, keys: Path
) -> None:
    async with played_in(database, keys) as cast:
        cast.submit(list(STORIES.values()))
        await play(cast, cast.world.settle_down)
        assert await cast.wrong() == {}
        before = {
            service: await cast.world.snapshot(service, without=UNDELETED)
            for service in SUBSCRIPTIONS
        }
        for service, table in SUBSCRIPTIONS.items():
            for topic in table.sources:
                await cast.world.handle((service, topic), cast.world.log[topic])
        assert {
            service: await cast.world.snapshot(service, without=UNDELETED)
            for service in SUBSCRIPTIONS
        } == before


# --- poison


@dataclass
class Poisoner:
    """Spoils one record of each wanted entry in the batch in which it comes, each of another order, and looks what it costs."""

    wanted: set[Entry]
    spoiled: list[tuple[Channel, int, Record]] = field(default_factory=list)
    """Where it was to be read, at which offset it was, and what it should have been."""
    keys: set[bytes | None] = field(default_factory=set)
    sizes: dict[Entry, int] = field(default_factory=dict)
    tries: int = 0

    async def __call__(self, world: World, channel: Channel, records: list[Record]) -> None:
        batch, good = list(records), {}
        places: list[tuple[int, Record]] = []
        for i, record in enumerate(records):
            entries = {entry_of(channel, m) for m in world.decoded(channel, record)}
            intake = SUBSCRIPTIONS[channel[0]].sources[channel[1]].intake
            if entries & self.wanted and (intake or record.key not in self.keys):
                self.wanted -= entries
                self.keys.add(record.key)
                places.append((i, record))
                self.sizes |= dict.fromkeys(entries, len(records))
                batch[i] = self._spoil(record)
            else:
                good[i] = record
        strangers = [] if len(good) == len(records) else _of_strangers(channel, list(good.values()))
        batch[len(batch) // 2 : len(batch) // 2] = strangers
        spoiled = [r for r in batch if r not in good.values()]
        at = world.offsets[channel]
        middle = len(records) // 2
        self.spoiled += [
            (channel, at + i + (len(strangers) if i >= middle else 0), record)
            for i, record in places
        ]
        await self._cost(world, channel, batch, spoiled)

    def _spoil(self, record: Record) -> Record:
        """Cut off, of wrong types, or not even text."""
        self.tries += 1
        value = record.value or b""
        wrong = (
            re.sub(rb'"order_id": ?"', b'"order_id":[', value)
            if b'"order_id"' in value
            else b"[1, 2]"
        )
        return replace(
            record, value=(value[: len(value) // 2], wrong, b"\xff\xfe\x00")[self.tries % 3]
        )

    async def _cost(
        self, world: World, channel: Channel, batch: list[Record], spoiled: list[Record]
    ) -> None:
        service, topic = channel
        last = await world.admin.fetchval(f"SELECT coalesce(max(id), 0) FROM {service}.outbox")
        held = {
            row["order_id"]
            for row in await world.admin.fetch(f"SELECT order_id FROM {service}.held_order")
        }
        placed = world.place(channel, batch)
        await world.handle(channel, batch)
        letters = [
            (row["key"], dict(unpack_headers(row["headers"])))
            for row in await world.admin.fetch(
                f"SELECT * FROM {service}.outbox WHERE id > $1 ORDER BY id", last
            )
            if row["topic"].endswith(".dead-letters")
        ]
        where = [
            (r.key, str(p.offset).encode())
            for r, p in zip(batch, placed, strict=True)
            if r in spoiled
        ]
        assert sorted((key, head["dlq_offset"]) for key, head in letters) == sorted(where), (
            f"{channel}: {[head for _, head in letters]}"
        )
        assert {(head["dlq_topic"], head["dlq_service"]) for _, head in letters} <= {
            (topic.encode(), service.encode())
        }
        assert all(
            head["dlq_reason"] and head["dlq_error"] and head["ce_id"] for _, head in letters
        )
        now_held = {
            row["order_id"]
            for row in await world.admin.fetch(f"SELECT order_id FROM {service}.held_order")
        }
        internal = (
            set()
            if SUBSCRIPTIONS[service].sources[topic].intake
            else {UUID((r.key or b"").decode()) for r in spoiled}
        )
        assert now_held - held == internal, f"{channel}: other orders are held"
        ids = {
            m.event_id
            for r in batch
            if r not in spoiled
            for m in world.decoded(channel, r)
            if m.order_id not in now_held
        }
        done = await world.admin.fetch(
            f"SELECT event_id FROM {service}.inbox WHERE event_id = ANY($1)", list(ids)
        )
        assert {row["event_id"] for row in done} == ids, f"{channel}: others were not done"

    async def replay(self, world: World) -> bool:
        """Give what was spoiled again, as it should have been; True if there was something."""
        for channel, place, r in self.spoiled:
            if SUBSCRIPTIONS[channel[0]].sources[channel[1]].intake:
                world.publish(
                    channel[1], [Outgoing(channel[1], r.key or b"", r.value or b"", r.headers)]
                )
            else:
                await world.replay(channel, place, r)
        found, self.spoiled = bool(self.spoiled), []
        return found


def _of_strangers(channel: Channel, records: Sequence[Record]) -> list[Record]:
    """A fact about an order nobody here has heard of, where that is illegal."""
    service, topic = channel
    if service == "customs" or topic in (topics.SUBMISSIONS, topics.ORDERS):
        return []
    wanted = {kind.type.encode() for kind in SUBSCRIPTIONS[service].event_types[topic]}
    found = next((r for r in records if dict(r.headers)["ce_type"] in wanted), None)
    if found is None:
        return []
    order_id = str(uuid4())
    value = json.dumps({**json.loads(found.value or b""), "order_id": order_id}).encode()
    headers = tuple(
        (name, str(uuid4()).encode() if name == "ce_id" else text) for name, text in found.headers
    )
    return [replace(found, key=order_id.encode(), value=value, headers=headers)]


async def test_a_poison_record_in_a_full_batch_costs_only_itself(database: str, keys: Path) -> None:
    poisoner = Poisoner(all_entries())
    async with played_in(database, keys, poisoner) as cast:
        world = cast.world

        async def settle() -> None:
            await world.settle_down()
            while await poisoner.replay(world):
                await world.settle_down()

        cast.submit(list(STORIES.values()) * 12)
        await play(cast, settle)
        assert poisoner.wanted == set()
        assert max(poisoner.sizes.values()) >= 200
        assert await cast.wrong() == {}
        assert await world.broken() == {}
        for service in SUBSCRIPTIONS:
            strangers = await world.admin.fetch(
                f"SELECT order_id FROM {service}.held_order WHERE order_id IN (SELECT order_id FROM orders.orders)"
            )
            assert strangers == []
            assert await world.admin.fetchval(f"SELECT count(*) FROM {service}.parked") == 0


# --- any order of arrival


@pytest.mark.parametrize("seed", [1, 2])
async def test_whoever_moves_first_every_order_comes_to_the_same_end(
    database: str, keys: Path, seed: int
) -> None:
    chance = random.Random(seed)
    async with played_in(database, keys) as cast:
        cast.submit(list(STORIES.values()) * 2)
        await play(cast, lambda: cast.world.stumble_on(chance))
        assert await cast.wrong() == {}
        assert await cast.world.broken() == {}


async def test_what_is_heard_after_the_end_does_not_move_it(database: str, keys: Path) -> None:
    async with played_in(database, keys) as cast:
        cast.submit([STORIES["exported"]])
        await cast.world.settle_down()
        at_first = await cast.world.admin.fetchrow(
            "SELECT ended_at, version, updated_at FROM orders.orders"
        )
        await play(cast, cast.world.settle_down)
        # Its consolidation a month later is the order's, too.
        at_last = await cast.world.admin.fetchrow(
            "SELECT ended_at, version, updated_at FROM orders.orders"
        )
        assert at_last["ended_at"] == at_first["ended_at"] is not None
        assert at_last["updated_at"] > at_first["updated_at"]


async def test_an_order_kept_under_an_old_print_knows_its_repetition(
    database: str, keys: Path
) -> None:
    async with played_in(database, keys) as cast:
        cast.submit([STORIES["released"]])
        await cast.world.settle_down()
        (made,) = cast.made
        (submitted,) = read_submission(json.dumps(made).encode(), ())
        assert isinstance(submitted, Submitted)
        old = json.dumps(fingerprint(submitted, cast.world.sealing.digest_exact, 1)).encode()
        other = made | {"payment": made["payment"] | {"token": "tok_flaky"}}
        for kept in (None, old):
            if kept is not None:
                await cast.world.admin.execute(
                    "UPDATE orders.submission SET fingerprint = $1", kept
                )
            again = [
                shop_record(made["order_no"], document, SUBMITTED) for document in (made, other)
            ]
            cast.world.publish(topics.SUBMISSIONS, again)
            await cast.world.settle_down()
        told = await cast.world.admin.fetch("SELECT summary ->> 'verdict' FROM orders.timeline WHERE type = $1 ORDER BY id",
                                            said.OrderResubmitted.type)  # fmt: skip
        assert [verdict for (verdict,) in told] == ["exists", "exists_with_different_payment"] * 2


DOCUMENTS: Final = {
    said.OrderPlaced.type: topics.ORDERS, payments.PaymentCaptured.type: topics.PAYMENTS, tax.TaxAssessed.type: topics.TAX,
    ISSUED: topics.WAYBILLS,
}  # fmt: skip


async def test_the_four_documents_make_one_list_in_each_of_their_24_orders(
    database: str, keys: Path
) -> None:
    kept: dict[UUID, dict[str, Record]] = defaultdict(dict)

    async def keep(world: World, channel: Channel, records: list[Record]) -> None:
        if channel[0] != "customs":
            await world.handle(channel, records)
            return
        for record in records:
            for m in world.decoded(channel, record):
                kept[m.order_id][m.type] = record

    async with played_in(database, keys, keep) as cast:
        world, ways = cast.world, list(itertools.permutations(DOCUMENTS))
        cast.submit([STORIES["released"]] * len(ways))
        await world.settle_down()
        assert {len(documents) for documents in kept.values()} == {4}
        # One poll brings records of all topics, as it does on the wire.
        for nth in range(4):
            by_topic: dict[str, list[Record]] = defaultdict(list)
            for documents, way in zip(kept.values(), ways, strict=True):
                by_topic[DOCUMENTS[way[nth]]].append(documents[way[nth]])
            poll = [
                r
                for topic, found in by_topic.items()
                for r in world.place(("customs", topic), found)
            ]
            await world.handler("customs").handle(poll)
            for topic, found in by_topic.items():
                world.offsets["customs", topic] += len(found)
        rows = await world.admin.fetch("SELECT order_id, kind FROM customs.waiting")
        assert {row["order_id"] for row in rows} == set(kept)
        assert {row["kind"] for row in rows} == {"declare"}


# --- the bank's answers

KINDS: Final = ("authorise", "capture", "void", "refund")


async def bank_is_due(world: World, kind: str, tries: int = 12) -> int:
    """Go on until instructions of this kind wait, and no other can be claimed; returns how many."""
    for _ in range(tries):
        for channel in world.channels():
            await world.advance(channel)
        await world.relay()
        world.outside()
        count = await world.admin.fetchval(
            "SELECT count(*) FROM payments.effect WHERE kind = $1", kind
        )
        if count:
            await world.admin.execute(
                "UPDATE payments.effect SET next_at = CASE kind WHEN $1 THEN now() ELSE 'infinity' END",
                kind,
            )
            return int(count)
        await world.ask_bank()
    raise AssertionError(f"nobody asks for {kind}")


@pytest.fixture
async def at_the_bank(database: str, keys: Path) -> AsyncIterator[Cast]:
    refunded, voided = STORIES["refused by tax"], replace(STORIES["declined"], token="tok_expired")
    async with played_in(database, keys) as cast:
        cast.submit([STORIES["released"], refunded, voided] * 20)
        yield cast
        await play(cast, cast.world.settle_down)
        assert await cast.wrong() == {}
        assert await cast.world.broken() == {}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_failure_while_an_answer_is_settled_leaves_no_trace(
    at_the_bank: Cast, kind: str
) -> None:
    world = at_the_bank.world
    for step in ("effect_after_call", "effect_before_commit"):
        count = await bank_is_due(world, kind)
        before = await world.snapshot("payments", without=("effect",))
        with pytest.raises(Killed):
            await world.runner(Failpoints(step, in_process=True)).once()
        assert await world.snapshot("payments", without=("effect",)) == before
        assert (
            await world.admin.fetchval("SELECT count(*) FROM payments.effect WHERE kind = $1", kind)
            == count
        )


@pytest.mark.parametrize("kind", KINDS)
async def test_an_answer_settled_twice_is_settled_once(at_the_bank: Cast, kind: str) -> None:
    world = at_the_bank.world
    answered: list[Reply] = []
    while not answered:  # of a hold that is gone the bank's books are asked, the next time
        await bank_is_due(world, kind)
        runner = world.runner()
        claimed = await runner._claim()
        assert max(effect.attempts for effect in claimed) <= 2
        answered = [word for word in await runner._send(kind, claimed) if isinstance(word, Reply)]
    await runner._record(answered)
    before = await world.snapshot("payments")
    await runner._record(answered)
    assert await world.snapshot("payments") == before


@pytest.mark.parametrize("kind", KINDS)
async def test_an_answer_that_cannot_be_settled_costs_only_itself(
    at_the_bank: Cast, kind: str
) -> None:
    world = at_the_bank.world
    spoiled: list[UUID] = []

    def wrap(perform: Send) -> Send:
        async def spoil(asked: str, claimed: Sequence[Effect]) -> Sequence[Reply | NoReply]:
            words = list(await perform(asked, claimed))
            answers = [i for i, word in enumerate(words) if isinstance(word, Reply)]
            i = answers[len(answers) // 2]
            effect = words[i].effect
            spoiled.append(effect.intent_id)
            # Nobody can have refunded what was never captured; and a refund cannot have been for an order unknown.
            words[i] = Reply(
                effect, Refunded(effect.order_id if asked != "refund" else uuid4(), "R1")
            )
            return words

        return spoil

    count = await bank_is_due(world, kind)
    assert count >= 20
    world.wrap_bank = wrap
    await world.runner().once()
    world.wrap_bank = lambda perform: perform
    left = await world.admin.fetch("SELECT intent_id FROM payments.effect WHERE kind = $1", kind)
    assert [row["intent_id"] for row in left] == spoiled
