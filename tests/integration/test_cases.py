"""One case is open for each kind and subject, whoever meets it how often; a settled one stays settled."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from shared import cases, metrics
from shared.cases import Case


async def test_a_case_met_again_is_one_case_with_the_newest_details(tally_pool: Any) -> None:
    order_id = uuid4()
    async with tally_pool.acquire() as conn:
        await cases.open_all(conn, [Case("odd", "a", order_id, {"n": 1}), Case("odd", "b")])
        await cases.open_all(
            conn, [Case("odd", "a", order_id, {"n": 2}), Case("odd", "a", order_id, {"n": 3})]
        )
        found = await cases.fetch(conn)
        assert [(c.subject, c.times, c.details) for c in found] == [
            ("a", 2, {"n": 3}),
            ("b", 1, {}),
        ]
        assert [c.subject for c in await cases.open_for(conn, [order_id])] == ["a"]


async def test_a_settled_case_opens_again_with_other_details_only(tally_pool: Any) -> None:
    async with tally_pool.acquire() as conn:
        await cases.open_all(conn, [Case("odd", "a", None, {"n": 1})])
        [case] = await cases.fetch(conn)
        assert await cases.close(
            conn, case.number, verdict="settled", note="the bank paid", by="ops"
        )
        assert not await cases.close(
            conn, case.number, verdict="settled", note="the bank paid", by="ops"
        )
        await cases.open_all(conn, [Case("odd", "a", None, {"n": 1})])
        assert await cases.fetch(conn) == []
        await cases.open_all(conn, [Case("odd", "a", None, {"n": 2})])
        assert [c.details for c in await cases.fetch(conn)] == [{"n": 2}]
        assert len(await cases.fetch(conn, open_only=False)) == 2


@pytest.mark.parametrize("note", ["", "  ", "x" * 2001])
async def test_a_case_is_closed_with_a_reason(tally_pool: Any, note: str) -> None:
    async with tally_pool.acquire() as conn:
        await cases.open_all(conn, [Case("odd", "a")])
        with pytest.raises(ValueError, match="say why in a note"):
            await cases.close(conn, 1, verdict="settled", note=note, by="ops")


async def test_two_workers_open_the_same_cases_at_once(tally_pool: Any) -> None:
    subjects = [f"s{n}" for n in range(40)]

    async def work(order: list[str]) -> None:
        for _ in range(5):
            async with tally_pool.acquire() as conn, conn.transaction():
                await cases.open_all(conn, [Case("odd", subject) for subject in order])

    await asyncio.gather(work(subjects), work(subjects[::-1]), work(subjects[20:] + subjects[:20]))
    async with tally_pool.acquire() as conn:
        found = await cases.fetch(conn)
    assert {c.times for c in found} == {15}
    assert len(found) == 40


async def test_the_gauges_count_open_cases_by_kind(
    tally_pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(metrics.CASES_OPEN._sets, "kind", frozenset({"odd"}))
    async with tally_pool.acquire() as conn:
        await cases.open_all(conn, [Case("odd", "a"), Case("odd", "b")])
        await cases.measure(conn, "tax", {"odd": "Ask."})
        assert metrics.CASES_OPEN.labels("tax", "odd")._value.get() == 2
        for number in (1, 2):
            await cases.close(conn, number, verdict="settled", note="asked", by="ops")
        await cases.measure(conn, "tax", {"odd": "Ask."})
        assert metrics.CASES_OPEN.labels("tax", "odd")._value.get() == 0
        assert metrics.CASES_OLDEST.labels("tax")._value.get() == 0


async def test_an_open_case_has_no_verdict_and_a_closed_one_has_a_note(tally_pool: Any) -> None:
    async with tally_pool.acquire() as conn:
        await cases.open_all(conn, [Case("odd", "a")])
        for wrong in (
            "closed_at = now()",
            "verdict = 'done'",
            "closed_at = now(), verdict = 'done', note = '', closed_by = 'x'",
        ):
            with pytest.raises(asyncpg.CheckViolationError):
                await conn.execute(f"UPDATE cases SET {wrong}")
