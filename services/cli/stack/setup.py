"""`crossborder migrate`, `topics`, `keys`: one-shot jobs that can be repeated."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import typer

from services.cli.connect import (
    RunningStack,
    Unreachable,
    UsageError,
    home_of,
    kafka_errors,
    print_err,
    run,
    stack_file,
    target,
)
from services.cli.credentials import security_of


def register(app: typer.Typer) -> None:
    for command in (migrate, topics, keys):
        app.command()(command)


def migrate(
    secrets: Path | None = typer.Option(
        None,
        "--secrets",
        help="folder with postgres_SERVICE for each role and party_PROGRAM for each key, as "
        "`make secrets` makes it",
    ),
) -> None:
    """Bring the database of CROSSBORDER_POSTGRES to this release.

    Roles get their passwords, where these are known.
    The stack's own platforms and carriers are bound to their keys, where these are known.
    Running it again changes nothing.
    """
    import asyncpg

    from shared.database import LOST, redacted

    to = target()
    refusals = (asyncpg.InvalidCatalogNameError, asyncpg.InvalidAuthorizationSpecificationError)
    try:
        done = run(_migrate(to.postgres, secrets))
    except (*LOST, *refusals) as error:
        raise Unreachable(
            "start PostgreSQL, or set CROSSBORDER_POSTGRES: no answer at "
            f"{redacted(to.postgres)} ({error or 'timeout'})"
        ) from None
    print_err(
        f"ran {', '.join(done)}" if done else "nothing to do: the database is of this release"
    )


async def _migrate(dsn: str, secrets: Path | None) -> list[str]:
    from services import schema
    from services.cli.access import own_parties
    from shared.settings import load

    keys = load(schema.PartyKeys)
    passwords = load(schema.RolePasswords).given() | schema.passwords_in(secrets)
    done = list(await schema.migrate(dsn, passwords))
    known = keys.given() | schema.party_keys_in(secrets)
    parties = await own_parties.register(dsn, known, keys.probe_platform)
    return [*done, *(f"party {party}" for party in parties)]


def topics(
    replicas: int = typer.Option(
        1, min=1, max=5, help="copies of each record, where there are as many brokers"
    ),
) -> None:
    """Create the topics that are missing on CROSSBORDER_KAFKA.

    Running it again changes nothing.
    """
    made = run(_topics(replicas))
    print_err(f"made {', '.join(made)}" if made else "nothing to do: every topic is there")


async def _topics(replicas: int) -> Sequence[str]:
    from shared.topics import create_topics

    running = stack_file(home_of(None))
    kafka = os.environ.get("CROSSBORDER_KAFKA") or str(running.get("kafka", ""))
    if not kafka:
        raise Unreachable(
            "start the stack with `crossborder up`, or set CROSSBORDER_KAFKA: no broker is known"
        )
    prefix = os.environ.get("CROSSBORDER_TOPIC_PREFIX", "")
    async with kafka_errors(RunningStack(kafka, "", prefix, home_of(None))):
        return await create_topics(kafka, prefix, replicas=replicas, security=security_of(running))


def keys(
    folder: Path | None = typer.Option(
        None,
        "--keys",
        help="folder of the keys; by default CROSSBORDER_KEYS, else `keys` in the home folder",
    ),
) -> None:
    """Make the missing master keys and signing keys.

    Keys that exist are left alone.
    """
    where = folder or Path(os.environ.get("CROSSBORDER_KEYS") or home_of(None) / "keys")
    made = make_keys(where)
    print_err(
        f"made {', '.join(made)} in {where}" if made else f"nothing to do: every key is in {where}"
    )


def make_keys(folder: Path) -> list[str]:
    from shared.sealing import ensure_master_keys

    try:
        made = ensure_master_keys(folder)
        if find_spec("services.customs.ceb.sign") is not None:
            from services.customs.ceb import sign

            there = (folder / sign.KEY_FILE).exists() and (folder / sign.CERTIFICATE_FILE).exists()
            sign.ensure_keys(folder)
            made += [] if there else ["customs-signing"]
    except OSError as error:
        raise UsageError(
            f"choose a folder that can be written: {folder} ({error.strerror})"
        ) from None
    return made
