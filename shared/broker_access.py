"""Compares the access list and users of a broker with the tables, and makes them equal."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError, SaslAuthenticationFailed, for_code
from aiokafka.protocol.admin import DescribeAclsRequest
from aiokafka.protocol.metadata import MetadataRequest

from shared.access import ANY, PRINCIPALS, Grant, grants
from shared.access_requests import AlterUsers, CreateGrants, DeleteGrants, DescribeUsers
from shared.errors import Misconfigured, Unavailable
from shared.kafka import OPEN, Security
from shared.topics import SUPER_USERS

_SEEN_BOUND_S: Final = 60.0


class Access:
    """The access list and the SCRAM users of a broker, read and changed by a super user."""

    def __init__(self, bootstrap: str, security: Security = OPEN) -> None:
        self._bootstrap = bootstrap
        self._security = security
        self._admin = AIOKafkaAdminClient(
            bootstrap_servers=bootstrap, client_id="access", **security.options()
        )

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(cls, bootstrap: str, security: Security = OPEN) -> AsyncIterator[Self]:
        """Connect, and close the connection afterwards.

        Raises Misconfigured if the broker refuses this user, and Unavailable if no server answers.
        """
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
        """Make the broker's access list exactly `grants(prefix)`. Return the changes.

        `passwords`: the passwords to set, by user. Users are deleted unless they are declared in
        PRINCIPALS or SUPER_USERS. A second run changes nothing. Raises Misconfigured if this user
        lacks the right. Raises Unavailable if the broker does not show the changes within a minute.
        """
        wanted, existing = grants(prefix), await self.listed()
        added, removed = sorted(wanted - existing), sorted(existing - wanted)
        if added:
            answer = await self._admin._send_request(CreateGrants(added))
            _require_success([row[:2] for row in answer.creation_responses])
        if removed:
            answer = await self._admin._send_request(DeleteGrants(removed))
            _require_success([row[:2] for row in answer.filter_responses])
        users = await self.users()
        gone = sorted(users - {*PRINCIPALS, *SUPER_USERS})
        changed = [
            who
            for who, secret in sorted((passwords or {}).items())
            if not await self._lets_in(who, secret)
        ]
        await self._set_users({who: (passwords or {})[who] for who in changed}, gone)
        await self._wait_until_seen(wanted, {who: (passwords or {})[who] for who in changed})
        return Done(added, removed, changed, gone)

    async def _wait_until_seen(
        self, wanted: frozenset[Grant], passwords: Mapping[str, str]
    ) -> None:
        """Wait until the broker knows the changes: the controller knows them a moment earlier."""
        try:
            async with asyncio.timeout(_SEEN_BOUND_S):
                while (  # noqa: ASYNC110
                    await self.listed() != wanted or not await self._let_in(passwords)
                ):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise Unavailable(
                f"run `crossborder access apply` again: after {_SEEN_BOUND_S:g} s the broker does "
                "not "
                "show the changes"
            ) from None

    async def listed(self) -> frozenset[Grant]:
        """Return every entry of the access list. Raises Misconfigured without the right to it."""
        answer = await self._admin._send_request(
            DescribeAclsRequest(ANY, None, ANY, None, None, ANY, ANY)
        )
        _require_success([(answer.error_code, answer.error_message)])
        return frozenset(
            Grant(principal.removeprefix("User:"), kind, name, operation, pattern, host, permission)
            for kind, name, pattern, acls in answer.resources
            for principal, host, operation, permission in acls
        )

    async def users(self) -> frozenset[str]:
        """Return the names of the users with a SCRAM password.

        Raises Misconfigured without the right to see them.
        """
        answer = await self._admin._send_request(DescribeUsers())
        _require_success([(answer.error_code, answer.error_message)])
        return frozenset(row[0] for row in answer.results)

    async def _set_users(self, passwords: Mapping[str, str], gone: Iterable[str]) -> None:
        if not passwords and not gone:
            return
        answer = await self._admin._send_request(AlterUsers(passwords, tuple(gone)))
        _require_success([row[1:3] for row in answer.results])

    async def _let_in(self, passwords: Mapping[str, str]) -> bool:
        return not self._security.sasl or all(
            [await self._lets_in(user, password) for user, password in passwords.items()]
        )

    async def _lets_in(self, user: str, password: str) -> bool:
        if not self._security.sasl:
            return False
        return await knows(self._bootstrap, replace(self._security, user=user, password=password))


async def knows(bootstrap: str, security: Security) -> bool:
    """Tell whether the broker lets this user in. Raises Unavailable if no server answers.

    `bootstrap`: servers as host:port, separated by commas.
    """
    # aiokafka's clients report a refused login as "unable to bootstrap", as if no server answered.
    # A bare connection reports the refusal itself.
    last_error: Exception | None = None
    for server in bootstrap.split(","):
        host, _, port = server.strip().rpartition(":")
        try:
            conn = await create_conn(
                host, int(port), client_id="access", request_timeout_ms=10_000, **security.options()
            )
        except SaslAuthenticationFailed:
            return False
        except (KafkaError, OSError) as error:
            last_error = error
            continue
        try:
            # Before a login, a broker only tells which requests it knows. So another is sent.
            await conn.send(MetadataRequest([]))
        except (KafkaError, OSError) as error:
            last_error = error
        else:
            return True
        finally:
            conn.close()
    raise Unavailable(
        f"start Kafka, or set CROSSBORDER_KAFKA: nobody answers at {bootstrap} ({last_error})"
    )


def _require_success(answers: Iterable[Sequence[Any]]) -> None:
    for code, message in answers:
        if code:
            error = for_code(code)
            raise Misconfigured(
                f"log in as `{SUPER_USERS[0]}` to a broker with an authorizer: {error.__name__} "
                f"({message or error.description})"
            )


@dataclass(frozen=True)
class Done:
    """The changes that `apply` made: rights, users with a new password, users deleted."""

    added: Sequence[Grant]
    removed: Sequence[Grant]
    passwords: Sequence[str]
    gone: Sequence[str]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.passwords or self.gone)
