"""A whole stack with TLS, users, rights and passwords: orders come to their ends, and no secret is
seen where others look.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final
from uuid import UUID

import aiohttp
import psutil
import pytest

from deploy import secrets
from deploy.embedded import ports
from services.cli import publish, samples, submission_files
from services.cli.access import parties
from services.cli.connect import RunningStack, database, target
from services.cli.stack import app as cli
from services.cli.stack import readiness
from services.cli.verify import app as verify
from services.customs.ceb.sign import KEY_FILE
from shared.broker_access import knows
from tests.e2e.conftest import Running
from tests.faults.load import Load

ORDERS: Final = 150
SETTLE_S: Final = 90.0


@pytest.fixture(scope="module")
async def secured(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A stack as `crossborder up --secured` starts it, on free ports."""
    home = tmp_path_factory.mktemp("secured")
    with pytest.MonkeyPatch.context() as patch:
        for name in ports.PORTS:
            patch.setenv(ports.port_setting(name), "0")
        stack = cli.make(home, secured=True)
        began = time.monotonic()
        await stack.start()
        try:
            assert await readiness.until_ready(stack) == []
            print(f"up after {time.monotonic() - began:.1f} s")
            yield Running(stack)
        finally:
            await stack.stop()


async def test_orders_of_every_kind_come_to_their_ends_with_no_right_too_few(
    secured: Running,
) -> None:
    to = target(secured.home)
    assert to.security.user == "operators"
    load = Load(to, ORDERS, 7, 2.0)
    async with load.publishing():
        assert await load.settle(SETTLE_S) == []
    findings = await verify.judge(to, 30.0)
    assert [f"{f.name}: {f.offending[:5]}" for f in findings if not f.ok] == []
    assert set(secured.restarts().values()) == {0}
    logs = "".join(
        log.read_text() for log in secured.stack.logs.glob("*.log") if log.name != "kafka.log"
    )
    assert "AuthorizationFailed" not in logs


def forms(secret: bytes) -> Iterator[bytes]:
    """How a secret may be written down: as it is, in hex, in base64 at any place in a
    longer text.
    """
    yield secret
    yield secret.hex().encode()
    for before in range(3):
        encoded = base64.b64encode(b"x" * before + secret)
        yield encoded[4:-4]


def known_secrets(home: Path) -> dict[str, list[bytes]]:
    """Every password, and every key that opens or signs something.

    Of a text key its inner lines.
    """
    found = {
        path.name: path.read_bytes().strip()
        for path in (home / "secrets").iterdir()
        if path.is_file()
    }
    for path in [
        home / "keys" / KEY_FILE,
        *(home / "keys").glob("*.key"),
        *(home / "secrets" / "tls").glob("*.key"),
    ]:
        text = path.read_bytes()
        found[path.name] = text.splitlines()[1] if text.startswith(b"-----") else text
    found |= {
        name: text.splitlines()[1] for name, text in found.items() if name.startswith("party_")
    }
    return {name: list(forms(secret)) for name, secret in found.items()}


def leaks(home: Path, text: bytes) -> set[str]:
    return {
        name
        for name, written in known_secrets(home).items()
        if any(form in text for form in written)
    }


def test_every_form_of_a_secret_is_found(secured: Running) -> None:
    known = known_secrets(secured.home)
    assert known.keys() >= {*secrets.NAMES, "ca.key", "kafka.key", KEY_FILE}
    assert len(known) >= len(secrets.NAMES) + 6
    password = (secured.home / "secrets" / "kafka_tax").read_bytes()
    for text in (
        password,
        b"x" + base64.b64encode(b"n,user=" + password + b",more"),
        password.hex().encode(),
    ):
        assert leaks(secured.home, b"before " + text + b" after") == {"kafka_tax"}


async def test_no_secret_is_in_an_argument_a_log_a_metric_or_what_the_stack_writes_down(
    secured: Running,
) -> None:
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    lines = {
        f"{p.pid} {p.name()}": b"\0".join(word.encode() for word in p.cmdline()) for p in processes
    }
    assert sum(b"kafka.Kafka" in line for line in lines.values()) >= 1
    assert sum(b"services." in line or b"sandbox" in line for line in lines.values()) >= 6
    places = {f"arguments of {who}": text for who, text in lines.items()}
    for p in processes[1:]:
        places[f"environment of {p.pid}"] = "\0".join(
            f"{k}={v}" for k, v in p.environ().items()
        ).encode()
    places |= {str(log): log.read_bytes() for log in secured.stack.logs.rglob("*") if log.is_file()}
    places["stack.json"] = (secured.home / "stack.json").read_bytes()
    places["server.properties"] = (secured.home / "kafka" / "server.properties").read_bytes()
    async with aiohttp.ClientSession() as session:
        for name in secured.stack.programs:
            async with session.get(f"http://127.0.0.1:{secured.ports[name]}/metrics") as answer:
                places[f"metrics of {name}"] = await answer.read()
    assert {
        place: found for place, text in places.items() if (found := leaks(secured.home, text))
    } == {}


async def test_who_has_the_shops_password_and_no_key_gives_back_nobodys_order(
    secured: Running,
) -> None:
    """The user `shops` is every shop's: which platform speaks, its signature says, and nothing does
    by default.
    """
    to = target(secured.home)
    order, other = samples.samples("cherries", 2, 12)
    await publish.send(to, [order], None, lambda _n: None)
    await until_is(to, order.order_id, "fulfilled")
    shop = replace(to, security=secured.stack.guard.login("shops"), party_pem=None)  # type: ignore[union-attr]
    platform = json.loads(order.value)["platform"]
    asked = json.dumps(
        {"platform": platform, "order_no": order.order_no, "reason": "buyer_request"}
    ).encode()
    plain = submission_files.submission_of(order.order_no, order.order_id, asked)
    stranger = Path(secured.home) / "stranger.pem"
    parties._made(stranger)
    for wire_type in (b"order.cancel-requested.v1", b"return.requested.v1"):
        headers = tuple(
            (name, wire_type if name == "ce_type" else value) for name, value in plain.headers
        )
        command = replace(plain, headers=headers)
        await publish.send(
            shop, [command, *publish.signed([command], stranger)], None, lambda _n: None
        )
    await publish.send(shop, [other], None, lambda _n: None)
    async with database(to) as conn:
        deadline = time.monotonic() + SETTLE_S
        while (
            refused := await conn.fetchval(
                "SELECT count(*) FROM orders.dead_letter WHERE reason = 'signature'"
            )
        ) < 5:
            assert time.monotonic() < deadline, refused
            await asyncio.sleep(0.2)
        states = await conn.fetch(
            "SELECT order_id, state FROM orders.orders WHERE order_id = ANY($1)",
            [order.order_id, other.order_id],
        )
    assert {row["order_id"]: row["state"] for row in states} == {order.order_id: "fulfilled"}
    # An operator still does, by the database; and the letters are let go, so that nothing is left
    # for the next test.
    env = {
        k: v
        for k, v in secured.env.items()
        if k not in {"CROSSBORDER_KAFKA", "CROSSBORDER_POSTGRES"}
    }
    status, said = await run(["order", "return", order.order_no], env)
    assert status == 0, said
    await until_is(to, order.order_id, "returned")
    status, said = await run(["dlq", "drop", "--reason", "signature"], env)
    assert status == 0, said
    status, said = await run(["doctor", "--json"], env)
    (check,) = [each for each in json.loads(said)["checks"] if each["name"] == "parties"]
    assert (check["ok"], check["found"]) == (
        True,
        "2 platforms and 2 carriers sign what they say; every other is refused",
    )


async def until_is(to: RunningStack, order_id: UUID | None, state: str) -> None:
    async with database(to) as conn:
        deadline = time.monotonic() + SETTLE_S
        while (
            found := await conn.fetchval(
                "SELECT state FROM orders.orders WHERE order_id = $1", order_id
            )
        ) != state:
            assert time.monotonic() < deadline, found
            await asyncio.sleep(0.2)


async def test_secrets_of_a_service_are_rotated_while_orders_come(secured: Running) -> None:
    folder = secured.home / "secrets"
    old = {name: (folder / name).read_text() for name in ("kafka_payments", "postgres_payments")}
    to = target(secured.home)
    records = samples.samples("cherries", 300, 11)
    publishing = asyncio.create_task(publish.send(to, records, 20.0, lambda _n: None))
    env = {
        k: v
        for k, v in secured.env.items()
        if k not in {"CROSSBORDER_KAFKA", "CROSSBORDER_POSTGRES"}
    }
    status, said = await run(["access", "rotate", "payments"], env)
    assert (status, said) == (0, "renewed postgres_payments, kafka_payments\n"), said
    assert not [name for name, was in old.items() if (folder / name).read_text() == was]
    status, said = await run(["access", "show", "--broker"], env)
    assert status == 0, said
    await publishing
    async with database(to) as conn:
        deadline = time.monotonic() + SETTLE_S
        wanted = [r.order_id for r in records]
        while (
            ended := await conn.fetchval(
                "SELECT count(*) FROM orders.orders WHERE order_id = ANY($1) AND state = "
                "'fulfilled'",
                wanted,
            )
        ) < len(wanted):
            assert time.monotonic() < deadline, ended
            await asyncio.sleep(0.3)
    findings = await verify.judge(to, 30.0)
    assert [f"{f.name}: {f.offending[:5]}" for f in findings if not f.ok] == []
    assert not await knows(
        secured.bootstrap,
        replace(secured.stack.guard.login("payments"), password=old["kafka_payments"]),  # type: ignore[union-attr]
    )


async def run(words: list[str], env: dict[str, str]) -> tuple[int, str]:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services",
        *words,
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await child.communicate()
    return child.returncode or 0, out.decode() or err.decode()
