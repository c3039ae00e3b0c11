"""`python -m deploy.probe`: publish a synthetic order a minute, and follow each to its end."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from importlib.metadata import version

import structlog
import uvloop

from deploy.prober import ACK_S, NAME, Prober, ProbeSettings
from shared import health, logs, metrics
from shared.errors import Misconfigured
from shared.settings import load

log = structlog.get_logger(__name__)


async def serve(settings: ProbeSettings, stop: asyncio.Event) -> None:
    prober = Prober(settings)
    monitor, port = await health.serve(
        settings.bind,
        settings.metrics_port,
        {"kafka": lambda: prober.ready},
        {"loop": lambda: not prober.ready or time.monotonic() - prober.beat < 2 * ACK_S},
    )
    log.info("prober starts", port=port, every_s=settings.probe_every_s)
    metrics.BUILD_INFO.labels(NAME, version("crossborder")).set(1)
    running, stopping = asyncio.create_task(prober.run()), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
    finally:
        for task in (running, stopping):
            task.cancel()
        await asyncio.gather(running, stopping, return_exceptions=True)
        await monitor.cleanup()
        log.info("prober stopped")


async def _main(settings: ProbeSettings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(settings, stop)


def main() -> int:
    """Return exit status 1 to be restarted by the supervisor, 2 for a wrong setting."""
    try:
        settings = load(ProbeSettings)
        logs.configure(NAME, settings.log_level, settings.log_format)
        uvloop.run(_main(settings))
    except Misconfigured as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except Exception:
        log.exception("the prober ends and must be restarted")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
