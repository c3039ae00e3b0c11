"""Who may do what on the broker: generated from `shared/topics.py`, applied to a broker, and read back from it.

aiokafka's admin client has neither access lists nor SCRAM users, so the four requests are made here from its own protocol
types. Over the wire a password goes as its salted hash only, and never into an argument list, as it would with Kafka's tools.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, Final, Self

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError, SaslAuthenticationFailed, for_code
from aiokafka.protocol.admin import CreateAclsRequest_v1, DeleteAclsRequest_v1, DescribeAclsRequest
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.types import (
    CompactArray,
    CompactBytes,
    CompactString,
    Int8,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from shared.errors import Misconfigured, Unavailable
from shared.kafka import OPEN, Security
from shared.topics import GROUPS, SUPER_USERS, TOPICS, named

SCRAM_ITERATIONS: Final = 8192
SCRAM_SHA_512: Final = 2
_SEEN_BOUND_S: Final = 60.0


class Operation(IntEnum):
    """The operations of Kafka's authorizer, by their number on the wire."""

    ALL = 2
    READ = 3
    WRITE = 4
    CREATE = 5
    DELETE = 6
    ALTER = 7
    DESCRIBE = 8
    CLUSTER_ACTION = 9
    DESCRIBE_CONFIGS = 10
    ALTER_CONFIGS = 11
    IDEMPOTENT_WRITE = 12


class Kind(IntEnum):
    """What a right is about."""

    TOPIC = 2
    GROUP = 3
    CLUSTER = 4
    TRANSACTIONAL_ID = 5


_ANY: Final = 1
_LITERAL: Final = 3
_ALLOW: Final = 3


@dataclass(frozen=True, order=True)
class Grant:
    """One entry of the access list; the ones made here are all literal, for any host, and allow.

    Describe is not among them: Read and Write bring it. Nor is Idempotent Write: the right to write one topic brings it.
    """

    principal: str
    kind: int
    name: str
    operation: int
    pattern: int = _LITERAL
    host: str = "*"
    permission: int = _ALLOW

    def __str__(self) -> str:
        said = "" if self.pattern == _LITERAL else " prefixed"
        denied = "" if self.permission == _ALLOW else "denied "
        return f"{self.principal} {denied}{_label(Operation, self.operation)}{said} {_label(Kind, self.kind)} {self.name}"


def _label(names: type[IntEnum], number: int) -> str:
    return {int(each): each.name.lower() for each in names}.get(number, str(number))


PRINCIPALS: Final[tuple[str, ...]] = tuple(
    sorted({who for t in TOPICS for who in (*t.writers, *t.readers)} | {who for who, _ in GROUPS})
)
"""Everybody who logs in to the broker and is not a super user."""


def grants(prefix: str = "") -> frozenset[Grant]:
    """Every right there is: the rows of `TOPICS` and `GROUPS`, and nothing else."""
    rows = {
        Grant(who, Kind.TOPIC, named(t.name, prefix), Operation.WRITE)
        for t in TOPICS
        for who in t.writers
    }
    rows |= {
        Grant(who, Kind.TOPIC, named(t.name, prefix), Operation.READ)
        for t in TOPICS
        for who in t.readers
    }
    return frozenset(
        rows
        | {Grant(who, Kind.GROUP, named(group, prefix), Operation.READ) for who, group in GROUPS}
    )


@dataclass(frozen=True)
class Done:
    """What `apply` changed; all empty when it changed nothing."""

    added: Sequence[Grant]
    removed: Sequence[Grant]
    passwords: Sequence[str]
    gone: Sequence[str]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.passwords or self.gone)


class Access:
    """The access list and the SCRAM users of a broker, as a super user sees them."""

    def __init__(self, bootstrap: str, security: Security = OPEN) -> None:
        self._bootstrap = bootstrap
        self._security = security
        self._admin = AIOKafkaAdminClient(
            bootstrap_servers=bootstrap, client_id="access", **security.options()
        )

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(cls, bootstrap: str, security: Security = OPEN) -> AsyncIterator[Self]:
        """Connected, and closed afterwards. Raises Misconfigured if the broker does not know this user."""
        if not await knows(bootstrap, security):
            raise Misconfigured(
                f"give the right password of the broker's user {security.user}: it is not let in"
            )
        made = cls(bootstrap, security)
        try:
            await made._admin.start()
            yield made
        finally:
            await made._admin.close()

    async def apply(self, prefix: str = "", passwords: Mapping[str, str] | None = None) -> Done:
        """Make the broker's list exactly `grants(prefix)`; give the users of `passwords` these and drop users nobody declared.

        Running it again changes nothing. Raises Misconfigured where the user is not allowed to do this, and Unavailable where
        the broker does not show in time that it knows.
        """
        wanted, there = grants(prefix), await self.listed()
        added, removed = sorted(wanted - there), sorted(there - wanted)
        if added:
            answer = await self._admin._send_request(_Create(added))
            _checked([row[:2] for row in answer.creation_responses])
        if removed:
            answer = await self._admin._send_request(_Delete(removed))
            _checked([row[:2] for row in answer.filter_responses])
        users = await self.users()
        gone = sorted(users - {*PRINCIPALS, *SUPER_USERS})
        changed = [
            who
            for who, secret in sorted((passwords or {}).items())
            if not await self._lets_in(who, secret)
        ]
        await self._set_users({who: (passwords or {})[who] for who in changed}, gone)
        # The broker learns of a change a moment after the controller has it.
        try:
            async with asyncio.timeout(_SEEN_BOUND_S):
                while await self.listed() != wanted or not await self._let_in(  # noqa: ASYNC110
                    changed, passwords or {}
                ):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise Unavailable(
                f"say `crossborder access apply` again: after {_SEEN_BOUND_S:g} s the broker still knows less than it was told"
            ) from None
        return Done(added, removed, changed, gone)

    async def listed(self) -> frozenset[Grant]:
        """Every entry of the broker's list."""
        answer = await self._admin._send_request(
            DescribeAclsRequest(_ANY, None, _ANY, None, None, _ANY, _ANY)
        )
        _checked([(answer.error_code, answer.error_message)])
        return frozenset(
            Grant(principal.removeprefix("User:"), kind, name, operation, pattern, host, permission)
            for kind, name, pattern, acls in answer.resources
            for principal, host, operation, permission in acls
        )

    async def users(self) -> frozenset[str]:
        """Everybody who has a SCRAM password."""
        answer = await self._admin._send_request(_DescribeUsers())
        _checked([(answer.error_code, answer.error_message)])
        return frozenset(row[0] for row in answer.results)

    async def _set_users(self, passwords: Mapping[str, str], gone: Iterable[str]) -> None:
        if not passwords and not gone:
            return
        answer = await self._admin._send_request(_AlterUsers(passwords, tuple(gone)))
        _checked([row[1:3] for row in answer.results])

    async def _let_in(self, users: Iterable[str], passwords: Mapping[str, str]) -> bool:
        return not self._security.sasl or all(
            [await self._lets_in(who, passwords[who]) for who in users]
        )

    async def _lets_in(self, user: str, password: str) -> bool:
        """Whether the broker knows the user by this password already."""
        if not self._security.sasl:
            return False
        return await knows(self._bootstrap, replace(self._security, user=user, password=password))


async def knows(bootstrap: str, security: Security) -> bool:
    """Whether the broker lets this user in; raises Unavailable where none answers."""
    # The clients call a refusal "unable to bootstrap", so the connection itself is asked.
    said: Exception | None = None
    for server in bootstrap.split(","):
        host, _, port = server.strip().rpartition(":")
        try:
            conn = await create_conn(
                host, int(port), client_id="access", request_timeout_ms=10_000, **security.options()
            )
        except SaslAuthenticationFailed:
            return False
        except (KafkaError, OSError) as error:
            said = error
            continue
        try:
            # Before the login a broker answers which requests it knows and nothing else.
            await conn.send(MetadataRequest([]))
        except (KafkaError, OSError) as error:
            said = error
        else:
            return True
        finally:
            conn.close()
    raise Unavailable(
        f"start Kafka, or set CROSSBORDER_KAFKA: nobody answers at {bootstrap} ({said})"
    )


def _checked(answers: Iterable[Sequence[Any]]) -> None:
    for code, said in answers:
        if code:
            error = for_code(code)
            raise Misconfigured(
                f"log in as `{SUPER_USERS[0]}` to a broker with an authorizer: {error.__name__} ({said or error.description})"
            )


def _wire(grant: Grant) -> tuple[int, str, int, str, str, int, int]:
    return (
        grant.kind,
        grant.name,
        grant.pattern,
        f"User:{grant.principal}",
        grant.host,
        grant.operation,
        grant.permission,
    )


class _Create(Request[CreateAclsRequest_v1]):  # type: ignore[misc]
    """Many entries in one request; aiokafka's own takes one."""

    API_KEY = 30

    def __init__(self, wanted: Sequence[Grant]) -> None:
        self._wanted = wanted

    def build(self, request_struct_class: type[CreateAclsRequest_v1]) -> CreateAclsRequest_v1:
        return request_struct_class([_wire(grant) for grant in self._wanted])


class _Delete(Request[DeleteAclsRequest_v1]):  # type: ignore[misc]
    """Many entries in one request."""

    API_KEY = 31

    def __init__(self, stale: Sequence[Grant]) -> None:
        self._stale = stale

    def build(self, request_struct_class: type[DeleteAclsRequest_v1]) -> DeleteAclsRequest_v1:
        return request_struct_class([_wire(grant) for grant in self._stale])


# --- the two requests about users, KIP-554; aiokafka has none of them


class _DescribedUsers(Response):  # type: ignore[misc]
    API_KEY = 50
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32), ("error_code", Int16), ("error_message", CompactString("utf-8")),
        ("results", CompactArray(
            ("user", CompactString("utf-8")), ("error_code", Int16), ("error_message", CompactString("utf-8")),
            ("credentials", CompactArray(("mechanism", Int8), ("iterations", Int32), ("tags", TaggedFields))),
            ("tags", TaggedFields),
        )),
        ("tags", TaggedFields),
    )  # fmt: skip


class _DescribeUsersV0(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 50
    API_VERSION = 0
    RESPONSE_TYPE = _DescribedUsers
    SCHEMA = Schema(
        ("users", CompactArray(("name", CompactString("utf-8")), ("tags", TaggedFields))), ("tags", TaggedFields)
    )  # fmt: skip


class _DescribeUsers(Request[_DescribeUsersV0]):  # type: ignore[misc]
    API_KEY = 50

    def build(self, request_struct_class: type[_DescribeUsersV0]) -> _DescribeUsersV0:
        return request_struct_class(None, {})


class _AlteredUsers(Response):  # type: ignore[misc]
    API_KEY = 51
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("results", CompactArray(
            ("user", CompactString("utf-8")), ("error_code", Int16), ("error_message", CompactString("utf-8")),
            ("tags", TaggedFields),
        )),
        ("tags", TaggedFields),
    )  # fmt: skip


class _AlterUsersV0(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 51
    API_VERSION = 0
    RESPONSE_TYPE = _AlteredUsers
    SCHEMA = Schema(
        ("deletions", CompactArray(("name", CompactString("utf-8")), ("mechanism", Int8), ("tags", TaggedFields))),
        ("upsertions", CompactArray(
            ("name", CompactString("utf-8")), ("mechanism", Int8), ("iterations", Int32), ("salt", CompactBytes),
            ("salted_password", CompactBytes), ("tags", TaggedFields),
        )),
        ("tags", TaggedFields),
    )  # fmt: skip


class _AlterUsers(Request[_AlterUsersV0]):  # type: ignore[misc]
    API_KEY = 51

    def __init__(self, passwords: Mapping[str, str], gone: Sequence[str]) -> None:
        self._passwords = passwords
        self._gone = gone

    def build(self, request_struct_class: type[_AlterUsersV0]) -> _AlterUsersV0:
        rows: list[tuple[Any, ...]] = []
        for user, password in self._passwords.items():
            salt = os.urandom(16)
            salted = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, SCRAM_ITERATIONS)
            rows.append((user, SCRAM_SHA_512, SCRAM_ITERATIONS, salt, salted, {}))
        return request_struct_class([(user, SCRAM_SHA_512, {}) for user in self._gone], rows, {})


def matrix() -> list[tuple[str, Mapping[str, str]]]:
    """Of each topic and group: what each principal may, as words; for people and for the documentation."""
    rows: list[tuple[str, Mapping[str, str]]] = []
    allowed = grants()
    for kind, name in [
        *((Kind.TOPIC, t.name) for t in TOPICS),
        *((Kind.GROUP, group) for _, group in GROUPS),
    ]:
        said = {}
        for who in PRINCIPALS:
            found = [
                op
                for op in (Operation.READ, Operation.WRITE)
                if Grant(who, kind, name, op) in allowed
            ]
            said[who] = ", ".join(op.name.lower() for op in found)
        rows.append((name if kind is Kind.TOPIC else f"group {name}", said))
    return rows
