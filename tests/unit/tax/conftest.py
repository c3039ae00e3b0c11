"""The rules of the release are parsed and compiled once for all tests here, not anew by each command they run."""

from __future__ import annotations

import pickle
import tomllib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pytest

from services.tax.rulebook import files as rule_files
from services.tax.rulebook.book import Rulebook
from services.tax.rulebook.rule_set import RuleSet

BOOKS_MAX = 4
"""A compiled set takes some megabytes, and most that a test changes are asked once."""


@pytest.fixture(scope="package", autouse=True)
def rules_are_read_once() -> Iterator[None]:
    """The same text says the same: each reader gets a document of its own, and one compiled set, which nobody changes."""
    loads, books = tomllib.loads, dict[frozenset[tuple[str, str]], Rulebook]()

    @lru_cache(maxsize=1024)
    def parsed(text: str) -> bytes:
        return pickle.dumps(loads(text))

    def compiled(rules: RuleSet) -> Rulebook:
        said = frozenset(rules.texts.items())
        book = books.get(said) or Rulebook(rules)
        if said not in books and len(books) == BOOKS_MAX:
            del books[next(iter(books))]
        books.pop(said, None)
        books[said] = book
        return book

    def read(text: str) -> Any:
        return pickle.loads(parsed(text))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tomllib, "loads", read)
        patched.setattr(rule_files, "Rulebook", compiled)
        yield
