"""`crossborder access party …`: which platforms and carriers sign, and with which key."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from services.cli.connect import (
    Exit,
    RunningStack,
    UsageError,
    as_json,
    database,
    exit_with,
    print_err,
    run,
    stdout,
    target,
)
from services.cli.operator_requests import operator

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

party = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Platforms and carriers that sign what they say.",
)

CARRIER_CODE_MAX: Final = 18
CARRIER: Final = typer.Option(
    False, "--carrier", help="a carrier, by its logistics code; else a platform"
)


@party.command()
def add(
    code: str = typer.Argument(..., help="code of the platform or carrier, as its records have it"),
    key: Path = typer.Option(
        ...,
        help="its Ed25519 key as PEM, public or private; made there, private, if there is no "
        "such file",
    ),
    carrier: bool = CARRIER,
) -> None:
    """Bind a party to a key: its records must be signed from now on.

    A second key counts beside the first, so a party can change keys without a pause.
    """
    _require_code(code, carrier)
    made = not key.exists()
    public = _made(key) if made else _read(key)
    outcome = run(_add(_schema(carrier), code, public.public_bytes_raw()))
    print_err(
        f"{outcome} {code}"
        + (f": give it the private key in {key}, and keep no copy" if made else "")
    )


@party.command("list")
def list_(json: bool = typer.Option(False, "--json", help="for machines")) -> None:
    """List the bound parties and their keys."""
    rows = run(_list())
    if json:
        as_json(rows)
        return
    from rich.table import Table

    table = Table("code", "is a", "public key", "added", "by", "removed", box=None)
    for row in rows:
        removed = row["removed_at"].isoformat(timespec="seconds") if row["removed_at"] else ""
        added = row["added_at"].isoformat(timespec="seconds")
        table.add_row(row["code"], row["is"], row["public_key"], added, row["added_by"], removed)
    stdout().print(table)


@party.command()
def remove(
    code: str = typer.Argument(..., help="code of the platform or carrier"),
    public_key: str | None = typer.Option(
        None, "--public-key", help="only this one, as `list` shows it; else all of its keys"
    ),
    carrier: bool = CARRIER,
) -> None:
    """Remove a party's keys.

    The party stays bound: nobody speaks for it until it has another key.
    """
    count = run(_remove(_schema(carrier), code, public_key))
    print_err(f"{count} keys of {code} count no more")
    if not count:
        exit_with(Exit.NO)


def _schema(carrier: bool) -> str:
    return "customs" if carrier else "orders"


def _made(path: Path) -> Ed25519PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
    return private.public_key()


def _read(path: Path) -> Ed25519PublicKey:
    """Return the public key of a PEM file; raise UsageError if it holds none."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    pem = _bytes_of(path)
    if b"PRIVATE KEY" in pem:
        return private_key(path).public_key()
    key: Any
    try:
        key = load_pem_public_key(pem)
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError(
            f"give an Ed25519 key as PEM (`openssl genpkey -algorithm ed25519`): {path} has none"
        )
    return key


def private_key(path: Path) -> Ed25519PrivateKey:
    """Return the private key of a PEM file; raise UsageError if it holds none."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key: Any = load_pem_private_key(_bytes_of(path), None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(
            f"give a private Ed25519 key as PEM, without a pass phrase: {path} has none"
        )
    return key


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"give a key that can be read: {path} ({error.strerror})") from None


def _require_code(code: str, carrier: bool) -> None:
    """Raise UsageError for a code that no record can have: a key under it would bind nobody."""
    from services.orders.intake.submission import CODE
    from shared.texts import hidden_in, identifier, other_spelling_in

    if not code or code != identifier(code):
        raise UsageError("give the code without blanks around it, as the party's records have it")
    if odd := hidden_in(code) or other_spelling_in(code):
        raise UsageError(
            f"give the code in plain characters, as the party's records have it: found {odd}"
        )
    if carrier and len(code) > CARRIER_CODE_MAX:
        raise UsageError(
            f"give the carrier's logistics code: it has at most {CARRIER_CODE_MAX} characters, "
            f"this one {len(code)}"
        )
    if not carrier and not re.fullmatch(CODE, code):
        raise UsageError(
            "give the platform's code in capitals and digits, at most 18: the customs "
            "registration or the social credit code"
        )


async def _add(schema: str, code: str, public: bytes) -> str:
    async with database(target(), write=True) as conn:
        done = await conn.execute(_ADD.format(schema), code, public, operator())
    return "bound" if done.endswith("1") else "nothing to do, the key counts already for"


async def _list() -> list[dict[str, Any]]:
    parties: list[dict[str, Any]] = []
    async with database(target()) as conn:
        for schema, what in (("orders", "platform"), ("customs", "carrier")):
            rows = await conn.fetch(_LIST.format(schema))
            parties += [{**row, "is": what, "public_key": row["public_key"].hex()} for row in rows]
    return parties


async def _remove(schema: str, code: str, public_key: str | None) -> int:
    async with database(target(), write=True) as conn:
        done = await conn.execute(_REMOVE.format(schema), code, public_key, operator())
    return int(done.split()[-1])


def all_bound(to: RunningStack) -> bool:
    """Return whether records of a party without a key are refused.

    That is a setting, or so because the broker tells its users apart.
    """
    setting = os.environ.get("CROSSBORDER_PARTIES_BOUND") or "auto"
    return to.security.tells_apart if setting == "auto" else setting == "all"


async def is_bound(conn: Any, platform: str) -> bool:
    return bool(
        await conn.fetchval(
            "SELECT EXISTS (SELECT FROM orders.party_key WHERE code = $1)", platform
        )
    )


_ADD: Final = (
    "INSERT INTO {0}.party_key AS k (code, public_key, added_by) VALUES ($1, $2, $3) ON CONFLICT "
    "(code, public_key) "
    "DO UPDATE SET removed_at = NULL, removed_by = NULL, added_by = excluded.added_by, added_at "
    "= now() "
    "WHERE k.removed_at IS NOT NULL"
)
_LIST: Final = (
    "SELECT code, public_key, added_at, added_by, removed_at FROM {0}.party_key ORDER "
    "BY code, added_at"
)
_REMOVE: Final = (
    "UPDATE {0}.party_key SET removed_at = now(), removed_by = $3 "
    "WHERE code = $1 AND removed_at IS NULL AND ($2::text IS NULL OR public_key = decode($2, "
    "'hex'))"
)
"""The schema is one of SERVICES."""
