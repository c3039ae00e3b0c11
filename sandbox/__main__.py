"""`python -m sandbox`: bank, carrier and customs authority, until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys

import structlog
import uvloop
from aiohttp import web

from sandbox.authority.party import Authority
from sandbox.authority.policy import Policy
from sandbox.authority.signature import Declarants
from sandbox.bank.http import application
from sandbox.bank.party import Bank
from sandbox.carrier.party import Carrier
from sandbox.kafka_io import Wire
from sandbox.settings import SandboxSettings, load
from shared import health, logs, topics
from shared.errors import Misconfigured
from shared.parties import key_of

_log = structlog.get_logger()


async def serve(settings: SandboxSettings, stop: asyncio.Event) -> None:
    """Run the three parties until `stop` is set; a failure of the wire ends the process."""
    folder, pace = settings.sandbox_dir, settings.sandbox_pace
    key = key_of(settings.party_pem) if settings.party_pem else None
    bank = Bank(folder / "bank.db", pace)
    carrier = Carrier(
        topics.named(topics.WAYBILLS, settings.topic_prefix), folder / "carrier.db", pace, key
    )
    policy = Policy(pace, settings.sandbox_examination_rate, settings.sandbox_seed, settings.day_s)
    declarants = Declarants(settings.certificate)
    authority = Authority(
        topics.named(topics.RECEIPTS, settings.topic_prefix),
        declarants,
        folder / "authority.db",
        policy,
    )
    wire = Wire(
        settings.kafka, settings.topic_prefix, bank, carrier, authority, settings.kafka_security
    )
    runner = web.AppRunner(application(bank, wire.wake), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.bind, settings.bank_port).start()
    except OSError as error:
        raise Misconfigured(
            f"free port {settings.bank_port} or set CROSSBORDER_BANK_PORT to another: {error.strerror}"
        ) from None
    shown, port = await health.serve(
        settings.bind,
        settings.metrics_port,
        {"reading": lambda: wire.assigned},
        {"loop": lambda: True},
    )
    _log.info("open", bank=runner.addresses[0][1], metrics=port)
    running = asyncio.create_task(wire.run())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        if not running.done():
            running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        await shown.cleanup()
        await runner.cleanup()
        for file in (bank.file, carrier.file, authority.register.file):
            file.close()


async def _main(settings: SandboxSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    await serve(settings, stop)


def main() -> int:
    """Exit 0 when told to stop, 2 for a wrong setting."""
    try:
        settings = load()
        logs.configure("sandbox", settings.log_level, settings.log_format)
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        uvloop.run(_main(settings))
    except Misconfigured as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
