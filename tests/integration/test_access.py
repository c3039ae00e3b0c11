"""Every pair tried on a live broker and a live database: each answers as it is declared, and no right is there besides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from unittest.mock import AsyncMock

import pytest
from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.protocol.admin import (
    AlterConfigsRequest,
    CreatePartitionsRequest,
    CreateTopicsRequest,
    DeleteGroupsRequest,
    DeleteTopicsRequest,
    DescribeConfigsRequest,
    DescribeGroupsRequest,
)
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import InitProducerIdRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from deploy import secrets
from deploy.embedded.kafka import EmbeddedKafka, Secured, wait_led
from services.schema import SERVICES, UserPasswords
from shared import topics
from shared.access import PRINCIPALS, Grant, Kind, Operation, grants
from shared.access_requests import CreateGrants
from shared.broker_access import Access, knows
from shared.errors import Misconfigured, Unavailable
from shared.kafka import OPEN, Security
from shared.topics import GROUPS, SUPER_USERS, TOPICS, create_topics

OK: Final = 0
REFUSED: Final = {Kind.TOPIC: 29, Kind.GROUP: 30}
"""TOPIC_AUTHORIZATION_FAILED, GROUP_AUTHORIZATION_FAILED."""
LOADING: Final = 14
TRANSACTION_REFUSED: Final = 53
PREFIXED: Final = 4
NAMES: Final = [t.name for t in TOPICS]


@dataclass(frozen=True)
class Guarded:
    """A broker with users and rights."""

    kafka: EmbeddedKafka
    secured: Secured

    def login(self, user: str) -> Security:
        return self.secured.login(user)

    async def connected(self, user: str) -> AIOKafkaConnection:
        return await create_conn(
            "127.0.0.1", self.kafka.port, client_id=f"{user}-tries", **self.login(user).options()
        )


@pytest.fixture(scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    secrets.make(folder / "secrets")
    secrets.make_certificates(folder / "secrets")
    secured = Secured(folder / "secrets")
    kafka = EmbeddedKafka(folder / "kafka", secured=secured)
    await kafka.start()
    try:
        await wait_led(
            kafka.bootstrap,
            await create_topics(kafka.bootstrap, partitions=1, security=kafka.security),
            security=kafka.security,
        )
        async with Access.opened(kafka.bootstrap, kafka.security) as broker:
            done = await broker.apply("", {who: secured.password(who) for who in PRINCIPALS})
        assert set(done.added) == grants()
        assert list(done.passwords) == list(PRINCIPALS)
        yield Guarded(kafka, secured)
    finally:
        await kafka.stop()


def expected(who: str, kind: Kind, name: str, operation: Operation) -> bool:
    """Whether the table allows it; Read and Write bring Describe, nothing brings anything else."""
    granted = grants()
    if operation is Operation.DESCRIBE:
        return any(
            Grant(who, kind, name, each) in granted for each in (Operation.READ, Operation.WRITE)
        )
    return Grant(who, kind, name, operation) in granted


def one_record() -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 16)
    assert builder.append(0, 1_700_000_000_000, b"k", b"v", []) is not None
    return bytes(builder.build())


async def on_topics(conn: AIOKafkaConnection) -> dict[tuple[Kind, str, Operation], bool]:
    """Each operation on each topic, asked of the broker by one logged-in connection; whether it was allowed."""
    found: dict[tuple[Kind, str, Operation], bool] = {}

    def note(operation: Operation, answers: Iterable[tuple[str, int]]) -> None:
        for name, code in answers:
            assert code in {OK, REFUSED[Kind.TOPIC]}, (
                f"{operation.name} of {name} was answered {code}"
            )
            found[Kind.TOPIC, name, operation] = code == OK

    answer: Any = await conn.send(MetadataRequest(NAMES))
    note(Operation.DESCRIBE, [(t[1], t[0]) for t in answer.topics])
    answer = await conn.send(
        ProduceRequest(None, -1, 10_000, [(name, [(0, one_record())]) for name in NAMES])
    )
    note(Operation.WRITE, [(name, parts[0][1]) for name, parts in answer.topics])
    answer = await conn.send(
        FetchRequest(10, 0, 1 << 20, 0, [(name, [(0, 0, 1 << 16)]) for name in NAMES])
    )
    note(Operation.READ, [(name, parts[0][1]) for name, parts in answer.topics])
    answer = await conn.send(
        DescribeConfigsRequest([(int(Kind.TOPIC), name, None) for name in NAMES])
    )
    note(Operation.DESCRIBE_CONFIGS, [(row[3], row[0]) for row in answer.resources])
    answer = await conn.send(
        AlterConfigsRequest([(int(Kind.TOPIC), name, [("retention.ms", "1")]) for name in NAMES])
    )
    note(Operation.ALTER_CONFIGS, [(row[3], row[0]) for row in answer.resources])
    answer = await conn.send(
        CreatePartitionsRequest([(name, (2, None)) for name in NAMES], 10_000, False)
    )
    note(Operation.ALTER, [(row[0], row[1]) for row in answer.topic_errors])
    answer = await conn.send(
        CreateTopicsRequest([(f"{name}.more", 1, 1, [], []) for name in NAMES], 10_000, False)
    )
    note(Operation.CREATE, [(row[0].removesuffix(".more"), row[1]) for row in answer.topic_errors])
    answer = await conn.send(DeleteTopicsRequest(NAMES, 10_000))
    note(Operation.DELETE, [(row[0], row[1]) for row in answer.topic_error_codes])
    return found


async def on_groups(
    conn: AIOKafkaConnection, groups: Iterable[str]
) -> dict[tuple[Kind, str, Operation], bool]:
    """Each operation on each group; a group that is empty or unknown to the broker is an answer beyond the right to ask."""
    found: dict[tuple[Kind, str, Operation], bool] = {}
    for group in groups:
        answer: Any = await conn.send(HeartbeatRequest(group, 0, "nobody"))
        found[Kind.GROUP, group, Operation.READ] = answer.error_code != REFUSED[Kind.GROUP]
        answer = await conn.send(DescribeGroupsRequest([group]))
        found[Kind.GROUP, group, Operation.DESCRIBE] = answer.groups[0][0] != REFUSED[Kind.GROUP]
        answer = await conn.send(DeleteGroupsRequest([group]))
        found[Kind.GROUP, group, Operation.DELETE] = answer.results[0][1] != REFUSED[Kind.GROUP]
    return found


@pytest.mark.parametrize("who", PRINCIPALS)
async def test_every_operation_on_every_topic_and_group_is_answered_as_declared(
    guarded: Guarded, who: str
) -> None:
    groups = [group for _, group in GROUPS] + ["orders-2", "strangers"]
    conn = await guarded.connected(who)
    try:
        found = await on_topics(conn) | await on_groups(conn, groups)
    finally:
        conn.close()
    assert len(found) == 8 * len(NAMES) + 3 * len(groups)
    assert {k: v for k, v in found.items() if v} == {k: True for k in found if expected(who, *k)}


@pytest.mark.parametrize("who", PRINCIPALS)
async def test_nobody_rules_the_cluster_and_everybody_who_writes_may_do_so_idempotently(
    guarded: Guarded, who: str
) -> None:
    conn = await guarded.connected(who)
    try:
        answer: Any = await conn.send(InitProducerIdRequest(None, 60_000))
        while answer.error_code == LOADING:
            await asyncio.sleep(0.1)
            answer = await conn.send(InitProducerIdRequest(None, 60_000))
        assert answer.error_code == OK
        answer = await conn.send(InitProducerIdRequest("orders", 60_000))
        assert answer.error_code == TRANSACTION_REFUSED
    finally:
        conn.close()
    with pytest.raises(Misconfigured, match=r"log in as `admin`.*ClusterAuthorization"):
        async with Access.opened(guarded.kafka.bootstrap, guarded.login(who)) as broker:
            await broker.apply("", {})
    with pytest.raises(Misconfigured, match="ClusterAuthorization"):
        async with Access.opened(guarded.kafka.bootstrap, guarded.login(who)) as broker:
            await broker._set_users({"orders": "taken over"}, ())


async def test_who_is_not_known_or_not_encrypted_is_not_let_in(guarded: Guarded) -> None:
    at, good = guarded.kafka.bootstrap, guarded.login("orders")
    assert await knows(at, good)
    assert not await knows(at, replace(good, password="another"))
    assert not await knows(at, replace(good, user="tax"))
    assert not await knows(at, replace(good, user="nobody"))
    with pytest.raises(Misconfigured, match="CROSSBORDER_KAFKA_PASSWORD_FILE"):
        replace(good, password="")
    for other in (
        OPEN,
        replace(good, protocol="SASL_PLAINTEXT"),
        replace(good, protocol="SSL", user="", password=""),
    ):
        with pytest.raises(Unavailable):
            await knows(at, other)


async def test_a_broker_that_is_not_the_authoritys_or_not_of_that_name_is_not_talked_to(
    guarded: Guarded, tmp_path: Path
) -> None:
    secrets.make_certificates(tmp_path)
    good = guarded.login("orders")
    with pytest.raises(Unavailable, match="certificate verify failed"):
        await knows(guarded.kafka.bootstrap, replace(good, ca=tmp_path / "tls" / "ca.crt"))
    with pytest.raises(Unavailable, match="Hostname mismatch"):
        await knows(f"127.1:{guarded.kafka.port}", good)
    with pytest.raises(Misconfigured, match="CROSSBORDER_KAFKA_CA"):
        await knows(guarded.kafka.bootstrap, replace(good, ca=tmp_path / "none.crt"))


async def test_applying_again_changes_nothing_and_takes_away_what_nobody_declared(
    guarded: Guarded,
) -> None:
    passwords = {who: guarded.secured.password(who) for who in PRINCIPALS}
    async with Access.opened(guarded.kafka.bootstrap, guarded.kafka.security) as broker:
        assert not await broker.apply("", passwords)
        strange = [
            Grant("orders", Kind.TOPIC, topics.TAX, Operation.WRITE),
            Grant("*", Kind.TOPIC, "", Operation.READ, pattern=PREFIXED),
            Grant("mallory", Kind.CLUSTER, "kafka-cluster", Operation.ALL),
        ]
        await broker._admin._send_request(CreateGrants(strange[:1]))
        await broker._admin._send_request(CreateGrants([replace(strange[1], name="orders")]))
        await broker._admin._send_request(CreateGrants(strange[2:]))
        await broker._set_users({"mallory": "malice"}, ())
        done = await broker.apply("", passwords)
        assert sorted(map(str, done.removed)) == [
            "* read prefixed topic orders", "mallory all cluster kafka-cluster", "orders write topic tax.events",
        ]  # fmt: skip
        assert (list(done.added), list(done.passwords), list(done.gone)) == ([], [], ["mallory"])
        assert await broker.listed() == grants()
        assert await broker.users() == {*PRINCIPALS, *SUPER_USERS}


async def test_a_broker_that_does_not_show_in_time_what_it_was_told_is_asked_again_by_a_person(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    passwords = {who: guarded.secured.password(who) for who in PRINCIPALS}
    monkeypatch.setattr("shared.broker_access._SEEN_BOUND_S", 0.2)
    async with Access.opened(guarded.kafka.bootstrap, guarded.kafka.security) as broker:
        known = await broker.listed()
        monkeypatch.setattr(
            broker, "listed", AsyncMock(side_effect=[known] + [known - {min(known)}] * 1000)
        )
        with pytest.raises(Unavailable, match="run `crossborder access apply` again"):
            await broker.apply("", passwords)
    async with Access.opened(guarded.kafka.bootstrap, guarded.kafka.security) as broker:
        assert not await broker.apply("", passwords)


async def test_a_password_is_changed_while_its_user_works(guarded: Guarded) -> None:
    before = guarded.login("tax")
    at_work = await guarded.connected("tax")
    file = guarded.secured.password_file("tax")
    file.unlink()
    secrets.make(file.parent)
    async with Access.opened(guarded.kafka.bootstrap, guarded.kafka.security) as broker:
        done = await broker.apply("", {who: guarded.secured.password(who) for who in PRINCIPALS})
    assert (list(done.passwords), list(done.added), list(done.removed)) == (["tax"], [], [])
    assert await knows(guarded.kafka.bootstrap, guarded.login("tax"))
    assert not await knows(guarded.kafka.bootstrap, before)
    # Who is logged in stays so: the service is restarted with the new file whenever it suits.
    answer: Any = await at_work.send(MetadataRequest([topics.TAX]))
    assert answer.topics[0][0] == OK
    at_work.close()


async def test_the_broker_keeps_its_passwords_to_itself(guarded: Guarded) -> None:
    written = (
        guarded.kafka.log.read_text() + (guarded.kafka.folder / "server.properties").read_text()
    )
    assert [
        name for name in secrets.NAMES if (guarded.secured.secrets / name).read_text() in written
    ] == []
    assert not list(guarded.kafka.folder.glob("format*"))


async def test_without_tls_the_same_users_are_asked_for(tmp_path: Path) -> None:
    secrets.make(tmp_path / "secrets")
    secured = Secured(tmp_path / "secrets", tls=False)
    kafka = EmbeddedKafka(tmp_path / "kafka", secured=secured)
    await kafka.start()
    try:
        async with Access.opened(kafka.bootstrap, kafka.security) as broker:
            assert (
                set((await broker.apply("", {"orders": secured.password("orders")})).added)
                == grants()
            )
        assert await knows(kafka.bootstrap, secured.login("orders"))
        assert not await knows(kafka.bootstrap, secured.login("tax"))
        with pytest.raises(Unavailable):
            await knows(kafka.bootstrap, OPEN)
    finally:
        await kafka.stop()


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_may_read_what_it_hears_and_nothing_else(service: str) -> None:
    heard = set(import_module(f"services.{service}.handlers").SUBSCRIPTIONS.sources)
    assert heard == {
        grant.name
        for grant in grants()
        if (grant.principal, grant.kind, grant.operation) == (service, Kind.TOPIC, Operation.READ)
    }


def test_every_user_of_the_table_has_a_secret_and_a_setting() -> None:
    users = {*PRINCIPALS, *SUPER_USERS}
    assert {
        name.removeprefix("kafka_") for name in secrets.NAMES if name.startswith("kafka_")
    } == users
    assert {f"{who}_kafka_password" for who in PRINCIPALS} <= UserPasswords.model_fields.keys()
