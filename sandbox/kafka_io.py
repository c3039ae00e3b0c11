"""Kafka for the sandbox: one consumer, one producer, and the hand-over between the parties.

Each party's file has its offsets, moved in the transaction that has the effects. So partitions are
assigned by hand, and no group is waited for after a kill. Kafka's own offsets only show the lag.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Any, Final

import orjson
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from sandbox import metrics
from sandbox.authority.party import Authority
from sandbox.bank.party import Bank
from sandbox.carrier.party import Carrier
from sandbox.documents import PaymentDocument, SubmittedOrder, WaybillDocument
from sandbox.order_reader import read_submissions
from sandbox.storage import File, Offsets, drop_outbox, offsets_of, pending_outbox
from shared import topics
from shared.kafka import OPEN, Security
from shared.producer import publish
from shared.record_decoding import read_whatever_comes
from shared.tasks import wait_for_event

_log = structlog.get_logger()
GROUP: Final = "sandbox"
POLL_RECORDS: Final = 500
POLL_MS: Final = 200
SEND_RECORDS: Final = 2000
HAND_OVER: Final = 1000
TICK_S: Final = 0.05
TOPIC_WAIT_S: Final = 0.5
SEND_TIMEOUT_S: Final = 30.0


class Transport:
    """Moves records and documents between Kafka and the parties until cancelled."""

    def __init__(
        self,
        bootstrap: str,
        prefix: str,
        bank: Bank,
        carrier: Carrier,
        authority: Authority,
        security: Security = OPEN,
    ) -> None:
        self._bootstrap = bootstrap
        self._security = security
        self._prefix = prefix
        self._bank, self._carrier, self._authority = bank, carrier, authority
        self._submissions = topics.named(topics.SUBMISSIONS, prefix)
        self._declarations = topics.named(topics.DECLARATIONS, prefix)
        self._wake = asyncio.Event()
        self._to_send = asyncio.Event()
        self.assigned = False

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        """Consume, publish and keep time until cancelled or until one of them fails."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._consume(), name="consume")
            tasks.create_task(self._publish(), name="publish")
            tasks.create_task(self._keep_time(), name="keep time")

    # --- in

    async def _consume(self) -> None:
        read_whatever_comes()
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            client_id="sandbox",
            group_id=topics.named(GROUP, self._prefix),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_poll_records=POLL_RECORDS,
            fetch_max_bytes=16 * 1024 * 1024,
            max_partition_fetch_bytes=512 * 1024,
            **self._security.options(),
        )
        await consumer.start()
        try:
            await self._assign(consumer)
            last_hint = time.monotonic()
            while True:
                batches = await consumer.getmany(timeout_ms=POLL_MS, max_records=POLL_RECORDS)
                if batches:
                    self._process(batches)
                    await asyncio.sleep(0)
                if time.monotonic() - last_hint > 1.0:
                    last_hint = time.monotonic()
                    await self._hint(consumer)
        finally:
            await consumer.stop()

    async def _assign(self, consumer: AIOKafkaConsumer) -> None:
        """Take every partition and seek the slower party's offset.

        The other ignores what it knows.
        """
        wanted = [self._submissions, self._declarations]
        partitions = await _partitions(self._bootstrap, wanted, self._security)
        consumer.assign(partitions)
        carrier, authority = (
            offsets_of(self._carrier.file),
            offsets_of(self._authority.register.file),
        )
        for tp in partitions:
            readers = (carrier, authority) if tp.topic == self._submissions else (authority,)
            positions = [offsets.get((tp.topic, tp.partition)) for offsets in readers]
            known = [position for position in positions if position is not None]
            if len(known) == len(readers):
                consumer.seek(tp, min(known))
            else:
                await consumer.seek_to_beginning(tp)
        self.assigned = True
        _log.info("reading", partitions=len(partitions))

    def _process(self, batches: dict[TopicPartition, list[ConsumerRecord[Any, Any]]]) -> None:
        now = time.time()
        submissions: list[SubmittedOrder] = []
        messages: list[bytes] = []
        offsets: dict[str, Offsets] = {self._submissions: {}, self._declarations: {}}
        for tp, records in batches.items():
            offsets[tp.topic][tp.topic, tp.partition] = records[-1].offset + 1
            if tp.topic == self._submissions:
                for record in records:
                    submissions.extend(read_submissions(record.value, record.headers))
            else:
                messages += [record.value or b"" for record in records]
        if offsets[self._submissions]:
            self._carrier.book(submissions, now, offsets[self._submissions])
            self._authority.record_orders(submissions, now, offsets[self._submissions])
        if messages:
            # Documents pushed before the list must be recorded when it is matched.
            self._hand_over(now)
            self._authority.receive(messages, now, offsets[self._declarations])
        self._wake.set()
        self._to_send.set()

    async def _hint(self, consumer: AIOKafkaConsumer) -> None:
        offsets = offsets_of(self._authority.register.file)
        if not offsets:
            return
        with contextlib.suppress(KafkaError):
            await consumer.commit(
                {TopicPartition(topic, part): nxt for (topic, part), nxt in offsets.items()}
            )

    # --- between the parties

    def _hand_over(self, now: float) -> bool:
        """Push payment and waybill documents to the authority.

        Delete a notice once that has committed.
        """
        bank, carrier = _notices(self._bank.file), _notices(self._carrier.file)
        if not bank and not carrier:
            return False
        payments = [PaymentDocument(**orjson.loads(document)) for _, document in bank]
        waybills = [WaybillDocument(**orjson.loads(document)) for _, document in carrier]
        self._authority.record_documents(payments, waybills, now)
        _drop_notices(self._bank.file, bank)
        _drop_notices(self._carrier.file, carrier)
        return True

    async def _keep_time(self) -> None:
        """Hand documents over when woken; every tick, do what is due."""
        while True:
            await wait_for_event(self._wake, TICK_S)
            self._wake.clear()
            now = time.time()
            self._bank.finish_due(now)
            late = self._carrier.issue_late(now)
            moved = self._hand_over(now)
            if self._authority.fall_due(now) or late or moved:
                self._to_send.set()
            if moved:
                self._wake.set()
                await asyncio.sleep(0)

    # --- out

    async def _publish(self) -> None:
        while True:
            producer = AIOKafkaProducer(
                bootstrap_servers=self._bootstrap,
                client_id="sandbox",
                acks="all",
                enable_idempotence=True,
                linger_ms=2,
                max_batch_size=256 * 1024,
                max_request_size=topics.MESSAGE_BYTES_MAX,
                **self._security.options(),
            )
            await producer.start()
            try:
                while True:
                    await wait_for_event(self._to_send, 1.0)
                    self._to_send.clear()
                    for party, file in (
                        ("carrier", self._carrier.file),
                        ("authority", self._authority.register.file),
                    ):
                        while await _send_some(producer, party, file):
                            pass
            except (KafkaError, TimeoutError) as error:
                # The batch's fate is unknown: a new producer sends again what the outbox still has.
                _log.warning("publishing again", error=type(error).__name__)
                await asyncio.sleep(0.5)
            finally:
                with contextlib.suppress(KafkaError, TimeoutError):
                    async with asyncio.timeout(5.0):
                        await producer.stop()


async def _send_some(producer: AIOKafkaProducer, party: str, file: File) -> bool:
    """Publish a party's oldest records and delete the acknowledged.

    Return whether more may wait.
    """
    pending = pending_outbox(file, SEND_RECORDS)
    metrics.PENDING.labels(party).set(len(pending))
    if not pending:
        return False
    async with asyncio.timeout(SEND_TIMEOUT_S):
        await publish(producer, ((r.topic, r.key, r.value, list(r.headers)) for _, r in pending))
    drop_outbox(file, [number for number, _ in pending])
    return len(pending) == SEND_RECORDS


async def _partitions(
    bootstrap: str, names: Sequence[str], security: Security
) -> Sequence[TopicPartition]:
    """Return the partitions of these topics; wait until the topics exist."""
    # A consumer's metadata has subscribed topics only, so an admin client asks the broker.
    admin = AIOKafkaAdminClient(
        bootstrap_servers=bootstrap, client_id="sandbox", **security.options()
    )
    await admin.start()
    try:
        while not set(names) <= set(await admin.list_topics()):  # noqa: ASYNC110  only the broker knows
            await asyncio.sleep(TOPIC_WAIT_S)
        described = await admin.describe_topics(list(names))
    finally:
        await admin.close()
    return sorted(
        TopicPartition(each["topic"], part["partition"])
        for each in described
        for part in each["partitions"]
    )


def _notices(file: File) -> list[tuple[int, bytes]]:
    return file.db.execute(
        "SELECT id, document FROM notice ORDER BY id LIMIT ?", (HAND_OVER,)
    ).fetchall()


def _drop_notices(file: File, notices: Sequence[tuple[int, bytes]]) -> None:
    if notices:
        with file.transaction() as db:
            db.execute("DELETE FROM notice WHERE id <= ?", (notices[-1][0],))
