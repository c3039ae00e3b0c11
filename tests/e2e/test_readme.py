"""The commands of the pages as printed, against a stack that runs: each ends with the status the
page says.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from aiokafka import AIOKafkaProducer

from deploy.embedded.ports import PORTS, port_setting
from tests.readme import ROOT, blocks

if TYPE_CHECKING:
    from tests.e2e.conftest import Running

WRITTEN: Final = "127.0.0.1:9092"
EXAMPLE: Final = ROOT / "docs" / "examples" / "order.json"
BOUND_S: Final = 60.0
START_S: Final = 240.0
"""A whole stack starts, on a machine that is busy with others."""


async def run(
    line: str, stack: Running | None, env: Mapping[str, str] | None = None, bound_s: float = BOUND_S
) -> tuple[int, str, str]:
    """Run one line of a page in the folder of the README; `crossborder` is this environment's."""
    env = dict(env or (os.environ if stack is None else stack.env))
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    child = await asyncio.create_subprocess_shell(
        line,
        cwd=ROOT,
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(bound_s):
        out, talk = await child.communicate()
    return child.returncode or 0, out.decode(), talk.decode()


async def asked(line: str, stack: Running) -> Any:
    """What the command says with `--json`."""
    _, out, talk = await run(line, stack)
    assert out, talk
    return json.loads(out)


async def until(line: str, stack: Running, want: str, timeout_s: float = 30.0) -> None:
    """Wait until the command's answer has the text."""
    deadline = time.monotonic() + timeout_s
    while want not in (found := await run(line, stack))[1]:
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.2)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        pair
        for block in blocks()
        if block.needs == "nothing"
        for pair in zip(block.commands, block.statuses, strict=True)
    ],
)
async def test_what_needs_nothing_does_as_the_page_says(line: str, status: int) -> None:
    found = await run(line, None)
    assert found[0] == status, found


@pytest.mark.timeout(600)
async def test_the_commands_do_as_the_page_says_in_the_order_of_the_page(stack: Running) -> None:
    await ready(stack)
    pairs = (
        pair
        for block in blocks()
        if block.needs == "stack"
        for pair in zip(block.commands, block.statuses, strict=True)
    )
    # A line that several pages print is run where the first one prints it.
    for line, status in dict.fromkeys(pairs):
        if "kcat" in line:
            continue
        if line.startswith("crossborder dlq list --reason malformed"):
            await letter(stack)
        found = await run(line, stack)
        assert found[0] == status, (line, *found)
    faults = (await asked("crossborder order show SHOP1-20261123-000004 --json", stack))["detail"][
        "faults"
    ]
    assert {fault["rule"] for fault in faults} == {"is_decimal", "is_resident_id", "sum_of_lines"}


async def ready(stack: Running | None, env: Mapping[str, str] | None = None) -> None:
    """The streams worker is the last to be ready, and nobody waits for it.

    `status` would say no until then.
    """
    deadline = time.monotonic() + 30
    while (found := await run("crossborder status", stack, env))[0] != 0:
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.5)


async def letter(stack: Running) -> None:
    """Wait for the dead letter: it is written a moment after its record was published."""
    await until("crossborder dlq list --reason malformed --json", stack, "dead-letters")


@pytest.mark.timeout(600)
async def test_the_operators_box_starts_a_stack_and_looks_at_it(tmp_path: Path) -> None:
    env = os.environ | {"CROSSBORDER_HOME": str(tmp_path)}
    env |= {port_setting(name): "0" for name in PORTS}
    (box,) = (block for block in blocks("README.md") if block.needs == "nothing running")
    try:
        for line in box.commands:
            if line == "crossborder status":
                await ready(None, env)
            found = await run(line, None, env, START_S)
            assert found[0] == 0, (line, *found)
    finally:
        found = await run("crossborder down", None, env)
    assert found[0] == 0, found


async def test_a_record_without_headers_is_an_order(stack: Running) -> None:
    document = {**json.loads(EXAMPLE.read_text()), "order_no": "SHOP1-20261123-000005"}
    out = AIOKafkaProducer(bootstrap_servers=stack.bootstrap, acks="all", enable_idempotence=True)
    await out.start()
    try:
        await out.send_and_wait("orders.submissions", value=json.dumps(document).encode())
    finally:
        await out.stop()
    await until(
        f"crossborder order show {document['order_no']} --json", stack, '"state": "fulfilled"'
    )


@pytest.mark.skipif(
    shutil.which("kcat") is None,
    reason="kcat is not installed; a record without headers is tried by aiokafka",
)
async def test_the_line_with_kcat_publishes_an_order(stack: Running) -> None:
    (line,) = (command for block in blocks() for command in block.commands if "kcat" in command)
    assert WRITTEN in line
    found = await run(line.replace(WRITTEN, stack.bootstrap), stack)
    assert found[0] == 0, found
    await until(
        "crossborder order show SHOP1-20261123-000001 --json", stack, '"state": "fulfilled"'
    )
