"""docker-compose.tls.yml: the same orders over TLS, and nothing but TLS at the doors of broker and
database.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose.machine import Machine, say
from tests.compose.stack import SERVICES, Stack

pytestmark = pytest.mark.compose


@pytest.fixture(scope="module")
def stack(machine: Machine, folder: Path) -> Iterator[Stack]:
    files = ["docker-compose.yml", "docker-compose.tls.yml"]
    made = Stack(machine, folder, "crossborder-test-tls", "minimal", files)
    with made.fresh() as seconds:
        say(f"up over TLS and well after {seconds:.0f} s")
        yield made


def test_orders_go_their_way_over_tls(stack: Stack) -> None:
    stack.cli("publish", "--count", "20", "--follow", "--timeout", "120")
    stack.verify()


def test_every_service_is_on_an_encrypted_connection_of_its_own_role(stack: Stack) -> None:
    found = stack.rows(
        "SELECT DISTINCT usename, ssl, version FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) "
        "WHERE client_addr IS NOT NULL"
    )
    assert {role for role, *_ in found} >= {f"crossborder_{service}" for service in SERVICES}
    assert {encrypted for _, encrypted, _ in found} == {"t"}
    assert {version for *_, version in found} <= {"TLSv1.3", "TLSv1.2"}


LOGIN = """
import asyncio, os, pathlib, sys, asyncpg
asyncio.run(asyncpg.connect(sys.argv[1], password=pathlib.Path("/run/secrets/crossborder_postgres_password").read_text()))
print("in")
"""


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("@postgres:5432/crossborder?sslmode=verify-full&sslrootcert=/run/secrets/tls_ca", None),
        ("@postgres:5432/crossborder?sslmode=disable", "no encryption"),
        # Another authority's, and no name of the certificate's: the host has it from the network.
        (
            "@postgres:5432/crossborder?sslmode=verify-full&sslrootcert=/etc/ssl/certs/ca-certificates.crt",
            "certificate verify failed",
        ),
        (
            "@{address}:5432/crossborder?sslmode=verify-full&sslrootcert=/run/secrets/tls_ca",
            "certificate verify failed",
        ),
    ],
    ids=["by name and authority", "in clear", "by another authority", "by another name"],
)
def test_the_database_lets_in_by_tls_only_and_shows_a_certificate_of_its_own_name(
    stack: Stack, asked: str, answer: str | None
) -> None:
    (network,) = stack.inspect("postgres")["NetworkSettings"]["Networks"].values()
    url = "postgresql://postgres" + asked.format(address=network["IPAddress"])
    command = (
        "run",
        "--rm",
        "--no-TTY",
        "--no-deps",
        "--entrypoint",
        "python",
        "cli",
        "-c",
        LOGIN,
        url,
    )
    if answer is None:
        assert stack.compose(*command).strip() == "in"
        return
    with pytest.raises(RuntimeError, match=answer):
        stack.compose(*command)


def test_the_broker_shows_a_certificate_of_the_stacks_own_authority(stack: Stack) -> None:
    trusted = ssl.create_default_context(cafile=stack.folder / "secrets" / "tls" / "ca.crt")
    with (
        socket.create_connection(("127.0.0.1", 9092), 10) as plain,
        trusted.wrap_socket(plain, server_hostname="localhost") as it,
    ):
        assert it.version() in {"TLSv1.3", "TLSv1.2"}
    strangers = ssl.create_default_context()
    with (
        socket.create_connection(("127.0.0.1", 9092), 10) as plain,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        strangers.wrap_socket(plain, server_hostname="localhost")
