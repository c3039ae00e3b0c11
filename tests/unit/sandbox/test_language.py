"""The table of the language names each word once for each party."""

from __future__ import annotations

from sandbox.language import LANGUAGE


def test_a_word_stands_once_for_each_party() -> None:
    pairs = [(row.party, row.word) for row in LANGUAGE]
    assert len(pairs) == len(set(pairs))
