"""The library defaults that lose or repeat records are not what we run with."""

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from shared import metrics, watchdog
from shared.consumer_client import make_consumer
from shared.database import LOST, RETRYABLE
from shared.errors import TooManyGivenUp, Unavailable, Unprocessable
from shared.producer import make_producer
from shared.record_reader import may_be_of_record
from shared.streams import StreamSettings, make_app
from shared.topics import DEAD_LETTER_BYTES_MAX, MESSAGE_BYTES_MAX, PARTITIONS


async def test_consumer_neither_commits_by_itself_nor_starts_at_the_end() -> None:
    consumer: AIOKafkaConsumer = make_consumer("127.0.0.1:1", "g", "g-0")
    assert consumer._enable_auto_commit is False
    assert consumer._auto_offset_reset == "earliest"
    assert consumer._isolation_level == "read_committed"
    assert consumer._session_timeout_ms == 10_000
    # Fetched ahead of every partition that is behind, so it bounds the memory; one answer has room for the largest record.
    assert consumer._max_partition_fetch_bytes * 60 <= 16 * 1024 * 1024
    assert consumer._fetch_max_bytes > MESSAGE_BYTES_MAX
    assert consumer._group_instance_id == "g-0"
    consumer._closed = True  # never started, so there is nothing to close


async def test_producer_is_idempotent_and_waits_for_all() -> None:
    producer: AIOKafkaProducer = make_producer("127.0.0.1:1", "p")
    assert producer._txn_manager is not None
    assert producer._sender._acks == -1
    assert producer._max_request_size == DEAD_LETTER_BYTES_MAX > MESSAGE_BYTES_MAX
    producer._closed = True


def test_what_a_view_holds_in_memory_after_a_restart_is_bounded() -> None:
    # It reads some thousand records of each partition again, all partitions at once: with faust's own settings that took
    # 195 MiB where a view that follows takes 88.
    conf = make_app("streams-test", StreamSettings()).conf
    assert conf.consumer_max_fetch_size * PARTITIONS <= 4 * 1024 * 1024
    assert conf.stream_buffer_maxsize + conf.broker_max_poll_records <= 1000


def test_a_session_that_the_server_ended_is_a_lost_connection_and_no_fault_of_a_record() -> None:
    assert issubclass(asyncpg.IdleInTransactionSessionTimeoutError, LOST)
    assert issubclass(asyncpg.AdminShutdownError, LOST)


KINDS = sorted(
    (name, kind)
    for name, kind in vars(asyncpg).items()
    if isinstance(kind, type) and issubclass(kind, asyncpg.PostgresError)
)
BLAMED = ("21", "22", "23", "27", "44", "54", "P0")
AGAIN = ("08", "0A", "25", "28", "40", "53", "55", "57", "58", "XX")


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_of_every_class_of_error_it_is_said_whose_fault_it_is(
    name: str, kind: type[asyncpg.PostgresError]
) -> None:
    group = (kind.sqlstate or "")[:2]
    assert may_be_of_record(kind("it says so")) is (group in BLAMED), name
    if group in AGAIN:
        assert issubclass(kind, (*LOST, *RETRYABLE)), f"{name} is not tried again"
    assert not (issubclass(kind, RETRYABLE) and group in BLAMED)


@pytest.mark.parametrize(("error", "may"), [
    (MemoryError(), False), (TooManyGivenUp("ours"), False), (Unavailable("later"), False), (asyncpg.InterfaceError("closed"), False),
    (OSError(5, "input/output error"), False), (TimeoutError(), False), (KeyError("a bug"), True), (RecursionError(), True),
    (Unprocessable("malformed", "no"), True),
])  # fmt: skip
def test_whose_fault_any_other_error_may_be(error: Exception, may: bool) -> None:
    assert may_be_of_record(error) is may


def test_the_end_of_a_process_that_gave_up_too_many_is_counted_as_such() -> None:
    assert watchdog.reason_of(TooManyGivenUp("ours")) == "too_many_given_up"
    assert watchdog.reason_of(asyncpg.DiskFullError("full")) == "unavailable"
    assert {
        watchdog.reason_of(e) for e in (KeyError(), TooManyGivenUp(), asyncpg.DiskFullError("full"))
    } <= set(metrics.END_REASONS)
