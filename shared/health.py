"""The HTTP server of a process: /metrics, /healthz and /readyz."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from shared.errors import Misconfigured

Check = Callable[[], bool]


async def serve(
    bind: str, port: int, ready: Mapping[str, Check], alive: Mapping[str, Check]
) -> tuple[web.AppRunner, int]:
    """Start the server. Return its runner and its port.

    `ready` and `alive`: checks by name, for /readyz and /healthz. A failed check gives status 503.
    Raises Misconfigured if the server cannot listen at this address.
    """
    app = web.Application()
    app.add_routes(
        [
            web.get("/metrics", _metrics),
            web.get("/healthz", _answering(alive)),
            web.get("/readyz", _answering(ready)),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, bind, port)
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        raise Misconfigured(f"{_mend(error, bind, port)}: {error.strerror}") from None
    return runner, runner.addresses[0][1]


def _mend(error: OSError, bind: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"free port {port} or set CROSSBORDER_METRICS_PORT to another"
    if error.errno == errno.EACCES:
        return f"set CROSSBORDER_METRICS_PORT to a port this user may open, this one is {port}"
    return f"set CROSSBORDER_BIND to an address of this machine, this one is {bind!r}"


async def _metrics(request: web.Request) -> web.Response:
    # OpenMetrics, if the scraper asks for this format, has exemplars too.
    # A thread writes the text. A thousand series take some 10 ms, and no order should wait.
    if "application/openmetrics-text" in request.headers.get("Accept", ""):
        body = await asyncio.to_thread(openmetrics.generate_latest, REGISTRY)
        return web.Response(body=body, headers={"Content-Type": openmetrics.CONTENT_TYPE_LATEST})
    return web.Response(
        body=await asyncio.to_thread(generate_latest, REGISTRY),
        headers={"Content-Type": CONTENT_TYPE_LATEST},
    )


def _answering(checks: Mapping[str, Check]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_request: web.Request) -> web.Response:
        found = {name: bool(check()) for name, check in checks.items()}
        ok = all(found.values())
        return web.json_response({"ok": ok, "checks": found}, status=200 if ok else 503)

    return answer
