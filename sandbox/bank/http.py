"""The bank's HTTP interface: bulks of up to 500 items, queries by key or reference, and the
statement.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson
from aiohttp import web

from sandbox.bank.oddities import BulkFailure
from sandbox.bank.party import Bank
from shared.money import Money

ITEMS_MAX: Final = 500
PAGE_MAX: Final = 5000
_KINDS: Final = {
    "authorisations": "authorise",
    "captures": "capture",
    "voids": "void",
    "refunds": "refund",
    "transfers": "transfer",
}
_TOTALS: Final = {
    "capture": ("captured", "captures"),
    "refund": ("refunded", "refunds"),
    "transfer": ("transferred", "transfers"),
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(bank: Bank, wake: Callable[[], None] = lambda: None) -> web.Application:
    """Return the bank's routes.

    A bulk calls `wake`, since it may leave payment documents to hand on.
    """
    app = web.Application(client_max_size=4 * 1024 * 1024)
    for path, kind in _KINDS.items():
        app.router.add_post(f"/v1/{path}", _bulk(bank, kind, wake, bank.hang_s))
    app.router.add_post("/v1/operations/query", _query(bank))
    app.router.add_get("/v1/operations", _query_by_url(bank))
    app.router.add_get("/v1/statement", _statement(bank))
    app.router.add_get("/v1/statement/operations", _movements(bank))
    return app


async def _send(
    request: web.Request, answers: list[Any], line: str, hang_s: float
) -> web.StreamResponse:
    """Send the answer, or lose it as `line` says: `busy`, `null`, `hang` or `hangup`."""
    match line:
        case "busy":
            raise web.HTTPTooManyRequests(headers={"Retry-After": "1"}, text="too much just now")
        case "null":
            return _json({"items": None})
        case "hang":
            await asyncio.sleep(hang_s)
        case "hangup" if request.transport is not None:
            request.transport.abort()
    return _json({"items": answers})


def _bulk(bank: Bank, kind: str, wake: Callable[[], None], hang_s: float) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        items = _list_in(await request.read(), "items")
        if not all(isinstance(item, dict) for item in items):
            raise _bad_request("items must be objects")
        try:
            answers, line = bank.perform(kind, items, time.time())
        except BulkFailure:
            raise web.HTTPInternalServerError(text="the bank cannot do this") from None
        wake()
        return await _send(request, answers, line, hang_s)

    return handle


def _query(bank: Bank) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        name = "references" if b'"references"' in body[:64] else "keys"
        texts = _list_in(body, name)
        if not all(isinstance(text, str) for text in texts):
            raise _bad_request(f"{name} must be texts")
        query = bank.find if name == "references" else bank.ask
        return _json({"items": query(texts, time.time())})

    return handle


def _query_by_url(bank: Bank) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        return _json({"items": bank.ask(request.query.getall("key", []), time.time())})

    return handle


def _statement(bank: Bank) -> Handler:
    async def handle(_request: web.Request) -> web.StreamResponse:
        rows = bank.file.db.execute(
            "SELECT currency, kind, count(*), sum(minor), max(seq) FROM movement"
            " GROUP BY currency, kind"
        )
        totals: dict[str, dict[str, Any]] = {}
        last = 0
        for currency, kind, count, minor, seq in rows:
            amounts: dict[str, Any] = {
                amount: Money.zero(currency) for amount, _ in _TOTALS.values()
            }
            of = totals.setdefault(
                currency, amounts | {number: 0 for _, number in _TOTALS.values()}
            )
            amount, number = _TOTALS[kind]
            of[amount], of[number] = Money(minor, currency), count
            last = max(last, seq)
        return _json({"currencies": totals, "last": last})

    return handle


def _movements(bank: Bank) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            after, limit = (
                int(request.query.get("after", "0")),
                int(request.query.get("limit", str(PAGE_MAX))),
            )
        except ValueError:
            raise _bad_request("after and limit must be whole numbers") from None
        rows = bank.file.db.execute(
            "SELECT seq, kind, reference, payment_no, minor, currency FROM movement"
            " WHERE seq > ? ORDER BY seq LIMIT ?",
            (after, max(1, min(limit, PAGE_MAX))),
        ).fetchall()
        items = [
            {
                "seq": seq,
                "kind": kind,
                "reference": ref,
                "payment_no": no,
                "amount": Money(minor, cur),
                "currency": cur,
            }
            for seq, kind, ref, no, minor, cur in rows
        ]
        return _json({"items": items, "next": rows[-1][0] if rows else after})

    return handle


def _list_in(body: bytes, name: str) -> list[Any]:
    try:
        items = orjson.loads(body)[name]
    except (ValueError, KeyError, TypeError):
        raise _bad_request(f"the body must be a JSON object with {name}") from None
    if not isinstance(items, list):
        raise _bad_request(f"{name} must be a list")
    if len(items) > ITEMS_MAX:
        text = f"at most {ITEMS_MAX} {name} in one request"
        raise web.HTTPRequestEntityTooLarge(ITEMS_MAX, len(items), text=text)
    return items


def _bad_request(text: str) -> web.HTTPBadRequest:
    return web.HTTPBadRequest(text=text)


def _json(document: Any) -> web.Response:
    # Money is a dataclass, which orjson would write field by field: the interface has decimal
    # strings.
    body = orjson.dumps(document, default=str, option=orjson.OPT_PASSTHROUGH_DATACLASS)
    return web.Response(body=body, content_type="application/json")
