"""A lane to the bank: connections for one kind of operation, and pauses when the bank fails."""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, Final

import httpx
import orjson
import structlog

from shared import metrics

log = structlog.get_logger(__name__)

CONNECTIONS_MAX: Final = 8
"""Connections of one lane: slow calls of one lane leave the other lanes theirs."""
RESPONSE_BYTES_MAX: Final = 4 * 1024 * 1024
"""Ten times the size of a response to 200 items."""
PAUSE_MAX_S: Final = 600.0
"""The longest pause, in seconds, even if the bank asks for more."""
FAILURES_MAX: Final = 5
_NOT_US: Final = frozenset({401, 403, 407})
BREAK_MIN_S: Final = 0.5
BREAK_MAX_S: Final = 30.0

Dice = Callable[[], float]


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)


class BankUnreachable(Exception):
    """The bank was not reached in time: the result of the request is unknown.

    `may_be_an_item`: the request may have arrived, and one of its items may make the bank fail.
    """

    def __init__(self, outcome: str, *, may_be_an_item: bool = False) -> None:
        super().__init__(outcome)
        self.outcome = outcome
        self.may_be_an_item = may_be_an_item


class UnusableResponse(Exception):
    """The bank responded with an HTTP error, or with a body that cannot be read."""

    def __init__(self, outcome: str, status: int | None = None) -> None:
        super().__init__(outcome)
        self.outcome = outcome
        self.status = status


class Breaker:
    """Pauses a lane: as long as the bank asks, or doubling after FAILURES_MAX failures in a row."""

    def __init__(self, dice: Dice = random.random) -> None:
        self._dice = dice
        self._failures = 0
        self._until = 0.0

    def wait_s(self, now: float) -> float:
        """Return seconds until the lane may be used; 0: now."""
        return max(0.0, self._until - now)

    def answered(self) -> None:
        self._failures = 0

    def failed(self, now: float) -> None:
        self._failures += 1
        over = self._failures - FAILURES_MAX
        if over >= 0:
            self._until = now + min(BREAK_MAX_S, BREAK_MIN_S * 2 ** min(over, 10)) * (
                0.75 + 0.5 * self._dice()
            )

    def asked_to_wait(self, now: float, pause_s: float) -> None:
        """Pause as long as the bank asks, at most PAUSE_MAX_S, plus jitter against a common
        return."""
        self._until = max(self._until, now + min(pause_s, PAUSE_MAX_S) * (1 + 0.1 * self._dice()))


def pause_of(retry_after: str | None, now: datetime) -> float | None:
    """Return the seconds of a `Retry-After` header (RFC 9110, 10.2.3: seconds or a date); or
    None."""
    if retry_after is None:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdecimal():
        return float(min(int(text[:9]), PAUSE_MAX_S))
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, min((at - now).total_seconds(), PAUSE_MAX_S))


class Lane:
    """The connections to the bank for one kind of operation."""

    def __init__(self, url: str, *, timeout_s: float, breaker: Breaker | None = None) -> None:
        self._timeout_s = timeout_s
        self._breaker = breaker or Breaker()
        self.client = httpx.AsyncClient(
            base_url=url,
            timeout=httpx.Timeout(timeout_s, pool=4 * timeout_s),
            headers={"content-type": "application/json", "accept-encoding": "identity"},
            limits=httpx.Limits(
                max_connections=CONNECTIONS_MAX, max_keepalive_connections=CONNECTIONS_MAX
            ),
            trust_env=False,  # no proxy of the environment may see a payment
            verify=_tls(),
        )

    def wait_s(self) -> float:
        """Return seconds until the lane may be used; 0: now."""
        return self._breaker.wait_s(time.monotonic())

    async def close(self) -> None:
        await self.client.aclose()

    async def post(self, path: str, operation: str, document: Any) -> list[Any]:
        """Return the items of the response. Raises BankUnreachable and UnusableResponse."""
        if self.wait_s():
            raise BankUnreachable("paused")
        started = time.perf_counter()
        try:
            with metrics.PARTY_IN_FLIGHT.labels("bank").track_inprogress():
                items = await self._items(path, orjson.dumps(document))
        except (BankUnreachable, UnusableResponse) as error:
            log.warning(
                "the bank does not answer",
                path=path,
                outcome=error.outcome,
                status=getattr(error, "status", None),
            )
            metrics.PARTY_CALLS.labels("bank", operation, error.outcome).inc()
            raise
        finally:
            metrics.PARTY_SECONDS.labels("bank", operation).observe(time.perf_counter() - started)
        self._breaker.answered()
        metrics.PARTY_CALLS.labels("bank", operation, "ok").inc()
        metrics.PARTY_LAST_SUCCESS.labels("bank").set_to_current_time()
        return items

    async def _items(self, path: str, body: bytes) -> list[Any]:
        try:
            # Bound the whole response: a bank that sends a byte now and then would take for ever.
            async with asyncio.timeout(4 * self._timeout_s):
                raw = await self._read(path, body)
        except (httpx.TimeoutException, TimeoutError):
            self._breaker.failed(time.monotonic())
            raise BankUnreachable("timeout", may_be_an_item=True) from None
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.DecodingError):
            # The request arrived and the connection broke: the request itself may be the cause.
            raise UnusableResponse("unreachable") from None
        except (httpx.HTTPError, httpx.InvalidURL):
            self._breaker.failed(time.monotonic())
            raise BankUnreachable("unreachable") from None
        try:
            items = orjson.loads(raw)["items"]
        except (ValueError, KeyError, TypeError):
            raise UnusableResponse("unreadable") from None
        if not isinstance(items, list):
            raise UnusableResponse("unreadable")
        return items

    async def _read(self, path: str, request: bytes) -> bytes:
        async with self.client.stream("POST", path, content=request) as response:
            self._judge(response)
            body = bytearray()
            async for piece in response.aiter_raw():
                body += piece
                if len(body) > RESPONSE_BYTES_MAX:
                    raise UnusableResponse("unreadable", response.status_code)
            return bytes(body)

    def _judge(self, response: httpx.Response) -> None:
        status, now = response.status_code, time.monotonic()
        if status in {429, 503}:
            pause_s = pause_of(response.headers.get("retry-after"), datetime.now(UTC))
            if pause_s is None:
                self._breaker.failed(now)
            else:
                self._breaker.asked_to_wait(now, pause_s)
            raise BankUnreachable("busy", may_be_an_item=status == 503 and pause_s is None)
        if status in _NOT_US:
            # The bank refuses our credentials, or a filter before it forbids one item.
            self._breaker.failed(now)
            raise BankUnreachable("forbidden", may_be_an_item=True)
        if status in {502, 504}:
            self._breaker.failed(now)
            raise BankUnreachable("error", may_be_an_item=True)
        if not 200 <= status < 300:
            raise UnusableResponse("error", status)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            # A compressed response was not asked for; a small one may expand beyond the memory.
            raise UnusableResponse("unreadable", status)
