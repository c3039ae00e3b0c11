"""PostgreSQL over TLS with the certificates of `make secrets`: tried on a server of this machine, since the wheel's has no TLS."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from deploy import secrets
from deploy.embedded import process
from deploy.embedded.postgres import SYSTEM_USER, _let_through, _system_user
from services.schema import SERVICES, passwords_in
from shared import database
from shared.database import connect_pool, with_password
from shared.errors import Misconfigured, Unavailable
from shared.settings import Settings

HBA: Final = "hostssl all all 127.0.0.1/32 scram-sha-256\nhostnossl all all 127.0.0.1/32 reject\n"


def server() -> Path | None:
    """The folder of a server's programs that were built with TLS; Debian's postgresql is."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        built = subprocess.run(
            [str(folder / "pg_config"), "--configure"], capture_output=True, text=True, check=False
        )
        if (folder / "postgres").is_file() and (
            "--with-openssl" in built.stdout or "--with-ssl" in built.stdout or not built.stdout
        ):
            return folder
    return None


@dataclass(frozen=True)
class Encrypted:
    """A server that lets nobody in without TLS."""

    port: int
    folder: Path

    def dsn(
        self, *, host: str = "127.0.0.1", mode: str = "verify-full", ca: Path | None = None
    ) -> str:
        where = f"postgresql://postgres@{host}:{self.port}/postgres?sslmode={mode}"
        return (
            where
            if mode == "disable"
            else f"{where}&sslrootcert={ca or self.folder / 'secrets' / 'tls' / 'ca.crt'}"
        )

    @property
    def admin(self) -> str:
        return (
            with_password(self.dsn(), (self.folder / "secrets" / "postgres_admin").read_text())
            or ""
        )

    def settings(self, service: str, dsn: str | None = None) -> Settings:
        return Settings(
            postgres=dsn or self.dsn(),
            postgres_password_file=self.folder / "secrets" / f"postgres_{service}",
        )


@pytest.fixture
async def encrypted(tmp_path: Path) -> AsyncIterator[Encrypted]:
    programs = server()
    if programs is None:
        pytest.skip(
            "no PostgreSQL with TLS is installed (Debian: postgresql): the database's TLS was NOT tried"
        )
    given = tmp_path / "secrets"
    secrets.make(given)
    secrets.make_certificates(given)
    data = tmp_path / "server"
    data.mkdir()
    user = SYSTEM_USER if os.geteuid() == 0 else None
    for name in ("postgres.crt", "postgres.key"):
        shutil.copy(given / "tls" / name, data.with_name(name))
    shutil.copy(given / "postgres_admin", data.with_name("admin"))
    for path in (data, *(data.with_name(n) for n in ("postgres.crt", "postgres.key", "admin"))):
        path.chmod(0o700 if path == data else 0o600)
        if user is not None:
            shutil.chown(path, _system_user(user).pw_uid, _system_user(user).pw_gid)
            _let_through(path)
    as_owner: dict[str, Any] = {"user": user, "group": user, "extra_groups": []} if user else {}
    auth = ["--auth=scram-sha-256", f"--pwfile={data.with_name('admin')}"]
    initdb = [str(programs / "initdb"), "-D", str(data), "-U", "postgres", "--no-sync", *auth]
    subprocess.run(initdb, capture_output=True, cwd=data, check=True, **as_owner)
    (data / "pg_hba.conf").write_text(HBA)
    port = process.free_port()
    options = {
        "listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "ssl": "on", "ssl_min_protocol_version": "TLSv1.2",
        "ssl_cert_file": data.with_name("postgres.crt"), "ssl_key_file": data.with_name("postgres.key"), "fsync": "off",
    }  # fmt: skip
    command = [
        str(programs / "postgres"),
        "-D",
        str(data),
        *(word for k, v in options.items() for word in ("-c", f"{k}={v}")),
    ]
    child = process.start(command, tmp_path / "server.log", cwd=data, user=user)
    try:
        found = Encrypted(port, tmp_path)
        async with asyncio.timeout(20):
            while True:
                try:
                    await (await asyncpg.connect(found.admin)).close()
                    break
                except (OSError, asyncpg.CannotConnectNowError):
                    await asyncio.sleep(0.1)
        # The roles and their passwords as a migration gives them; the tables need a newer server than this may be.
        await database.apply(found.admin, SERVICES, [], passwords_in(given))
        yield found
    finally:
        child.terminate()
        child.wait()


async def test_each_service_logs_in_over_tls_and_nobody_without(
    encrypted: Encrypted, tmp_path: Path
) -> None:
    for service in SERVICES:
        pool = await connect_pool(encrypted.settings(service), service, size=1)
        row = await pool.fetchrow(
            "SELECT ssl, version, current_user AS who FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        )
        assert (row["ssl"], row["version"], row["who"]) == (
            True,
            "TLSv1.3",
            f"crossborder_{service}",
        )
        await pool.close()
    with pytest.raises(Misconfigured, match="cannot log in"):
        await connect_pool(encrypted.settings("orders", encrypted.dsn(mode="disable")), "orders")
    with pytest.raises(Misconfigured, match="cannot log in"):
        await connect_pool(encrypted.settings("tax"), "orders")


async def test_another_authoritys_server_and_another_name_are_not_trusted(
    encrypted: Encrypted, tmp_path: Path
) -> None:
    secrets.make_certificates(tmp_path / "other")
    strange = encrypted.dsn(ca=tmp_path / "other" / "tls" / "ca.crt")
    with pytest.raises(Unavailable, match="certificate verify failed"):
        await connect_pool(encrypted.settings("orders", strange), "orders")
    with pytest.raises(Unavailable, match=r"certificate verify failed|mismatch"):
        await connect_pool(encrypted.settings("orders", encrypted.dsn(host="127.1")), "orders")
