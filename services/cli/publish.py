"""`crossborder publish`: orders from samples or a file onto the topic, followed to their end."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import typer

from services.cli.connect import (
    Exit,
    RunningStack,
    Unreachable,
    UsageError,
    as_json,
    exit_with,
    print_err,
    producer,
    run,
    target,
)
from services.cli.order import steps
from services.cli.submission_files import Submission, read_file

SHOWN_MAX: Final = 1000
RETURN_REQUESTED: Final = b"return.requested.v1"
LOOKED_AT: Final = 1000
"""Records whose signature is checked before any is published; a file is mostly one platform's."""
AWAITED_MAX: Final = 2000
"""Most sends under way: enough for full batches, with flat memory."""


def register(app: typer.Typer) -> None:
    app.command()(publish)


def publish(
    sample: str | None = typer.Option(
        None, "--sample", help="sample order; `crossborder samples` lists all"
    ),
    count: int | None = typer.Option(
        None, min=1, max=5_000_000, help="how many sample orders  [default: 1]"
    ),
    rate: float | None = typer.Option(
        None, min=0.01, help="orders a second; as fast as the broker takes them by default"
    ),
    file: Path | None = typer.Option(
        None,
        help="orders in JSON (one document, an array, or one a line) or a CEB311Message; `-` is "
        "stdin",
    ),
    sign: Path | None = typer.Option(
        None,
        help="sign with this private key of a platform (PEM); else with CROSSBORDER_PARTY_KEY_FILE",
    ),
    follow: bool = typer.Option(
        False, "--follow", "-f", help="wait until each is at its end, and show it"
    ),
    timeout: float = typer.Option(120.0, min=1, help="with --follow: most seconds to wait"),
    seed: int | None = typer.Option(
        None, help="the same seed makes the same orders; by default each run makes others"
    ),
    json: bool = typer.Option(False, "--json", help="for machines"),
) -> None:
    """Publish orders to the topic `orders.submissions`.

    `crossborder samples` lists the sample orders.
    With --follow the command waits until each order is at its end, and prints its steps.
    """
    records = _records(file, sample, count, seed)
    if sign is not None:
        records = signed(records, sign)
    to = target()
    run(_require_heard(to, records))
    result = run(_publish(to, records, rate, follow, timeout, show=not json))
    if json:
        as_json(result)
    else:
        _show(result, follow)
    if follow and result["open"]:
        for line in run(_held_back(target())):
            print_err(line)
        exit_with(Exit.NO)


def _records(
    file: Path | None, sample: str | None, count: int | None, seed: int | None
) -> list[Submission]:
    from services.cli import samples

    if file is None:
        return samples.samples(sample, count or 1, seed)
    if any(option is not None for option in (sample, seed, count)):
        raise UsageError(
            "give either --file, which is published whole, or --sample, --count and --seed"
        )
    return read_file(file)


def _show(result: Mapping[str, Any], follow: bool) -> None:
    for row in result["orders"][:SHOWN_MAX] if follow else ():
        for line in steps.lines_of(str(row["order_no"]), row["end"], row["became"]):
            print(line)
    print_err(
        f"published {result['published']} records in {result['seconds']:.2f} s "
        f"({result['per_second']:.0f} a second)"
    )
    if follow:
        ends = ", ".join(f"{n} {end}" for end, n in sorted(result["ends"].items()))
        print_err(ends or "no order is at its end")


async def _held_back(to: RunningStack) -> list[str]:
    from services.cli import topic_reader
    from shared.topics import TOPICS

    return await topic_reader.held_back(to, [topic.name for topic in TOPICS if topic.readers])


def signed(records: Sequence[Submission], key: Path) -> list[Submission]:
    """Return the records signed with a platform's key; raise UsageError for a faulty key."""
    from services.cli.access.parties import private_key
    from shared.envelope import first_headers
    from shared.parties import sign

    private = private_key(key)
    return [
        replace(
            r,
            headers=(
                *r.headers,
                sign(private, first_headers(r.headers).get("ce_type", b""), r.value),
            ),
        )
        for r in records
    ]


async def _require_heard(to: RunningStack, records: Sequence[Submission]) -> None:
    """Raise UsageError for a record that would be refused for its signature.

    Whoever follows such a record would wait in vain.
    """
    from services.cli.access.parties import all_bound
    from services.cli.connect import database
    from services.orders.intake.decoding import read_submission
    from shared.envelope import Record
    from shared.errors import Unprocessable
    from shared.parties import Parties, key_of, signed_headers
    from shared.topics import SUBMISSIONS

    known = Parties(all_bound=all_bound(to))
    try:
        async with database(to) as conn:
            await conn.execute("SET search_path = orders")
            await known.load(conn)
    except Unreachable:
        return  # Kafka takes records without the database; their outcome is seen once it is back
    key = key_of(to.party_pem) if to.party_pem else None
    for r in records[:LOOKED_AT]:
        headers = tuple(signed_headers(key, r.headers, r.value))
        try:
            codes = {each.platform_code for each in read_submission(r.value, headers)}
            known.require(Record(SUBMISSIONS, 0, 0, 0, r.key, r.value, headers), codes)
        except Unprocessable as error:
            if error.reason == "signature":  # any other fault is for the service to tell
                raise UsageError(
                    f"{error}; `--sign KEY.pem` does so. Nothing was published"
                ) from None


async def send(
    to: RunningStack, records: Sequence[Submission], rate: float | None, sent: Callable[[int], None]
) -> float:
    """Publish all records, at `rate` a second if given, signed if there is a key.

    Returns the seconds until the last acknowledgement.
    """
    from shared.parties import key_of, signed_headers
    from shared.topics import SUBMISSIONS, named

    topic = named(SUBMISSIONS, to.prefix)
    key = key_of(to.party_pem) if to.party_pem else None
    async with producer(to) as out:
        await out.partitions_for(topic)
        began = time.monotonic()
        awaited: set[asyncio.Future[Any]] = set()
        for n, r in enumerate(sorted(records, key=lambda r: r.after_s)):
            due = began + max(r.after_s, n / rate if rate is not None else 0.0)
            if (early := due - time.monotonic()) > 0:
                await asyncio.sleep(early)
            awaited.add(
                await out.send(
                    topic,
                    value=r.value,
                    key=r.key,
                    headers=list(signed_headers(key, r.headers, r.value)),
                )
            )
            if len(awaited) >= AWAITED_MAX:
                done, awaited = await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
                for ack in done:
                    ack.result()
            sent(n + 1)
        await asyncio.gather(*awaited)
        return time.monotonic() - began


async def _publish(
    to: RunningStack,
    records: Sequence[Submission],
    rate: float | None,
    follow: bool,
    timeout_s: float,
    *,
    show: bool,
) -> dict[str, Any]:
    from services.cli.order.follower import Follower

    wanted = {r.order_id: r.order_no for r in records if r.order_id is not None}
    if not follow:
        with progress(len(records), "published", show) as advance:
            seconds = await send(to, records, rate, advance)
        return _result(records, seconds, None)
    given_back = {
        r.order_id
        for r in records
        if r.order_id is not None and ("ce_type", RETURN_REQUESTED) in r.headers
    }
    async with Follower(to, wanted, given_back) as follower:
        with progress(len(wanted), "at their end", show) as advance:
            publishing = asyncio.create_task(send(to, records, rate, lambda _n: None))
            try:
                await follower.follow(timeout_s, advance, busy=lambda: _is_under_way(publishing))
            finally:
                publishing.cancel()
            seconds = await publishing
    became = await steps.outcomes_of(to, list(wanted), follower.ends) if wanted else {}
    rows = [
        {"order_no": no, "end": follower.ends.get(i), "became": became.get(i)}
        for i, no in wanted.items()
    ]
    return _result(records, seconds, rows)


def _is_under_way(publishing: asyncio.Task[float]) -> bool:
    """Return whether records are still being published; raise its error at once."""
    if publishing.done():
        publishing.result()
    return not publishing.done()


def _result(
    records: Sequence[Submission], seconds: float, followed: list[dict[str, Any]] | None
) -> dict[str, Any]:
    """Return what `--json` prints; `followed` is None if no order was followed."""
    ends = [row["end"] for row in followed or ()]
    return {
        "published": len(records),
        "seconds": round(seconds, 3),
        "per_second": round(len(records) / seconds, 1) if seconds else 0.0,
        "orders": [{"order_no": r.order_no} for r in records[:SHOWN_MAX]]
        if followed is None
        else followed,
        "ends": dict(Counter(end for end in ends if end)),
        "open": sum(1 for end in ends if end is None),
    }


@contextmanager
def progress(total: int, what: str, show: bool) -> Iterator[Callable[[int], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from services.cli.connect import stderr

    console = stderr()
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not (show and console.is_terminal),
    )
    task = bar.add_task(what, total=total)
    with bar:
        yield lambda done: bar.update(task, completed=done)
