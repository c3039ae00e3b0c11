"""`publish --follow` waits for the end of all that was published and says at once what went wrong; requests are read before they go."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from typer.testing import CliRunner

from services.cli import publish
from services.cli.app import app
from services.cli.connect import RunningStack, Unreachable
from services.cli.order import app as order_app
from services.cli.order import follower, requests, steps
from services.cli.order.lookup import ENDS, STATES
from services.cli.submission_files import Submission
from services.orders.intake.commands import REASONS

ORDER = UUID(int=1)
TO = RunningStack("kafka", "postgres", "", Path())
HEADS = (("ce_type", b"return.requested.v1"),)


class Log:
    """A consumer of `orders.events` that is given one fact at a time."""

    def __init__(self) -> None:
        self.facts: list[bytes] = []

    async def getmany(self, **_: Any) -> dict[int, list[Any]]:
        await asyncio.sleep(0)
        return (
            {
                0: [
                    SimpleNamespace(
                        headers=[("ce_type", self.facts.pop(0))], key=str(ORDER).encode()
                    )
                ]
            }
            if self.facts
            else {}
        )


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    made = Log()

    async def enter(self: follower.Follower) -> follower.Follower:
        self._reader = made
        return self

    monkeypatch.setattr(follower.Follower, "__aenter__", enter)

    async def became(_to: RunningStack, ids: list[UUID], _ends: Any) -> dict[UUID, Any]:
        return {}

    monkeypatch.setattr(publish, "target", lambda: TO)
    monkeypatch.setattr(steps, "outcomes_of", became)
    return made


@contextlib.contextmanager
def sending(monkeypatch: pytest.MonkeyPatch, how: Callable[[], Any]) -> Iterator[None]:
    async def send(*_: Any) -> float:
        await how()
        return 1.0

    monkeypatch.setattr(publish, "send", send)
    yield


def submission(*, given_back: bool = False) -> list[Submission]:
    first = Submission("NO", ORDER, b"NO", b"{}", ())
    return (
        [first, Submission("NO", ORDER, b"NO", b"{}", HEADS, after_s=1.0)]
        if given_back
        else [first]
    )


async def followed(records: list[Submission], timeout_s: float = 60) -> dict[str, Any]:
    return await publish._publish(TO, records, None, True, timeout_s, show=False)


@pytest.mark.parametrize(
    ("answer", "end"),
    [
        (b"order.returned.v1", "returned"),
        (b"order.partly-returned.v1", "fulfilled"),
        (b"order.cancellation-refused.v1", "fulfilled"),
    ],
)
async def test_an_order_that_is_to_go_back_is_followed_to_the_answer(
    log: Log, monkeypatch: pytest.MonkeyPatch, answer: bytes, end: str
) -> None:
    log.facts = [b"order.fulfilled.v1", *[b"order.lodged.v1"] * 20, answer]
    with sending(monkeypatch, lambda: asyncio.sleep(0)):
        found = await followed(submission(given_back=True))
    assert (found["orders"], found["open"], log.facts) == (
        [{"order_no": "NO", "end": end, "became": None}],
        0,
        [],
    )


async def test_nothing_is_at_its_end_before_all_is_published(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.facts = [b"order.fulfilled.v1", *[b"order.lodged.v1"] * 20]

    async def until_read() -> None:
        while log.facts:  # noqa: ASYNC110
            await asyncio.sleep(0)

    with sending(monkeypatch, until_read):
        found = await followed(submission())
    assert (found["ends"], log.facts) == ({"fulfilled": 1}, [])


async def test_what_goes_wrong_while_publishing_is_said_at_once(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails() -> None:
        raise Unreachable("start the stack with `crossborder up`")

    with sending(monkeypatch, fails), pytest.raises(Unreachable):
        await asyncio.wait_for(followed(submission(), timeout_s=3600), 30)


@pytest.mark.usefixtures("log")
def test_a_record_that_names_no_order_is_published_and_nothing_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with sending(monkeypatch, lambda: asyncio.sleep(0)):
        done = CliRunner().invoke(app, ["publish", "--sample", "malformed", "--follow"])
    assert (done.exit_code, done.exception) == (0, None)


@pytest.mark.usefixtures("log")
def test_a_file_is_published_whole() -> None:
    done = CliRunner().invoke(
        app, ["publish", "--file", "docs/examples/orders.jsonl", "--count", "2"]
    )
    assert done.exit_code == 2


def test_the_command_names_the_reasons_that_are_shown() -> None:
    named = order_app.WHY.partition("; ")[0].removeprefix("why: ").replace(" or ", ", ").split(", ")
    assert tuple(named) == REASONS


@pytest.mark.parametrize(
    "request_",
    [
        ["return", "X", "--lines", ""],
        ["return", "X", "--lines", "0"],
        ["return", "X", "--lines", "1:0"],
    ],
)
def test_a_request_that_the_intake_would_set_aside_is_not_published(
    monkeypatch: pytest.MonkeyPatch, request_: list[str]
) -> None:
    """An empty list of lines, from an empty shell variable, would have asked for all of the order."""

    @contextlib.asynccontextmanager
    async def database(*_: Any) -> Any:
        yield None

    async def find(*_: Any, **__: Any) -> dict[str, str]:
        return {"order_no": "X", "platform_code": "1105910159"}

    def producer(*_: Any) -> Any:
        raise AssertionError("it was published")

    for name, instead in (
        ("target", lambda: TO),
        ("database", database),
        ("find", find),
        ("producer", producer),
    ):
        monkeypatch.setattr(requests, name, instead)
    done = CliRunner().invoke(app, ["order", *request_])
    assert done.exit_code == 2, done.output


FAULT = {
    "field": "lines[0].total",
    "rule": "is_product",
    "found": "1.00",
    "expected": "2.00",
    "code": "1332",
}
AT = datetime(2026, 11, 30, 9, tzinfo=UTC)


def test_the_faults_of_a_refused_order_are_told_and_that_its_number_is_used_up() -> None:
    lines = list(
        steps.lines_of("A-1", "rejected", {"state": "rejected", "faults": [FAULT], "steps": []})
    )
    assert lines == [
        "A-1  rejected",
        "  fault lines[0].total: is_product, found 1.00, expected 2.00 (1332)",
        "  mend it and send it under a new number: A-1 is used up",
    ]


def test_the_steps_of_an_accepted_order_are_told_with_how_long_each_took() -> None:
    rows = [
        {"at": AT + timedelta(seconds=after), "source": source, "type": kind}
        for after, source, kind in (
            (0, "orders", "order.placed.v1"),
            (1.25, "payments", "payment.captured.v1"),
        )
    ]
    found = {"state": "fulfilled", "faults": [], "steps": steps.steps(rows)}
    assert [" ".join(line.split()) for line in steps.lines_of("A-1", "fulfilled", found)] == [
        "A-1 fulfilled", "0.000 s +0.000 orders order.placed.v1", "1.250 s +1.250 payments payment.captured.v1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "code", "says"),
    [
        ("is_product", "1332", "mend it and send it under a new number: A-1 is used up"),
        ("bank_accepts", "AM04", "have the buyer pay another way and send it under a new number"),
        ("tax_accepts", "-621005", "by the limit that is named, and send it under a new number"),
        ("order_matches_payment", "47", "have the buyer pay in their own name"),
        ("order_matches_waybill", "-503001", "have the carrier book it again"),
        ("customs_accepts", "100", "mend it and send it under a new number"),
        ("customs_releases", "700", "take the goods back"),
        ("customs_releases", "502", "A-1 is not to be sent again under any number"),
        ("customs_releases", "599", "settle it with customs"),
    ],
)
def test_what_is_to_be_done_goes_by_what_was_refused(rule: str, code: str, says: str) -> None:
    first = {"field": "x", "rule": "is_product", "found": "1", "expected": "2"}
    faults = [first, first | {"rule": rule, "code": code}]
    assert says in str(steps.next_of("A-1", "rejected", faults))
    assert (
        says in list(steps.lines_of("A-1", "rejected", {"state": "rejected", "faults": faults}))[-1]
    )


def test_every_end_says_what_may_be_done_and_nothing_else_does() -> None:
    told = {state: steps.next_of("A-1", state, ()) for state in STATES}
    assert {state for state, said in told.items() if said} == set(ENDS)
    assert {state for state, said in told.items() if said and "under a new number" in said} == set(
        ENDS
    ) - {"fulfilled"}
    assert all("A-1" in said for said in told.values() if said)


def test_an_order_that_came_to_no_end_says_what_it_waits_for() -> None:
    held = {"state": "placed", "faults": [], "waits_for": ["waybill (a paper is missing)"]}
    assert list(steps.lines_of("A-1", None, held)) == [
        "A-1  open",
        "  waits for: waybill (a paper is missing)",
    ]
    assert "crossborder dlq list" in list(steps.lines_of("A-1", None, None))[1]
    assert list(steps.lines_of("A-1", "fulfilled", None)) == ["A-1  fulfilled"]


@pytest.mark.parametrize(
    ("end", "state", "verdict", "says"),
    [
        ("exists", "rejected", "exists_with_different_lines", True),
        ("exists", "rejected", "exists", True),
        ("exists", "fulfilled", "exists_with_different_buyer", True),
        ("exists", "fulfilled", "exists", False),
        ("rejected", "rejected", None, True),
        ("fulfilled", "fulfilled", None, False),
        ("cancelled", "cancelled", None, False),
    ],
)
def test_a_new_number_is_advised_where_the_old_one_is_used_up(
    end: str, state: str, verdict: str | None, says: bool
) -> None:
    said = steps.what_to_send("A-1", end, {"state": state, "verdict": verdict, "faults": []})
    assert (said is not None and "under a new number" in said) is says
