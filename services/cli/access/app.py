"""`crossborder access …`: users and rights of the broker, generated from the table of topics."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from services.cli.access.parties import party
from services.cli.connect import (
    Exit,
    Unreachable,
    UsageError,
    as_json,
    exit_with,
    home_of,
    print_err,
    run,
    stack_file,
    stdout,
    target,
)
from services.cli.credentials import security_of

if TYPE_CHECKING:
    from shared.access import Grant
    from shared.broker_access import Done
    from shared.kafka import Security

access = typer.Typer(no_args_is_help=True, add_completion=False)
access.add_typer(party, name="party")


@access.command()
def apply(
    secrets: Path | None = typer.Option(
        None,
        "--secrets",
        help="folder with a file kafka_USER for each user, as `make secrets` makes it; else by "
        "their settings",
    ),
) -> None:
    """Make the broker's access list equal to the table of topics.

    Users get their passwords.
    Log in as `admin`.
    Entries that are not in the table are removed; running it again changes nothing.
    """
    done = run(_apply(secrets))
    for grant in done.added:
        print(f"added    {grant}")
    for grant in done.removed:
        print(f"removed  {grant}")
    for who in done.passwords:
        print(f"password {who}")
    for who in done.gone:
        print(f"dropped  {who}")
    print_err(
        "the broker is as the table of topics says"
        if done
        else "nothing to do: the broker is as the table of topics says"
    )


async def _apply(secrets: Path | None) -> Done:
    from services.schema import UserPasswords
    from shared.access import PRINCIPALS
    from shared.broker_access import Access
    from shared.settings import load, secret_of

    if secrets is None:
        passwords = load(UserPasswords).given()
    else:
        files = {who: secrets / f"kafka_{who}" for who in PRINCIPALS}
        passwords = {who: secret_of(file, "--secrets") or "" for who, file in files.items()}
    kafka, security, prefix = _broker()
    async with Access.opened(kafka, security) as broker:
        return await broker.apply(prefix, passwords)


@access.command()
def show(
    broker: bool = typer.Option(
        False,
        "--broker",
        help="compare with what the broker has; exit 1 where it differs. Log in as admin",
    ),
    json: bool = typer.Option(False, "--json", help="for machines"),
) -> None:
    """Show who may read and write which topic and consumer group."""
    from shared.access import PRINCIPALS, matrix

    rows = matrix()
    if json:
        as_json(
            [
                {"name": name, "may": {who: may for who, may in rights.items() if may}}
                for name, rights in rows
            ]
        )
    else:
        from rich.table import Table

        table = Table("", *PRINCIPALS, box=None)
        for name, rights in rows:
            table.add_row(name, *(_short(rights[who]) for who in PRINCIPALS))
        stdout().print(table)
    if broker:
        _compare_broker()


def _compare_broker() -> None:
    missing, extra = run(_differences())
    for grant in missing:
        print_err(f"missing  {grant}")
    for grant in extra:
        print_err(f"extra    {grant}")
    if missing or extra:
        print_err("run `crossborder access apply`: the broker's list is another")
        exit_with(Exit.NO)


def _short(may: str) -> str:
    return "".join(word[0] for word in may.split(", ") if word)


async def _differences() -> tuple[Sequence[Grant], Sequence[Grant]]:
    from shared.access import grants
    from shared.broker_access import Access

    kafka, security, prefix = _broker()
    async with Access.opened(kafka, security) as broker:
        wanted, there = grants(prefix), await broker.listed()
    return sorted(wanted - there), sorted(there - wanted)


@access.command()
def rotate(
    program: str = typer.Argument(
        ..., help="whose passwords: a service, streams, sandbox, shops, carriers or operators"
    ),
) -> None:
    """Give a program of a secured stack new passwords and restart it.

    The stack must run with `crossborder up --secured`; orders may flow meanwhile.
    Open connections live on until the restart.
    Until then a new connection of the program is refused, and tried again.
    """
    from shared.access import PRINCIPALS

    running = stack_file(home_of(None))
    folder = _secrets_of(running)
    if folder is None:
        raise Unreachable(
            "start the stack with `crossborder up --secured`: in containers do as docs/access.md "
            "says"
        )
    if program not in PRINCIPALS:
        raise UsageError(f"choose one of {', '.join(PRINCIPALS)}: {program} has no password")
    print(f"renewed {', '.join(run(_rotate(running, folder, program)))}")


async def _rotate(running: Mapping[str, Any], folder: Path, program: str) -> Sequence[str]:
    from deploy import secrets
    from services import schema
    from services.cli.stack import restart

    old = [folder / f"{kind}_{program}" for kind in ("kafka", "postgres")]
    for file in old:
        file.unlink(missing_ok=True)
    made = secrets.make(folder)
    await _apply(folder)
    await schema.migrate(str(running["postgres"]), schema.passwords_in(folder))
    if program in running["programs"]:
        await restart.roll(target(), [program])
    return made


def _secrets_of(running: Mapping[str, Any]) -> Path | None:
    file = running.get("kafka_password_file")
    return Path(str(file)).parent if file else None


def _broker() -> tuple[str, Security, str]:
    from shared.topics import ADMIN

    running = stack_file(home_of(None))
    given = os.environ.get("CROSSBORDER_KAFKA")
    kafka = given or str(running.get("kafka", ""))
    if not kafka:
        raise Unreachable(
            "start the stack with `crossborder up --secured`, or set CROSSBORDER_KAFKA: no "
            "broker is known"
        )
    folder = _secrets_of(running)
    security = security_of(running)
    if not given and folder is not None:
        security = replace(
            security, user=ADMIN, password=(folder / f"kafka_{ADMIN}").read_text().strip()
        )
    return (
        kafka,
        security,
        os.environ.get("CROSSBORDER_TOPIC_PREFIX") or str(running.get("topic_prefix", "")),
    )
