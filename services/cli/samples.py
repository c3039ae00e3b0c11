"""Sample orders as records: of one kind for `publish` and `bench`, of every kind for the demo."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import typer

from services.cli.connect import UsageError, as_json, did_you_mean, print_err, stdout
from services.cli.submission_files import Submission, submission_of
from shared.clock import BEIJING

if TYPE_CHECKING:
    from deploy.samples import Case, Kind


def register(app: typer.Typer) -> None:
    app.command("samples")(list_samples)


def list_samples(json: bool = typer.Option(False, "--json", help="for machines")) -> None:
    """List the sample orders: goods, and kinds of days.

    `crossborder publish --sample NAME --follow` publishes one and follows it to its end.
    """
    rows = sample_rows()
    if json:
        as_json(rows)
        return
    from rich.table import Table

    table = Table("sample", "what", "what it is", box=None)
    for row in rows:
        table.add_row(row["name"], row["what"], row["title"])
    stdout().print(table)
    print_err("next: `crossborder publish --sample NAME --follow`")


def sample_rows() -> list[dict[str, str]]:
    from deploy.samples import KINDS, SAMPLES

    goods = [{"name": name, "what": "goods", "title": name.replace("_", " ")} for name in SAMPLES]
    return goods + [
        {"name": name, "what": "kind", "title": kind.title} for name, kind in KINDS.items()
    ]


CASE_NUMBERS: Final = 10
"""Most order numbers of one case."""
SHARE_OF_KINDS: Final = 40
"""The demo rehearses every kind once for so many orders; the other orders are released."""


@dataclass(frozen=True)
class Cast:
    """One order of the demo: its kind, case and right ends; `bill` and `verdict` where they matter.

    `verdict`: how a person settles the order's case.
    """

    kind: str
    title: str
    order_no: str
    expected: tuple[str, ...]
    case: int
    bill: str | None = None
    verdict: str | None = None


@dataclass(frozen=True)
class Step:
    """One record of the demo: published after `delay_s`, or once its order is in a state `when`.

    `once`: published when this type is on the order's timeline.
    """

    order_no: str
    record: Submission
    delay_s: float
    when: tuple[str, ...] | None
    once: str | None = None

    @property
    def is_timed(self) -> bool:
        return self.when is None and self.once is None

    def is_due(self, elapsed_s: float, state: str | None, types: Collection[str]) -> bool:
        if self.once is not None:
            return self.once in types
        return elapsed_s >= self.delay_s if self.when is None else state in self.when


@dataclass(frozen=True)
class Play:
    """Everything the demo publishes. `counts`: orders by end of a case, where only that is sure."""

    casts: tuple[Cast, ...]
    steps: tuple[Step, ...]
    counts: dict[int, dict[str, int]]


async def timeline_types_of(conn: Any, steps: Iterable[Step]) -> dict[str, set[str]]:
    awaited = {s.order_no: s.once for s in steps if s.once is not None}
    types_by_no: dict[str, set[str]] = {}
    if awaited:
        rows = await conn.fetch(
            "SELECT DISTINCT order_no, type FROM orders.orders JOIN orders.timeline USING "
            "(order_id) "
            "WHERE order_no = ANY($1) AND type = ANY($2)",
            list(awaited),
            list({*awaited.values()}),
        )
        for row in rows:
            types_by_no.setdefault(row["order_no"], set()).add(row["type"])
    return types_by_no


def now() -> datetime:
    return datetime.now(BEIJING).replace(microsecond=0)


def samples(sample: str | None, count: int, seed: int | None) -> list[Submission]:
    """Return `count` orders of a sample or kind, or of all plain samples in turn.

    Raises UsageError for an unknown sample.
    """
    from deploy.samples import KINDS, SAMPLES, case_of, plain, submission

    seed = secrets.randbits(31) if seed is None else seed
    how = {"seed": seed, "prefix": f"CLI{seed}", "at": now()}
    if sample is None:
        return [_of(made) for made in plain(count, **how)]  # type: ignore[arg-type]
    if sample in SAMPLES:
        return [_of(submission(sample, n, **how)) for n in range(1, count + 1)]  # type: ignore[arg-type]
    if sample in KINDS:
        return list(_records(case_of(sample, 1 + n * CASE_NUMBERS, **how) for n in range(count)))  # type: ignore[arg-type]
    near = did_you_mean(sample, [*SAMPLES, *KINDS])
    raise UsageError(f"unknown sample {sample!r}; {near}`crossborder samples` lists all")


def _of(made: dict[str, object]) -> Submission:
    import orjson

    from shared.identity import order_id_of

    platform = made["platform"]
    assert isinstance(platform, dict)
    order_no = str(made["order_no"])
    return submission_of(order_no, order_id_of(platform["code"], order_no), orjson.dumps(made))


def _records(cases: Iterator[Case]) -> Iterator[Submission]:
    for case in cases:
        for r in case.records:
            yield Submission(
                r.order_no, case.orders[r.order_no], r.key, r.value, r.headers, after_s=r.delay_s
            )


def _unattended(kinds: Mapping[str, Kind]) -> dict[str, Kind]:
    return {name: kind for name, kind in kinds.items() if kind.verdict_of_person is None}


def of_demo(orders: int, seed: int | None, *, attended: bool = True) -> Play:
    """Return at least `orders` orders of every kind; `attended`: also those a person settles."""
    from deploy.samples import KINDS, case_of

    kinds = KINDS if attended else _unattended(KINDS)
    seed = secrets.randbits(31) if seed is None else seed
    at = now()
    casts: list[Cast] = []
    steps: list[Step] = []
    counts: dict[int, dict[str, int]] = {}
    rounds = max(1, orders // SHARE_OF_KINDS)
    number = 0
    while number < rounds * len(kinds) or len(casts) < orders:
        kind = list(kinds)[number % len(kinds)] if number < rounds * len(kinds) else "released"
        case = case_of(kind, 1 + number * CASE_NUMBERS, seed=seed, at=at)
        of = kinds[kind]
        casts += [
            Cast(kind, of.title, no, case.ends[no], number, of.bill, of.verdict_of_person)
            for no in case.orders
        ]
        for record, r in zip(_records(iter([case])), case.records, strict=True):
            steps.append(Step(r.order_no, record, r.delay_s, r.when, r.once))
        if case.counts:
            counts[number] = case.counts
        number += 1
    return Play(tuple(casts), tuple(steps), counts)
