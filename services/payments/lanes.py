"""A lane to the bank: its own connections for one kind of operation, and a pause when the bank fails or asks for one."""

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
"""Of one lane: however slow its calls are, the other lanes have theirs."""
RESPONSE_BYTES_MAX: Final = 4 * 1024 * 1024
"""An answer to 200 items has a tenth of this."""
PAUSE_MAX_S: Final = 600.0
"""A bank that asks for a longer pause is asked again after this."""
FAILURES_MAX: Final = 5
_NOT_US: Final = frozenset({401, 403, 407})
BREAK_MIN_S: Final = 0.5
BREAK_MAX_S: Final = 30.0

Dice = Callable[[], float]


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    """Whom the lanes trust, read once for all of them."""
    return httpx.create_ssl_context(trust_env=False)


class BankUnreachable(Exception):
    """The bank was not reached, or not in time: what became of it is unknown.

    `may_be_an_item`: the request may have arrived, and one item of it may be what the bank cannot bear.
    """

    def __init__(self, outcome: str, *, may_be_an_item: bool = False) -> None:
        super().__init__(outcome)
        self.outcome = outcome
        self.may_be_an_item = may_be_an_item


class UnusableResponse(Exception):
    """The bank answered what nobody can use: an HTTP error, or a body that is none of its answers."""

    def __init__(self, outcome: str, status: int | None = None) -> None:
        super().__init__(outcome)
        self.outcome = outcome
        self.status = status


class Breaker:
    """How long a lane pauses: as the bank asks, or, after five failures in a row, twice as long each time."""

    def __init__(self, dice: Dice = random.random) -> None:
        self._dice = dice
        self._failures = 0
        self._until = 0.0

    def wait_s(self, now: float) -> float:
        """Seconds until the lane may be used; 0 if it may be now."""
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
        """Never shorter than the bank asked for, up to ten minutes; a little longer, so that not all come back at once."""
        self._until = max(self._until, now + min(pause_s, PAUSE_MAX_S) * (1 + 0.1 * self._dice()))


def pause_of(retry_after: str | None, now: datetime) -> float | None:
    """Seconds a `Retry-After` header asks for (RFC 9110, 10.2.3: seconds or a date); None where it says nothing."""
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
    """The way to the bank for one kind of operation."""

    def __init__(self, url: str, *, timeout_s: float, breaker: Breaker | None = None) -> None:
        self._timeout_s = timeout_s
        self._breaker = breaker or Breaker()
        self.client = httpx.AsyncClient(
            base_url=url, timeout=httpx.Timeout(timeout_s, pool=4 * timeout_s),
            headers={"content-type": "application/json", "accept-encoding": "identity"},
            limits=httpx.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=CONNECTIONS_MAX),
            trust_env=False,  # no proxy that happens to stand in the environment may see a payment
            verify=_tls(),
        )  # fmt: skip

    def wait_s(self) -> float:
        """Seconds until this lane may be used; 0 if it may be now."""
        return self._breaker.wait_s(time.monotonic())

    async def close(self) -> None:
        await self.client.aclose()

    async def post(self, path: str, operation: str, document: Any) -> list[Any]:
        """The items of the bank's answer. Raises Unheard, or Broken."""
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
            # A bank that sends a byte now and then is not waited for longer than one that sends none.
            async with asyncio.timeout(4 * self._timeout_s):
                raw = await self._read(path, body)
        except (httpx.TimeoutException, TimeoutError):
            self._breaker.failed(time.monotonic())
            raise BankUnreachable("timeout", may_be_an_item=True) from None
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.DecodingError):
            # The request arrived and the line was cut: it may be this very request that the bank cannot bear.
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

    async def _read(self, path: str, body: bytes) -> bytes:
        async with self.client.stream("POST", path, content=body) as response:
            self._judge(response)
            found = bytearray()
            async for piece in response.aiter_raw():
                found += piece
                if len(found) > RESPONSE_BYTES_MAX:
                    raise UnusableResponse("unreadable", response.status_code)
            return bytes(found)

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
            # Our own key is refused, which is no order's fault, or a filter before the bank forbids one item.
            self._breaker.failed(now)
            raise BankUnreachable("forbidden", may_be_an_item=True)
        if status in {502, 504}:
            self._breaker.failed(now)
            raise BankUnreachable("error", may_be_an_item=True)
        if not 200 <= status < 300:
            raise UnusableResponse("error", status)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            # Nobody asked for a compressed answer, and a small one may unpack to more than there is memory.
            raise UnusableResponse("unreadable", status)
