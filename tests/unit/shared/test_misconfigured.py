"""What a setting has wrong is said in a sentence, and each setting that is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared import health
from shared.database import connect_pool
from shared.errors import Misconfigured, Unavailable
from shared.sealing import ensure_master_keys
from shared.settings import Settings, load


@pytest.mark.parametrize(
    ("dsn", "why"),
    [
        ("foo", "scheme is expected"),
        ("mysql://u@127.0.0.1/x", "scheme is expected"),
        ("postgresql://u@127.0.0.1:1/x?sslmode=foo", "sslmode"),
        ("postgresql://u@127.0.0.1:secret/x", "host or port is none"),
        ("postgresql://u@127.0.0.1:99999/x", "host or port is none"),
        ("postgresql://u:sec/ret@127.0.0.1/x", "not percent-encoded"),
        ("postgresql://u:secret@[::1/x", "host or port is none"),
    ],
)
async def test_a_dsn_that_is_none_is_a_setting_to_mend_and_is_not_shown(dsn: str, why: str) -> None:
    with pytest.raises(Misconfigured, match=why) as wrong:
        await connect_pool(Settings(postgres=dsn), "orders")
    assert str(wrong.value).startswith("set CROSSBORDER_POSTGRES to a DSN")
    assert "sec" not in str(wrong.value)


async def test_a_database_that_does_not_answer_is_tried_again() -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        await connect_pool(Settings(postgres="postgresql://u@127.0.0.1:1/x"), "orders")


@pytest.mark.parametrize("setting", ["CROSSBORDER_POSTGRES", "CROSSBORDER_REPLICA"])
def test_a_service_with_a_wrong_setting_ends_with_a_sentence_and_2(
    setting: str, tmp_path: Path
) -> None:
    ensure_master_keys(tmp_path / "keys")
    given = {
        "POSTGRES": "postgresql://u@127.0.0.1:1/x",
        "KAFKA": "127.0.0.1:1",
        "HOME": str(tmp_path),
    }
    given = {f"CROSSBORDER_{name}": value for name, value in given.items()} | {setting: "foo"}
    done = subprocess.run(
        [sys.executable, "-m", "services.orders.app"],
        env=os.environ | given,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"set {setting} ")


def test_each_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    for name, value in {"BATCH_RECORDS": "x", "REPLICA": "-1", "LOG_LEVEL": "debug"}.items():
        monkeypatch.setenv(f"CROSSBORDER_{name}", value)
    with pytest.raises(Misconfigured) as wrong:
        load(Settings)
    lines = str(wrong.value).splitlines()
    assert [line.split(" right: ")[0] for line in lines] == [
        "set CROSSBORDER_REPLICA", "set CROSSBORDER_LOG_LEVEL", "set CROSSBORDER_BATCH_RECORDS",
    ]  # fmt: skip


@pytest.mark.parametrize("bind", ["203.0.113.1", "nonsense.invalid"])
async def test_an_address_that_is_not_ours_is_told_from_a_port_that_is_taken(bind: str) -> None:
    with pytest.raises(
        Misconfigured,
        match=f"^set CROSSBORDER_BIND to an address of this machine, this one is '{bind}'",
    ):
        await health.serve(bind, 0, ready={}, alive={})
    runner, port = await health.serve("127.0.0.1", 0, ready={}, alive={})
    with pytest.raises(Misconfigured, match=f"^free port {port} or set CROSSBORDER_METRICS_PORT"):
        await health.serve("127.0.0.1", port, ready={}, alive={})
    await runner.cleanup()
