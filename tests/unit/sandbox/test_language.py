"""The page of the language says what the table says."""

from __future__ import annotations

from pathlib import Path

from sandbox.language import LANGUAGE, page


def test_the_page_is_written_from_the_table() -> None:
    path = Path(__file__).resolve().parents[3] / "docs" / "sandbox.md"
    assert path.read_text(encoding="utf-8") == page(), (
        "run `python -m sandbox.language > docs/sandbox.md`"
    )


def test_a_word_stands_once_for_each_party() -> None:
    pairs = [(row.party, row.word) for row in LANGUAGE]
    assert len(pairs) == len(set(pairs))
