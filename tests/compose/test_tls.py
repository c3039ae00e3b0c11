"""docker-compose.tls.yml: the same orders over TLS, and nothing but TLS at the broker's door."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose.machine import Machine, say, tags
from tests.compose.stack import SERVICES, Stack

pytestmark = pytest.mark.compose


@pytest.fixture(scope="module")
def stack(machine: Machine, folder: Path) -> Iterator[Stack]:
    files = ["docker-compose.yml", "docker-compose.tls.yml"]
    if tags()["POSTGRES_IMAGE"] in machine.stand_ins:
        say("NOT TRIED: TLS to PostgreSQL, its stand-in has none")
        files.append("tests/compose/open-database.yml")
    made = Stack(machine, folder, "crossborder-test-tls", "minimal", files)
    with made.fresh():
        yield made


def test_orders_go_their_way_over_tls(stack: Stack) -> None:
    stack.cli("publish", "--count", "20", "--follow", "--timeout", "120")
    stack.verify()


def test_every_service_is_on_an_encrypted_connection_of_its_own_role(stack: Stack, machine: Machine) -> None:
    found = stack.rows(
        "SELECT DISTINCT usename, ssl FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) WHERE client_addr IS NOT NULL"
    )
    assert {role for role, _ in found} >= {f"crossborder_{service}" for service in SERVICES}
    if tags()["POSTGRES_IMAGE"] in machine.stand_ins:
        pytest.skip("NOT TRIED: TLS to PostgreSQL, its stand-in has none")
    assert {encrypted for _, encrypted in found} == {"t"}


def test_the_broker_shows_a_certificate_of_the_stacks_own_authority(stack: Stack) -> None:
    trusted = ssl.create_default_context(cafile=stack.folder / "secrets" / "tls" / "ca.crt")
    with (
        socket.create_connection(("127.0.0.1", 9092), 10) as plain,
        trusted.wrap_socket(plain, server_hostname="localhost") as it,
    ):
        assert it.version() in {"TLSv1.3", "TLSv1.2"}
    strangers = ssl.create_default_context()
    with socket.create_connection(("127.0.0.1", 9092), 10) as plain, pytest.raises(ssl.SSLCertVerificationError):
        strangers.wrap_socket(plain, server_hostname="localhost")
