"""Every row of the sandboxes' language is played to the end that its table tells, by all four services."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from sandbox.language import LANGUAGE, RETURNS, Phrase
from services.customs.ceb import codes
from tests.integration.test_reactions import LATER, RETURN, Cast, Story, play, played_in

OPEN: Final = ("placed", "lodged")
ENDS: Final = ("fulfilled", "rejected")
# A word that stands beside another, and the return that the goods of an order come back by.
BESIDE: Final = {"again": "return.again"}


def story_of(row: Phrase) -> Story:
    end = re.match(r"stays open|\w+", row.end)
    assert end, row
    marker = "" if row.party == "bank" else BESIDE.get(row.word, row.word)
    return Story(
        "cherries",
        end[0],
        set(),
        token=row.word if row.party == "bank" else "tok_ok",
        marker=marker,
    )


async def test_every_word_of_the_language_ends_as_its_row_says(database: str, keys: Path) -> None:
    async with played_in(database, keys) as cast:
        cast.submit([story_of(row) for row in LANGUAGE])
        await play(cast, cast.world.settle_down)
        found = await _ends(cast)
        for row, made in zip(LANGUAGE, cast.made, strict=True):
            state, faults = found[made["order_no"]]
            expected = story_of(row).end
            assert state in (OPEN if expected == "stays open" else (expected,)), (
                row,
                state,
                faults,
            )
            assert expected in (*ENDS, "stays open"), row
            for code in re.findall(r"-?\d{4,}", row.end):
                assert codes.error(code), f"{row.word}: {code} is in no list"
                assert f'"{code}"' in faults, (row, faults)
        assert await cast.world.broken() == {}


async def test_every_word_on_a_return_ends_as_its_row_says(database: str, keys: Path) -> None:
    # Goods that never come are waited for until long after this story (test_overdue.py).
    ends = {
        "": "returned",
        "back_late": "returned",
        "back_never": "withdrawing",
        "back_refused": "fulfilled",
    }
    assert set(ends) == {row.word for row in RETURNS}
    async with played_in(database, keys) as cast:
        cast.submit(
            [
                Story("cherries", ends[row.word], set(), marker=row.word, then=(LATER, RETURN))
                for row in RETURNS
            ]
        )
        await play(cast, cast.world.settle_down)
        assert await cast.wrong() == {}


async def _ends(cast: Cast) -> dict[str, tuple[str, str]]:
    rows = await cast.world.admin.fetch(
        "SELECT order_no, state, doc ->> 'faults' AS faults FROM orders.orders"
    )
    return {row["order_no"]: (row["state"], row["faults"] or "") for row in rows}
