"""`crossborder publish`: orders from samples or a file onto the topic, followed to their end."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import typer

from services.cli.connect import Exit, Target, Wrong, as_json, leave, producer, run, say, target

SUBMITTED: Final = "order.submitted.v1"
RETURN_REQUESTED: Final = b"return.requested.v1"
AWAITED_MAX: Final = 2000
"""Sends that are not awaited yet: enough for full batches, few enough that memory stays flat."""
FILE_BYTES_MAX: Final = 512 * 1024 * 1024
HEADERS_BYTES: Final = 1024
"""Room for a record's key and headers."""


@dataclass(frozen=True)
class Submission:
    """One record for `orders.submissions`. `order_id` is None where the value does not say which order it
    is.
    """

    order_no: str
    order_id: UUID | None
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    after_s: float = 0.0


def register(app: typer.Typer) -> None:
    app.command()(publish)


def publish(
    sample: str | None = typer.Option(None, "--sample", help="kind of sample order; a wrong name lists them all"),
    count: int | None = typer.Option(None, min=1, max=5_000_000, help="how many sample orders  [default: 1]"),
    rate: float | None = typer.Option(None, min=0.01, help="orders a second; as fast as the broker takes them by default"),
    file: Path | None = typer.Option(None, help="submissions, one JSON object a line (.jsonl), or a CEB311Message (.xml)"),
    sign: Path | None = typer.Option(None, help="sign each record with this private key of a bound platform (PEM)"),
    follow: bool = typer.Option(False, "--follow", "-f", help="wait until each is at its end, and show it"),
    timeout: float = typer.Option(120.0, min=1, help="with --follow: most seconds to wait"),
    seed: int | None = typer.Option(None, help="the same seed makes the same orders; by default each run makes others"),
    json: bool = typer.Option(False, "--json", help="for machines"),
) -> None:
    """Publish orders to the topic `orders.submissions`."""
    if file is not None and (sample is not None or seed is not None or count is not None):
        raise Wrong("give either --file, which is published whole, or --sample, --count and --seed")
    from services.cli import samples

    records = from_file(file) if file is not None else samples.samples(sample, count or 1, seed)
    if sign is not None:
        records = signed(records, sign)
    found = run(_publish(target(), records, rate, follow, timeout, show=not json))
    if json:
        as_json(found)
    else:
        for row in found["orders"][:1000] if follow else ():
            print(f"{row['order_no']}  {row['end'] or 'open'}")
        say(f"published {found['published']} records in {found['seconds']:.2f} s ({found['per_second']:.0f} a second)")
        if follow:
            say(", ".join(f"{n} {end}" for end, n in sorted(found["ends"].items())) or "none came to an end")
    if follow and found["open"]:
        for told in run(_held_back(target())):
            say(told)
        leave(Exit.NO)


async def _held_back(to: Target) -> list[str]:
    """Why some may be open still: a transaction of somebody's that is not ended stands in front of them."""
    from services.cli import reading
    from shared.topics import TOPICS

    return await reading.held_back(to, [topic.name for topic in TOPICS if topic.readers])


def signed(records: Sequence[Submission], key: Path) -> list[Submission]:
    """The records with the signature of a platform's key; raises Wrong if it is none."""
    from services.cli.parties import private_key
    from shared.envelope import first_headers
    from shared.parties import sign

    private = private_key(key)
    return [
        replace(r, headers=(*r.headers, sign(private, first_headers(r.headers).get("ce_type", b""), r.value))) for r in records
    ]


def submission_of(order_no: str, order_id: UUID | None, value: bytes, content_type: bytes | None = None) -> Submission:
    """The record of a submission, with the headers of a shop that knows CloudEvents."""
    from shared.envelope import CONTENT_TYPE_JSON, headers_of
    from shared.outbox import utc_now

    headers = headers_of(
        event_id=uuid4(),
        event_type=SUBMITTED,
        source="crossborder-cli",
        at=utc_now(),
        content_type=content_type or CONTENT_TYPE_JSON,
    )
    return Submission(order_no, order_id, order_no.encode() or None, value, headers)


def from_file(path: Path) -> list[Submission]:
    """The submissions of a file; raises Wrong naming the line that is none."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise Wrong(f"split {path}: it is larger than {FILE_BYTES_MAX // 1024 // 1024} MiB")
        content = path.read_bytes()
    except OSError as error:
        raise Wrong(f"give a file that can be read: {path} ({error.strerror})") from None
    if content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return [_of_xml(content, str(path))]
    lines = [(n, line) for n, line in enumerate(content.splitlines(), 1) if line.strip()]
    if not lines:
        raise Wrong(f"put orders into {path}: it is empty")
    return [_of_json(line, f"line {n} of {path}") for n, line in lines]


def _require_small(value: bytes, where: str) -> None:
    from shared.topics import MESSAGE_BYTES_MAX

    if len(value) > MESSAGE_BYTES_MAX - HEADERS_BYTES:
        raise Wrong(
            f"make {where} smaller: a record has at most {MESSAGE_BYTES_MAX} bytes, this one {len(value)} and its headers"
        )


def _of_json(value: bytes, where: str) -> Submission:
    import orjson

    from shared.identity import order_id_of

    _require_small(value, where)
    try:
        found = orjson.loads(value)
        order_no, platform = found["order_no"], found["platform"]["code"]
    except (ValueError, KeyError, TypeError) as error:
        kind = "is not JSON" if isinstance(error, ValueError) else "has no order_no and platform.code"
        raise Wrong(f"mend {where}: it {kind}; see the submission in README.md") from None
    if not isinstance(order_no, str) or not isinstance(platform, str):
        raise Wrong(f"mend {where}: order_no and platform.code must be strings")
    return submission_of(order_no, order_id_of(platform, order_no), value)


def _of_xml(content: bytes, where: str) -> Submission:
    from shared.envelope import CONTENT_TYPE_XML
    from shared.errors import Unprocessable
    from shared.identity import order_id_of
    from shared.xml import parse_untrusted

    _require_small(content, where)
    try:
        root = parse_untrusted(content)
    except Unprocessable as error:
        raise Wrong(f"mend {where}: {error}") from None
    if not str(root.tag).endswith("}CEB311Message") and root.tag != "CEB311Message":
        raise Wrong(f"give a CEB311Message: the root of {where} is {str(root.tag).rpartition('}')[2]}")
    order_no, platform = (root.findtext(f".//{{*}}{name}") or "" for name in ("orderNo", "ebpCode"))
    if not order_no or not platform:
        raise Wrong(f"mend {where}: it has no orderNo or no ebpCode")
    return submission_of(order_no, order_id_of(platform, order_no), content, CONTENT_TYPE_XML)


async def send(to: Target, records: Sequence[Submission], rate: float | None, sent: Callable[[int], None]) -> float:
    """Publish all of them, at `rate` a second if given; returns the seconds it took until the last
    acknowledgement.
    """
    from shared.topics import SUBMISSIONS, named

    topic = named(SUBMISSIONS, to.prefix)
    async with producer(to) as out:
        await out.partitions_for(topic)
        began = time.monotonic()
        awaited: set[asyncio.Future[Any]] = set()
        for n, r in enumerate(sorted(records, key=lambda r: r.after_s)):
            due = began + max(r.after_s, n / rate if rate is not None else 0.0)
            if (early := due - time.monotonic()) > 0:
                await asyncio.sleep(early)
            awaited.add(await out.send(topic, value=r.value, key=r.key, headers=list(r.headers)))
            if len(awaited) >= AWAITED_MAX:
                done, awaited = await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
                for ack in done:
                    ack.result()
            sent(n + 1)
        await asyncio.gather(*awaited)
        return time.monotonic() - began


async def _publish(
    to: Target,
    records: Sequence[Submission],
    rate: float | None,
    follow: bool,
    timeout_s: float,
    *,
    show: bool,
) -> dict[str, Any]:
    from services.cli.following import Follower

    wanted = {r.order_id: r.order_no for r in records if r.order_id is not None}
    if not follow:
        with progress(len(records), "published", show) as advance:
            seconds = await send(to, records, rate, advance)
        return _result(records, seconds, None)
    given_back = {r.order_id for r in records if r.order_id is not None and ("ce_type", RETURN_REQUESTED) in r.headers}
    async with Follower(to, wanted, given_back) as follower:
        with progress(len(wanted), "at their end", show) as advance:
            publishing = asyncio.create_task(send(to, records, rate, lambda _n: None))
            try:
                await follower.follow(timeout_s, advance, busy=lambda: _is_under_way(publishing))
            finally:
                publishing.cancel()
            seconds = await publishing
    return _result(records, seconds, {wanted[i]: follower.ends.get(i) for i in wanted})


def _is_under_way(publishing: asyncio.Task[float]) -> bool:
    """Whether records are still being published; raises what went wrong, at once: nobody waits for what was never sent."""
    if publishing.done():
        publishing.result()
    return not publishing.done()


def _result(records: Sequence[Submission], seconds: float, ends: dict[str, str | None] | None) -> dict[str, Any]:
    """What `--json` says. `ends`: of the orders that were followed, None if none was to be."""
    followed = ends or {}
    rows: list[dict[str, str | None]] = [{"order_no": no, "end": end} for no, end in followed.items()]
    return {
        "published": len(records),
        "seconds": round(seconds, 3),
        "per_second": round(len(records) / seconds, 1) if seconds else 0.0,
        "orders": rows if ends is not None else [{"order_no": r.order_no} for r in records[:1000]],
        "ends": dict(Counter(end for end in followed.values() if end)),
        "open": sum(1 for end in followed.values() if end is None),
    }


@contextmanager
def progress(total: int, what: str, show: bool) -> Iterator[Callable[[int], None]]:
    """A live bar on stderr, where there is somebody to see it; what it yields takes how many are done."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from services.cli.connect import talk

    console = talk()
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
