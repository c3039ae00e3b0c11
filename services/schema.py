"""The roles, schemas and migration scripts of this release's database."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import ClassVar, Final

from pydantic import Field, SecretStr

from shared import database
from shared.access import PRINCIPALS
from shared.settings import Settings, secret_of

SERVICES: Final = ("orders", "payments", "tax", "customs")
KEY_MAKERS: Final = ("orders",)
"""Services that meet a person first and make the person's key."""
KEY_READERS: Final = ("payments", "customs")
"""Services that must print personal data: in a command to the bank, or in a declaration."""


class RolePasswords(Settings):
    """Passwords of the services' roles, if the server requires them."""

    needs_postgres: ClassVar[bool] = False

    orders_postgres_password: str | None = Field(None, description="password of the role of orders")
    payments_postgres_password: str | None = Field(
        None, description="password of the role of payments"
    )
    tax_postgres_password: str | None = Field(None, description="password of the role of tax")
    customs_postgres_password: str | None = Field(
        None, description="password of the role of customs"
    )

    def given(self) -> dict[str, str]:
        """Return the passwords that are set, by service."""
        found = {service: getattr(self, f"{service}_postgres_password") for service in SERVICES}
        return {service: password for service, password in found.items() if password}


def passwords_in(folder: Path | str | None = None) -> dict[str, str]:
    """Return the passwords of the services' roles from a folder of secrets; none without a folder.

    The files are named `postgres_SERVICE`.
    """
    return _secrets_in(folder, "postgres", SERVICES)


class UserPasswords(Settings):
    """Passwords of the broker's users. A user with a password already needs none."""

    needs_postgres: ClassVar[bool] = False

    orders_kafka_password: SecretStr | None = Field(
        None, description="password of the broker's user orders"
    )
    payments_kafka_password: SecretStr | None = Field(
        None, description="password of the broker's user payments"
    )
    tax_kafka_password: SecretStr | None = Field(
        None, description="password of the broker's user tax"
    )
    customs_kafka_password: SecretStr | None = Field(
        None, description="password of the broker's user customs"
    )
    streams_kafka_password: SecretStr | None = Field(
        None, description="password of the broker's user streams"
    )
    carriers_kafka_password: SecretStr | None = Field(
        None, description="password of the broker's user carriers"
    )
    sandbox_kafka_password: SecretStr | None = Field(
        None, description="password of the broker's user sandbox"
    )
    shops_kafka_password: SecretStr | None = Field(
        None, description="password of the broker's user shops"
    )
    probe_kafka_password: SecretStr | None = Field(
        None, description="password of the broker's user probe"
    )
    operators_kafka_password: SecretStr | None = Field(
        None, description="password of the broker's user operators"
    )

    def given(self) -> dict[str, str]:
        """Return the passwords that are set, by user."""
        found = {user: getattr(self, f"{user}_kafka_password") for user in PRINCIPALS}
        return {user: password.get_secret_value() for user, password in found.items() if password}


class PartyKeys(Settings):
    """Private keys of the stack's programs that speak as a platform or carrier.

    `migrate` tells the database whose keys they are.
    """

    needs_postgres: ClassVar[bool] = False

    operators_party_key: SecretStr | None = Field(
        None, description="key with which the command line signs"
    )
    probe_party_key: SecretStr | None = Field(None, description="key with which the prober signs")
    sandbox_party_key: SecretStr | None = Field(
        None, description="key with which the sandbox's carriers sign"
    )
    shops_party_key: SecretStr | None = Field(
        None, description="key with which the sample platform signs"
    )

    def given(self) -> dict[str, bytes]:
        """Return the keys that are set, by program."""
        found = {program: getattr(self, f"{program}_party_key") for program in SIGNERS}
        return {program: key.get_secret_value().encode() for program, key in found.items() if key}


SIGNERS: Final = ("operators", "probe", "sandbox", "shops")
"""The stack's programs that speak as a platform or carrier."""


def party_keys_in(folder: Path | str | None = None) -> dict[str, bytes]:
    """Return the keys of the signing programs from a folder of secrets; none without a folder.

    The files are named `party_PROGRAM`.
    """
    return {program: key.encode() for program, key in _secrets_in(folder, "party", SIGNERS).items()}


def _secrets_in(folder: Path | str | None, kind: str, names: Iterable[str]) -> dict[str, str]:
    """Return the files `KIND_NAME` of a folder of secrets by name; none without a folder."""
    if folder is None:
        return {}
    return {name: secret_of(Path(folder) / f"{kind}_{name}", "--secrets") or "" for name in names}


def migrations() -> list[database.Migration]:
    """Return every script in the order of execution: the vault's, then each service's.

    A schema begins with its frozen `schema.sql`. The numbered scripts of the folder `migrations`
    follow: first those of the kernel, then the service's own. A service's rights are granted again
    after any of its scripts ran.
    """
    scripts = [database.Migration("vault", "schema", _read("services.vault", "schema.sql"))]
    scripts += _numbered("vault", "services.vault", "")
    for service in SERVICES:
        scripts.append(database.Migration(service, "kernel", _read("shared", "schema.sql")))
        scripts.append(
            database.Migration(service, "schema", _read(f"services.{service}", "schema.sql"))
        )
        scripts += _numbered(service, "shared", "kernel/")
        scripts += _numbered(service, f"services.{service}", "")
        scripts.append(database.Migration(service, "rights", rights(service), repeatable=True))
    return scripts


_NUMBERED: Final = re.compile(r"[0-9]{4}_[a-z0-9_]+\.sql")


def _numbered(schema: str, package: str, prefix: str) -> list[database.Migration]:
    """Return the numbered scripts of a package in their order. The folder may be missing."""
    folder = files(package).joinpath("migrations")
    if not folder.is_dir():
        return []
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    wrong = [name for name in names if not _NUMBERED.fullmatch(name)]
    numbers = [name[:4] for name in names]
    if wrong or len(set(numbers)) < len(numbers):
        raise ValueError(
            f"name each script of {package}/migrations NNNN_name.sql, with a number of its own: "
            f"{names}"
        )
    return [
        database.Migration(
            schema, prefix + name.removesuffix(".sql"), folder.joinpath(name).read_text()
        )
        for name in names
    ]


_APPEND_ONLY: Final = """DO $$ DECLARE t regclass; BEGIN
FOR t IN SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'SERVICE' AND obj_description(c.oid) LIKE 'Append only%' LOOP
    EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON %s FROM ROLE', t);
END LOOP; END $$;"""


def rights(service: str) -> str:
    """Return the SQL that grants the role of a service its rights.

    The role has its own schema, and of the vault only the necessary part. A table whose comment
    begins with `Append only` allows neither update nor delete.
    """
    role = f"crossborder_{service}"
    vault = {True: "SELECT, INSERT", False: "SELECT"}[service in KEY_MAKERS]
    lines = [
        f"GRANT USAGE ON SCHEMA {service} TO {role};",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {service} TO {role};",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {service} TO {role};",
        f"GRANT EXECUTE ON FUNCTION {service}.forget_inbox(int) TO {role};",
        _APPEND_ONLY.replace("SERVICE", service).replace("ROLE", role),
    ]
    if service in (*KEY_MAKERS, *KEY_READERS):
        lines += [
            f"GRANT USAGE ON SCHEMA vault TO {role};",
            f"GRANT {vault} ON vault.person_key TO {role};",
        ]
    return "\n".join(lines)


async def migrate(dsn: str, passwords: Mapping[str, str] | None = None) -> list[str]:
    """Bring the database at `dsn` to this release. Return the scripts that ran.

    It may run any number of times at once.
    """
    return await database.apply(dsn, SERVICES, migrations(), passwords)


def _read(package: str, name: str) -> str:
    return files(package).joinpath(name).read_text()
