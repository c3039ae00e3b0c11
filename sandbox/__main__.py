"""`python -m sandbox`: run bank, carrier and customs authority until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
from dataclasses import dataclass

import structlog
import uvloop
from aiohttp import web

from sandbox.authority.party import Authority
from sandbox.authority.policy import AuthorityPolicy
from sandbox.authority.signature import Declarants
from sandbox.bank.http import application
from sandbox.bank.party import Bank
from sandbox.carrier.party import Carrier
from sandbox.kafka_io import Transport
from sandbox.settings import SandboxSettings, load
from shared import health, logs, topics
from shared.errors import Misconfigured
from shared.parties import key_of

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Parties:
    bank: Bank
    carrier: Carrier
    authority: Authority

    @classmethod
    def of(cls, settings: SandboxSettings) -> Parties:
        folder, pace, prefix = settings.sandbox_dir, settings.sandbox_pace, settings.topic_prefix
        key = key_of(settings.party_pem) if settings.party_pem else None
        policy = AuthorityPolicy(
            pace, settings.sandbox_examination_rate, settings.sandbox_seed, settings.day_s
        )
        return cls(
            Bank(folder / "bank.db", pace),
            Carrier(topics.named(topics.WAYBILLS, prefix), folder / "carrier.db", pace, key),
            Authority(
                topics.named(topics.RECEIPTS, prefix),
                Declarants(settings.certificate),
                folder / "authority.db",
                policy,
            ),
        )

    def close(self) -> None:
        for file in (self.bank.file, self.carrier.file, self.authority.register.file):
            file.close()


async def serve(settings: SandboxSettings, stop: asyncio.Event) -> None:
    """Run the three parties until `stop` is set; a failure of the transport ends the process."""
    parties = Parties.of(settings)
    transport = Transport(
        settings.kafka,
        settings.topic_prefix,
        parties.bank,
        parties.carrier,
        parties.authority,
        settings.kafka_security,
    )
    runner = await _open_bank(settings, application(parties.bank, transport.wake))
    monitor, port = await health.serve(
        settings.bind,
        settings.metrics_port,
        {"reading": lambda: transport.assigned},
        {"loop": lambda: True},
    )
    _log.info("open", bank=runner.addresses[0][1], metrics=port)
    try:
        await _run_until(transport, stop)
    finally:
        await monitor.cleanup()
        await runner.cleanup()
        parties.close()


async def _open_bank(settings: SandboxSettings, bank: web.Application) -> web.AppRunner:
    runner = web.AppRunner(bank, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.bind, settings.bank_port).start()
    except OSError as error:
        raise Misconfigured(
            f"free port {settings.bank_port} or set CROSSBORDER_BANK_PORT to another:"
            f" {error.strerror}"
        ) from None
    return runner


async def _run_until(transport: Transport, stop: asyncio.Event) -> None:
    running = asyncio.create_task(transport.run())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        if not running.done():
            running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def _main(settings: SandboxSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    await serve(settings, stop)


def main() -> int:
    """Return exit status 0 after a signal, 2 for a wrong setting."""
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
