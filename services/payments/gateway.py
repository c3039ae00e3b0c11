"""The bank as it is spoken to: bulks of items, each with its key, over HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Any, Final, Protocol
from uuid import UUID

import httpx
import orjson
import structlog
from pydantic import TypeAdapter, ValidationError

from shared import metrics
from shared.events.base import Fact
from shared.events.persons import Particulars

log = structlog.get_logger(__name__)

BULK_MAX: Final = 200
BULK_AGAIN_MAX: Final = 20
"""Items that came to nothing before go in small bulks: one that breaks its bulk then breaks few others."""
HTTP_TIMEOUT_S: Final = 5.0
CONNECTIONS_MAX: Final = 16

Item = Mapping[str, Any]
_PATHS: Final = {
    "authorise": "/v1/authorisations",
    "capture": "/v1/captures",
    "void": "/v1/voids",
    "refund_tax": "/v1/refunds",
    "refund": "/v1/refunds",
    "transfer": "/v1/transfers",
}
_QUERY: Final = "/v1/operations/query"
_OPERATIONS: Final = {path: kind for kind, path in _PATHS.items()} | {_QUERY: "query"}


class BankAnswer(Fact):
    """What the bank says of one key; which of the fields are there depends on the status."""

    key: UUID
    status: str
    code: str | None = None
    reason: str | None = None
    authorisation_no: str | None = None
    payment_no: str | None = None
    refund_no: str | None = None
    transfer_no: str | None = None
    amount: str | None = None
    currency: str | None = None
    paid_at: datetime | None = None
    enterprise_code: str | None = None
    payer: Particulars | None = None


class Bank(Protocol):
    """Answers by key. A key that is not in the answer was not heard of: what became of it is unknown."""

    async def send(self, kind: str, items: Sequence[Item], *, again: bool = False) -> dict[UUID, BankAnswer]:
        """Ask for operations of one kind; `again`: these were sent before, or may have been."""

    async def query(self, keys: Sequence[UUID]) -> dict[UUID, BankAnswer]:
        """The recorded answer of each key, or the status `pending` or `unknown_key`."""

    async def close(self) -> None:
        """Let the connections go."""


class HttpBank:
    """The bank over HTTP with connections kept alive."""

    def __init__(self, url: str, *, timeout_s: float = HTTP_TIMEOUT_S) -> None:
        self._client = httpx.AsyncClient(
            base_url=url, timeout=httpx.Timeout(timeout_s, pool=4 * timeout_s),
            headers={"content-type": "application/json"},
            limits=httpx.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=CONNECTIONS_MAX),
            trust_env=False,  # no proxy that happens to stand in the environment may see a payment
        )  # fmt: skip

    async def send(self, kind: str, items: Sequence[Item], *, again: bool = False) -> dict[UUID, BankAnswer]:
        size = BULK_AGAIN_MAX if again else BULK_MAX
        return await self._in_bulks(_PATHS[kind], "items", items, size)

    async def query(self, keys: Sequence[UUID]) -> dict[UUID, BankAnswer]:
        return await self._in_bulks(_QUERY, "keys", [str(key) for key in keys], BULK_MAX)

    async def close(self) -> None:
        await self._client.aclose()

    async def _in_bulks(self, path: str, name: str, values: Sequence[Any], size: int) -> dict[UUID, BankAnswer]:
        bulks = [values[at : at + size] for at in range(0, len(values), size)]
        answers = await asyncio.gather(*(self._post(path, orjson.dumps({name: bulk})) for bulk in bulks))
        return {answer.key: answer for answer in chain.from_iterable(answers)}

    async def _post(self, path: str, body: bytes) -> list[BankAnswer]:
        """One bulk; without an answer that can be read it is as if nothing had been heard."""
        operation = _OPERATIONS[path]
        started = time.perf_counter()
        try:
            with metrics.PARTY_IN_FLIGHT.labels("bank").track_inprogress():
                response = await self._client.post(path, content=body)
            response.raise_for_status()
            items = orjson.loads(response.content)["items"]
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            status = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else None
            log.warning("the bank does not answer", path=path, error=type(error).__name__, status=status)
            metrics.PARTY_CALLS.labels("bank", operation, _outcome_of(error)).inc()
            return []
        finally:
            metrics.PARTY_SECONDS.labels("bank", operation).observe(time.perf_counter() - started)
        metrics.PARTY_CALLS.labels("bank", operation, "ok").inc()
        metrics.PARTY_LAST_SUCCESS.labels("bank").set_to_current_time()
        return [answer for item in items if (answer := _read(path, item)) is not None]


def _outcome_of(error: Exception) -> str:
    """What a call without a readable answer is counted as."""
    match error:
        case httpx.TimeoutException():
            return "timeout"
        case httpx.HTTPStatusError():
            return "error"
        case httpx.TransportError():
            return "unreachable"
        case _:
            return "unreadable"


_ANSWER: Final = TypeAdapter(BankAnswer)


def _read(path: str, item: Any) -> BankAnswer | None:
    try:
        return _ANSWER.validate_python(item)
    except ValidationError as error:
        fields = sorted({str(part["loc"][0]) for part in error.errors(include_input=False) if part["loc"]})
        log.error("an answer of the bank cannot be read", path=path, fields=fields)
        return None
