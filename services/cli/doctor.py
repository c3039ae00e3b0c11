"""`crossborder doctor`: what this machine and the stack lack, and what to do about each."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from services.cli.connect import (
    Exit,
    RunningStack,
    Unreachable,
    as_json,
    exit_with,
    print_err,
    run,
    status_mark,
    stdout,
    target,
)
from shared.errors import Misconfigured

if TYPE_CHECKING:
    from rich.text import Text

JAVA_MIN: Final = 17
PYTHON_MIN: Final = (3, 11)
LAG_MAX: Final = 10_000
RULES_END_DAYS: Final = 14
"""How long before its last day a table of rules is said to end, as the alert CrossborderTaxRulesEnd has it."""


@dataclass(frozen=True)
class Check:
    """One thing looked at; `todo` is empty where it is right."""

    name: str
    ok: bool
    found: str
    todo: str = ""
    soon: bool = False
    """It is right and will not stay so: a person should see to it. The exit status is that of what is right."""


def register(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(json: bool = typer.Option(False, "--json", help="for machines")) -> None:
    """Look at versions, ports, keys, reachability, migrations, topics and lag; say what to do about each."""
    checks = [*run(of_stack()), *tools(), *rule_ends()]
    ok = all(check.ok for check in checks)
    if json:
        as_json({"ok": ok, "checks": [asdict(check) for check in checks]})
    else:
        from rich.table import Table

        table = Table("", "what", "found", "what to do", box=None)
        for check in checks:
            table.add_row(marked(check), check.name, check.found, check.todo)
        stdout().print(table)
        if soon := [check.name for check in checks if check.ok and check.soon]:
            print_err(f"nothing is wrong yet with {', '.join(soon)}: see to it soon")
    if not ok:
        exit_with(Exit.NO)


def marked(check: Check) -> Text:
    """The mark of a check: `soon` stands for what is right and will not stay so."""
    from rich.text import Text

    return Text("soon", "yellow") if check.ok and check.soon else status_mark(check.ok)


def rule_ends() -> Iterator[Check]:
    """The last day of each table of the tax rules that has one: those of CROSSBORDER_RULES_DIR, or of the release."""
    from services.cli.tax.rules import day_of, said_of
    from services.tax.rule_check import ends_in, faults_elsewhere, part_ends_in
    from services.tax.rulebook.files import RULES, validate

    folder, today = Path(os.environ.get("CROSSBORDER_RULES_DIR") or RULES), day_of(None)
    if not folder.is_dir():
        yield Check(
            "tax rules",
            False,
            f"{folder} is no folder",
            "set CROSSBORDER_RULES_DIR to the folder of the rule files",
        )
        return
    book, faults = validate(folder)
    faults = (*faults, *faults_elsewhere(folder))
    todo = "mend the files: `crossborder tax rules validate` lists every fault" if faults else ""
    yield Check(
        "tax rules",
        not faults,
        str(faults[0]) if faults or book is None else f"edition {book.edition}",
        todo,
    )
    whole = ends_in(folder)
    for end in (*whole, *part_ends_in(folder)):
        left = end.left(today)
        near = left < RULES_END_DAYS
        todo = (
            "docs/runbooks/CrossborderTaxRulesEnd.md: import the rates, or write the next row"
            if near
            else ""
        )
        # What ends soon is said and alerted; it is wrong only once all of a table has ended. Of a part, other rows go on.
        ok = left >= 0 or end not in whole
        yield Check(
            f"tax rules {end.table}",
            ok,
            said_of(end, today).removeprefix(f"{end.table}: "),
            todo,
            near or end.carried_over,
        )


def tools() -> Iterator[Check]:
    """The programs the embedded stack is made of."""
    yield Check(
        "python",
        sys.version_info >= PYTHON_MIN,
        ".".join(map(str, sys.version_info[:3])),
        "" if sys.version_info >= PYTHON_MIN else "install Python 3.11 or newer",
    )
    text = _version(["java", "-version"])
    major = java_major(text)
    yield Check(
        "java",
        major >= JAVA_MIN,
        text or "none",
        ""
        if major >= JAVA_MIN
        else f"install a Java runtime of version {JAVA_MIN} or newer (or set JAVA_HOME)",
    )
    text = _version(["mvn", "-version"])
    yield Check(
        "maven",
        bool(text),
        text or "none",
        "" if text else "install Maven: it fetches Kafka the first time",
    )


def java_major(text: str) -> int:
    """17 of `openjdk version "17.0.9"`, 8 of `"1.8.0"`, 0 where there is none."""
    found = re.search(r'"(\d+)(?:\.(\d+))?', text)
    if found is None:
        return 0
    return int(found[2]) if found[1] == "1" and found[2] else int(found[1])


def _version(command: list[str]) -> str:
    name = command[0]
    if (
        name == "java"
        and (home := os.environ.get("JAVA_HOME"))
        and (Path(home) / "bin" / "java").exists()
    ):
        command = [str(Path(home) / "bin" / "java"), *command[1:]]
    if shutil.which(command[0]) is None:
        return ""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = (done.stdout + done.stderr).strip().splitlines()
    return re.sub(r"\x1b\[[0-9;]*m", "", lines[0]) if lines and done.returncode == 0 else ""


async def of_stack() -> list[Check]:
    """The running stack, or, where there is none, whether its ports are free."""
    try:
        to = target()
    except Unreachable as absent:
        return [Check("stack", False, "none is running", str(absent)), *ports()]
    found: list[Check] = []
    for look in (_attention, _keys, _postgres, _parties, _kafka):
        try:
            async with asyncio.timeout(15):
                found += await look(to)
        except Unreachable as absent:
            found.append(Check(look.__name__.strip("_"), False, "no answer", str(absent)))
        except TimeoutError:
            found.append(
                Check(
                    look.__name__.strip("_"),
                    False,
                    "no answer in 15 s",
                    "look at the log: `crossborder status` says where it is",
                )
            )
    return found


def ports() -> Iterator[Check]:
    """Whether each port of the embedded stack is its own and free, and if not, who has it and how to choose another."""
    from deploy.embedded.stack import (
        OPTIONAL,
        port_setting,
        ports_from_environment,
        require_distinct,
    )

    found = ports_from_environment()
    try:
        require_distinct({name: port for name, port in found.items() if name not in OPTIONAL})
    except Misconfigured as error:
        yield Check("ports", False, "two are the same", str(error))
    for name, port in found.items():
        if is_free(port):
            yield Check(f"port {port}", True, f"free for {name}")
        else:
            holder = holder_of(port)
            todo = f"stop {holder}, or set {port_setting(name)} to another port"
            yield Check(f"port {port}", False, f"taken by {holder}", todo)


def is_free(port: int) -> bool:
    """Whether nobody listens on the port of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def holder_of(port: int) -> str:
    """The program that listens on the port, as far as this user may see."""
    import psutil

    try:
        for conn in psutil.net_connections("tcp"):
            if (
                conn.status == psutil.CONN_LISTEN
                and conn.laddr
                and conn.laddr[1] == port
                and conn.pid
            ):
                return f"{psutil.Process(conn.pid).name()} (process {conn.pid})"
    except psutil.Error:
        pass
    return "another program"


def keys(to: RunningStack) -> Iterator[Check]:
    """The key files: there, and readable by nobody else."""
    from shared.sealing import MASTER_KEYS

    folder = Path(os.environ.get("CROSSBORDER_KEYS") or to.home / "keys")
    for name in MASTER_KEYS:
        path = folder / f"{name}.key"
        if not path.exists():
            yield Check(f"key {name}", False, f"{path} is missing", "run `crossborder keys`")
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        open_to_others = bool(mode & 0o077)
        yield Check(
            f"key {name}",
            not open_to_others,
            f"{path} mode {mode:o}",
            f"run `chmod 600 {path}`" if open_to_others else "",
        )


async def _attention(to: RunningStack) -> list[Check]:
    """What runs, and what waits for a person."""
    from services.cli.verify import attention

    return [
        _told(
            f.name,
            f.ok and not (f.skipped and f.name != "programs"),
            f.skipped,
            f.offending,
            f.says,
        )
        for f in await attention.look(to)
    ]


def _told(name: str, ok: bool, skipped: str, offending: Sequence[str], says: str) -> Check:
    found = (
        ("not known" if not ok else skipped)
        if skipped
        else "; ".join(offending[:5]) or _NOTHING[name == "programs"]
    )
    return Check(name.replace("_", " "), ok, found, "" if ok else skipped or says)


_NOTHING: Final = {True: "all run and are ready", False: "none waits"}


async def _keys(to: RunningStack) -> list[Check]:
    return list(keys(to))


async def _postgres(to: RunningStack) -> list[Check]:
    from services.cli.connect import database
    from services.schema import migrations

    async with database(to) as conn:
        found = [Check("postgres", True, str(await conn.fetchval("SHOW server_version")))]
        found.append(await _locks(conn))
        there = await conn.fetchval("SELECT to_regclass('migrations.applied') IS NOT NULL")
        rows = (
            await conn.fetch("SELECT schema, name, checksum FROM migrations.applied")
            if there
            else []
        )
    applied = {(row["schema"], row["name"]): row["checksum"] for row in rows}
    scripts = migrations()
    differ = [m for m in scripts if applied.get((m.schema, m.name)) != m.checksum]
    missing = [
        f"{m.schema}/{m.name}" for m in differ if m.repeatable or (m.schema, m.name) not in applied
    ]
    changed = [
        f"{m.schema}/{m.name}" for m in differ if not m.repeatable and (m.schema, m.name) in applied
    ]
    found.append(
        Check(
            "migrations",
            not missing,
            f"{len(applied)} applied",
            f"run `crossborder migrate`: {', '.join(missing)} missing" if missing else "",
        )
    )
    if changed:
        found.append(
            Check(
                "migrations",
                False,
                f"{', '.join(changed)} changed since",
                "start with an empty database (`make clean`)",
            )
        )
    return found


async def _parties(to: RunningStack) -> list[Check]:
    """Who must sign what it says as a platform or carrier, and which platforms of open orders cannot."""
    from services.cli.access.parties import all_bound
    from services.cli.connect import database

    async with database(to) as conn:
        signing = [await conn.fetchval(_SIGNING.format(schema)) for schema in ("orders", "customs")]
        mute = [row["platform_code"] for row in await conn.fetch(_MUTE)] if all_bound(to) else []
    found = f"{signing[0]} platforms and {signing[1]} carriers sign what they say"
    if not all_bound(to):
        apart = "" if to.security.tells_apart else ", since the broker tells nobody apart"
        return [
            Check(
                "parties", True, f"{found}; every other is taken at its word{apart}: docs/access.md"
            )
        ]
    todo = (
        f"give {', '.join(mute)} a key with `crossborder access party add`: what they say is refused"
        if mute
        else ""
    )
    return [Check("parties", not mute, f"{found}; every other is refused", todo)]


_SIGNING: Final = "SELECT count(DISTINCT code) FROM {0}.party_key WHERE removed_at IS NULL"
_MUTE: Final = (
    "SELECT DISTINCT platform_code FROM orders.orders o WHERE ended_at IS NULL AND NOT EXISTS "
    "(SELECT FROM orders.party_key k WHERE k.code = o.platform_code AND k.removed_at IS NULL) ORDER BY 1 LIMIT 5"
)


async def _locks(conn: Any) -> Check:
    """Whether the server's lock table has room for the batches of all processes of services that are logged in now."""
    from services.schema import SERVICES
    from shared.database import POOL_MAX

    locks, connections = [
        int(await conn.fetchval(f"SHOW {name}"))
        for name in ("max_locks_per_transaction", "max_connections")
    ]
    roles = [f"crossborder_{service}" for service in SERVICES]
    processes = await conn.fetchval(
        "SELECT coalesce(sum(greatest(hosts, ceil(open::numeric / $2))), 0)::int FROM (SELECT count(*) AS open, "
        "count(DISTINCT coalesce(client_addr, '0.0.0.0')) AS hosts FROM pg_stat_activity WHERE usename = ANY($1::text[]) GROUP BY usename)",
        roles, POOL_MAX,
    )  # fmt: skip
    return locks_check(locks, connections, max(processes, len(SERVICES)), batch_records())


def locks_check(locks: int, connections: int, processes: int, batch: int) -> Check:
    """`max_locks_per_transaction` against what so many processes with batches of this size lock at once."""
    from shared.database import locks_wanted

    wanted = locks_wanted(processes, batch, connections)
    todo = (
        f"set max_locks_per_transaction of PostgreSQL to {wanted} or more and restart it"
        if locks < wanted
        else ""
    )
    return Check(
        "lock table",
        not todo,
        f"{locks} locks a connection, {processes} processes with batches of {batch}",
        todo,
    )


def batch_records() -> int:
    """CROSSBORDER_BATCH_RECORDS as the services have it, where this command has the same environment."""
    from pydantic import ValidationError

    from shared.settings import Settings

    try:
        return Settings().batch_records
    except ValidationError:
        return int(Settings.model_fields["batch_records"].default)


def partitions_check(counts: Mapping[str, int]) -> Check:
    """Whether each topic has the partitions it was made with. A key belongs to a partition by their number.

    Where some were added, services write to the first of them only, so an order's facts stay in order. A shop's client
    uses all: a command can be read before the order that it is about.
    """
    from shared.topics import PARTITIONS

    other = {name: count for name, count in sorted(counts.items()) if count != PARTITIONS}
    todo = (
        f"make these topics anew with {PARTITIONS} partitions, once nothing is unread and nobody writes; until then a "
        "cancellation may be read before its order: give its dead letter again with `crossborder dlq replay`"
    )
    found = (
        ", ".join(f"{name} has {count}" for name, count in other.items())
        or f"{PARTITIONS} of each topic"
    )
    return Check("partitions", not other, found, todo if other else "")


async def _kafka(to: RunningStack) -> list[Check]:
    from services.cli import topic_reader
    from services.cli.lag import lag_of
    from shared.topics import TOPICS

    counts = Counter(name for name, _ in await topic_reader.ends(to, [t.name for t in TOPICS]))
    there = set(counts)
    missing = [t.name for t in TOPICS if t.name not in there]
    found = [
        Check("kafka", True, to.kafka),
        Check(
            "topics",
            not missing,
            f"{len(there)} of {len(TOPICS)}",
            f"run `crossborder topics`: {', '.join(missing)} missing" if missing else "",
        ),
        partitions_check(counts),
    ]
    for service, behind in (await lag_of(to)).items():
        todo = f"look at the log of {service}: is it running?" if behind > LAG_MAX else ""
        found.append(Check(f"lag of {service}", behind <= LAG_MAX, f"{behind} records", todo))
    return found
