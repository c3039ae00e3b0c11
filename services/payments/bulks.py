"""How items go in bulks: those whose bulk failed before go in smaller ones, at last alone."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

Item = Mapping[str, Any]
"""One operation as sent; its `key` is the idempotency key."""

BULK_BYTES_MAX: Final = 512 * 1024
"""Bytes of the items of one request as sent."""
ALONE_MAX: Final = 3
"""Failures alone after which an item is the cause, if the bank answered others since."""
TROUBLES_MAX: Final = 50_000


@dataclass
class _Trouble:
    """A key whose bulk failed: since when, its largest bulk now, and its failures alone."""

    since: float
    size: int
    alone: int = 0


class Troubles:
    """The keys whose bulk failed before; without them the first failing item would block a lane."""

    def __init__(self) -> None:
        self._by_key: dict[str, _Trouble] = {}

    def bulks(self, keys: Sequence[str], size: int) -> list[list[str]]:
        """Split keys into bulks of at most `size`; keys whose bulk failed go in smaller ones."""
        by_size: dict[int, list[str]] = defaultdict(list)
        for key in keys:
            trouble = self._by_key.get(key)
            by_size[size if trouble is None else min(size, trouble.size)].append(key)
        return [
            same_size[at : at + most]
            for most, same_size in by_size.items()
            for at in range(0, len(same_size), most)
        ]

    def add(self, keys: Sequence[str]) -> None:
        if len(self._by_key) > TROUBLES_MAX:
            self._by_key.clear()
        for key in keys:
            trouble = self._by_key.setdefault(key, _Trouble(time.monotonic(), len(keys)))
            trouble.size = max(1, min(trouble.size, len(keys)) // 2)

    def is_poison(self, key: str, answered_at: float) -> bool:
        """Count a failure alone; return whether the item is the cause.

        `answered_at`: when the bank last answered other items, in seconds of the monotonic clock.
        """
        trouble = self._by_key[key]
        trouble.alone += 1
        return trouble.alone >= ALONE_MAX and answered_at >= trouble.since

    def forget(self, keys: Iterable[object]) -> None:
        if self._by_key:
            for key in keys:
                self._by_key.pop(str(key), None)


def in_bytes(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """Split items into parts of at most BULK_BYTES_MAX; a larger item goes alone."""
    if len(orjson.dumps(items)) <= BULK_BYTES_MAX:
        yield items
        return
    part: list[Item] = []
    size = 0
    for item in items:
        more = len(orjson.dumps(item)) + 1
        if part and size + more > BULK_BYTES_MAX:
            yield part
            part, size = [], 0
        part.append(item)
        size += more
    if part:
        yield part


def keys_of(items: Sequence[Item]) -> list[str]:
    return [str(item["key"]) for item in items]
