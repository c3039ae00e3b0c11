"""What a password becomes on its way to PostgreSQL."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.health import is_well
from services.cli.connect import target
from shared import health
from shared.database import redacted, scram_verifier, with_password
from shared.errors import Misconfigured
from shared.settings import Settings


def test_verifier_is_that_of_the_standards_example() -> None:
    # RFC 7677, section 3: the exchange of the user whose password is "pencil".
    said = (
        b"n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    )
    kind, iterations, kept = scram_verifier("pencil", b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")).split(
        "$"
    )
    stored, server = kept.split(":")
    assert (kind, iterations) == ("SCRAM-SHA-256", "4096:W22ZaJ0SNY7soEsUEjb6gQ==")
    signature = hmac.digest(b64decode(server), said, "sha256")
    assert b64encode(signature) == b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    proof = b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    client_signature = hmac.digest(b64decode(stored), said, "sha256")
    client_key = bytes(a ^ b for a, b in zip(proof, client_signature, strict=True))
    assert hashlib.sha256(client_key).digest() == b64decode(stored)


def test_two_verifiers_of_one_password_differ_and_hide_it() -> None:
    assert scram_verifier("a secret") != scram_verifier("a secret")
    assert "a secret" not in scram_verifier("a secret")
    with pytest.raises(Misconfigured, match="ASCII"):
        scram_verifier("пароль")


@pytest.mark.parametrize(
    ("dsn", "password", "expected"),
    [
        (
            "postgresql://postgres@db:5432/x",
            "p@:/?",
            "postgresql://postgres:p%40%3A%2F%3F@db:5432/x",
        ),
        ("postgresql://postgres:old@db/x", "new", "postgresql://postgres:old@db/x"),
        ("postgresql://db/x", "new", "postgresql://db/x"),
        ("postgresql://postgres@/x?host=/run/db", None, "postgresql://postgres@/x?host=/run/db"),
    ],
)
def test_password_goes_into_a_dsn_that_has_a_user_and_none_yet(
    dsn: str, password: str | None, expected: str
) -> None:
    assert with_password(dsn, password) == expected
    assert password is None or password not in redacted(with_password(dsn, password))


def test_commands_take_the_password_of_the_environment(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSBORDER_POSTGRES", "postgresql://postgres@db/x")
    monkeypatch.setenv("CROSSBORDER_POSTGRES_PASSWORD", "s")
    assert target().postgres == "postgresql://postgres:s@db/x"


def test_replicas_with_the_same_settings_have_names_of_their_own() -> None:
    assert Settings(replica=3).member == "3"
    assert Settings(replica_by_host=True).member not in {"", "0"}


@pytest.fixture
async def process() -> AsyncIterator[tuple[dict[str, bool], int]]:
    checks = {"loop": True}
    runner, port = await health.serve(
        "127.0.0.1", 0, ready={"loop": lambda: False}, alive={"loop": lambda: checks["loop"]}
    )
    yield checks, port
    await runner.cleanup()


async def test_health_check_believes_only_a_200(process: tuple[dict[str, bool], int]) -> None:
    checks, port = process
    assert await asyncio.to_thread(is_well, "healthz", port)
    assert not await asyncio.to_thread(is_well, "readyz", port)
    checks["loop"] = False
    assert not await asyncio.to_thread(is_well, "healthz", port)
    assert not await asyncio.to_thread(is_well, "healthz", 1)
