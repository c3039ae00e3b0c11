"""The bank as it is spoken to: bulks of items, each with its key, over HTTP; a lane for each kind of operation."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

import orjson
import structlog
from pydantic import TypeAdapter, ValidationError

from services.payments.domain.bank_replies import BankRecord, BankReply
from services.payments.lanes import BankUnreachable, Lane, UnusableResponse
from shared import metrics

log = structlog.get_logger(__name__)

BULK_MAX: Final = 200
BULK_AGAIN_MAX: Final = 20
"""Items that came to nothing before go in small bulks: one that breaks its bulk then breaks few others."""
BULK_BYTES_MAX: Final = 512 * 1024
"""Bytes of the items of one request as sent."""
HTTP_TIMEOUT_S: Final = 5.0
ALONE_MAX: Final = 3
"""An item the bank failed on alone so often, though it answered others since, is the one that fails."""
TROUBLES_MAX: Final = 50_000

Item = Mapping[str, Any]
_PATHS: Final = {
    "authorise": "/v1/authorisations",
    "capture": "/v1/captures",
    "void": "/v1/voids",
    "refund_tax": "/v1/refunds",
    "refund": "/v1/refunds",
    "transfer": "/v1/transfers",
}
_QUERY: Final = "/v1/operations/query"
NOTHING_DONE: Final = frozenset({"unknown_key", "error"})
"""What the bank says of a key under which it did nothing."""
_NOT_OFFERED: Final = frozenset({400, 404, 405, 501})
"""A bank that does not know how to be asked by reference answers so."""


@dataclass
class BankReplies:
    """What was heard by key. A key that is not there was not heard of: what became of it is unknown.

    `poison`: the bank fails on this one item alone, though it answers others. `spoken`: the keys that the bank was heard to
    answer, whether or not it had a word on them that can be read.
    """

    answers: dict[UUID, BankReply] = field(default_factory=dict)
    poison: set[UUID] = field(default_factory=set)
    spoken: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class BankRecords:
    """What the bank has under references. One that is not in `found` was not heard of; not `able`: it cannot be asked so."""

    found: Mapping[str, Sequence[BankRecord]] = field(default_factory=dict)
    able: bool = True


class Bank(Protocol):
    """Answers by key, or by our reference once keys are forgotten."""

    def wait_s(self, kind: str) -> float:
        """Seconds until the bank may be asked for operations of this kind; 0 if it may be now."""

    async def send(self, kind: str, items: Sequence[Item], *, again: bool = False) -> BankReplies:
        """Ask for operations of one kind; `again`: these were sent before, or may have been."""

    async def query(self, keys: Sequence[UUID], kind: str = "authorise") -> BankReplies:
        """The recorded answer of each key, or the status `pending` or `unknown_key`; asked in the lane of `kind`."""

    async def find(self, kind: str, references: Sequence[str]) -> BankRecords:
        """What the bank has in its books under each reference, whether or not it still knows the keys."""

    async def close(self) -> None:
        """Let the connections go."""


@dataclass
class _Trouble:
    """A key whose bulk failed: since when, in bulks of at most how many it goes, and how often it failed alone."""

    since: float
    size: int
    alone: int = 0


class HttpBank:
    """The bank over HTTP with connections kept alive."""

    def __init__(self, url: str, *, timeout_s: float = HTTP_TIMEOUT_S) -> None:
        self._lanes = {kind: Lane(url, timeout_s=timeout_s) for kind in _PATHS}
        # What is looked up has connections of its own: slow look-ups keep nothing from being asked for the first time.
        self._looks = {kind: Lane(url, timeout_s=timeout_s) for kind in _PATHS}
        self._client = self._lanes["authorise"].client
        self._troubles: dict[str, _Trouble] = {}
        self._answered_at = dict.fromkeys(_PATHS, 0.0)

    def wait_s(self, kind: str) -> float:
        return self._lanes[kind].wait_s()

    async def send(self, kind: str, items: Sequence[Item], *, again: bool = False) -> BankReplies:
        heard = BankReplies()
        by_key = {str(item["key"]): item for item in items}
        bulks = self._bulks(list(by_key), BULK_AGAIN_MAX if again else BULK_MAX)
        parts = [part for bulk in bulks for part in _in_bytes([by_key[key] for key in bulk])]
        await asyncio.gather(*(self._send(kind, part, heard) for part in parts))
        self._forget(heard)
        return heard

    async def query(self, keys: Sequence[UUID], kind: str = "authorise") -> BankReplies:
        heard = BankReplies()
        bulks = self._bulks([str(key) for key in keys], BULK_MAX)
        await asyncio.gather(*(self._query(kind, bulk, heard) for bulk in bulks))
        return heard

    async def find(self, kind: str, references: Sequence[str]) -> BankRecords:
        found: dict[str, list[BankRecord]] = {}
        able = True
        for at in range(0, len(references), BULK_MAX):
            bulk = references[at : at + BULK_MAX]
            try:
                items = await self._looks[kind].post(_QUERY, "query", {"references": bulk})
            except BankUnreachable:
                continue
            except UnusableResponse as error:
                able = able and error.status not in _NOT_OFFERED
                continue
            found |= {reference: [] for reference in bulk}
            for record in _read_all(_RECORD, items, "query"):
                if record.reference in found:
                    found[record.reference].append(record)
        return BankRecords(found, able)

    async def close(self) -> None:
        for lane in (*self._lanes.values(), *self._looks.values()):
            await lane.close()

    # --- one bulk, and the halves of one that failed

    async def _send(self, kind: str, items: Sequence[Item], heard: BankReplies) -> None:
        if not await self._post(kind, items, heard):
            await self._halve(kind, items, heard)

    async def _post(self, kind: str, items: Sequence[Item], heard: BankReplies) -> bool:
        """Send a bulk; False if the bank fails on it, True if it answers or is not reached."""
        try:
            answers = await self._lanes[kind].post(_PATHS[kind], kind, {"items": items})
        except BankUnreachable as error:
            if error.may_be_an_item:
                self._trouble(_keys(items))
                if len(items) == 1:
                    self._alone(kind, str(items[0]["key"]), heard)
            return True
        except UnusableResponse:
            return False
        self._answered_at[kind] = time.monotonic()
        heard.spoken |= (asked := set(_keys(items)))
        heard.answers |= _by_key(_read_all(_ANSWER, answers, kind), asked)
        return True

    async def _halve(self, kind: str, items: Sequence[Item], heard: BankReplies) -> None:
        """Find the one that a bulk fails for: what came to nothing is sent in halves, and the half that fails in halves again.

        Where both halves fail it may be all of the bank: the rest of the way is gone next time, in bulks of half the size.
        """
        broken = [items]
        while len(broken) == 1:
            keys = _keys(broken[0])
            self._trouble(keys)
            if len(keys) == 1:
                break
            after = BankReplies()
            await self._query(kind, keys, after)
            rest = [
                item for item in broken[0] if _came_to_nothing(after.answers.get(UUID(item["key"])))
            ]
            heard.answers |= {
                key: told for key, told in after.answers.items() if not _came_to_nothing(told)
            }
            half = (len(rest) + 1) // 2
            broken = [
                part
                for part in (rest[:half], rest[half:])
                if part and not await self._post(kind, part, heard)
            ]
        else:
            for part in broken:
                self._trouble(_keys(part))
        for part in broken:
            if len(part) == 1:
                self._alone(kind, str(part[0]["key"]), heard)

    async def _query(self, kind: str, keys: Sequence[str], heard: BankReplies) -> None:
        """Ask after keys; where the bank fails, after halves. Where both fail, it may be all of the bank: less next time."""
        broken = [] if await self._post_query(kind, keys, heard) else [keys]
        while len(broken) == 1 and len(broken[0]) > 1:
            half = (len(broken[0]) + 1) // 2
            parts = (broken[0][:half], broken[0][half:])
            broken = [part for part in parts if not await self._post_query(kind, part, heard)]
        for part in broken:
            self._trouble(part)

    async def _post_query(self, kind: str, keys: Sequence[str], heard: BankReplies) -> bool:
        """Ask after the keys; False if the bank fails on them, True if it answers or is not reached."""
        try:
            answers = await self._looks[kind].post(_QUERY, "query", {"keys": list(keys)})
        except BankUnreachable as error:
            if error.may_be_an_item:
                self._trouble(keys)
            return True
        except UnusableResponse:
            return False
        heard.spoken |= set(keys)
        heard.answers |= _by_key(_read_all(_ANSWER, answers, "query"), set(keys))
        return True

    # --- what failed before

    def _bulks(self, keys: Sequence[str], size: int) -> list[list[str]]:
        """The keys in bulks of at most `size`, those whose bulk failed in smaller ones."""
        by_size: dict[int, list[str]] = defaultdict(list)
        for key in keys:
            trouble = self._troubles.get(key)
            by_size[size if trouble is None else min(size, trouble.size)].append(key)
        return [
            found[at : at + most]
            for most, found in by_size.items()
            for at in range(0, len(found), most)
        ]

    def _trouble(self, keys: Sequence[str]) -> None:
        if len(self._troubles) > TROUBLES_MAX:
            self._troubles.clear()
        for key in keys:
            trouble = self._troubles.setdefault(key, _Trouble(time.monotonic(), len(keys)))
            trouble.size = max(1, min(trouble.size, len(keys)) // 2)

    def _alone(self, kind: str, key: str, heard: BankReplies) -> None:
        trouble = self._troubles[key]
        trouble.alone += 1
        if trouble.alone >= ALONE_MAX and self._answered_at[kind] >= trouble.since:
            heard.poison.add(UUID(key))

    def _forget(self, heard: BankReplies) -> None:
        if self._troubles:
            for key in heard.answers:
                self._troubles.pop(str(key), None)


def _in_bytes(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """The items in parts that have no more bytes than one request may; a larger item goes alone."""
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


def _keys(items: Sequence[Item]) -> list[str]:
    return [str(item["key"]) for item in items]


def _came_to_nothing(answer: BankReply | None) -> bool:
    return answer is not None and answer.status in NOTHING_DONE


def _by_key(answers: Sequence[BankReply], asked: set[str]) -> dict[UUID, BankReply]:
    """Answers by their keys; two that differ under one key are none, nor is one under a key that was not asked."""
    found: dict[UUID, BankReply] = {}
    doubtful: set[UUID] = set()
    for answer in answers:
        first = found.setdefault(answer.key, answer)
        if (first is not answer and first != answer) or str(answer.key) not in asked:
            doubtful.add(answer.key)
    return (
        {key: answer for key, answer in found.items() if key not in doubtful} if doubtful else found
    )


class _Shape(NamedTuple):
    """How one item of an answer is read, and how all are at once."""

    one: TypeAdapter[Any]
    all: TypeAdapter[list[Any]]


_ANSWER: Final = _Shape(TypeAdapter(BankReply), TypeAdapter(list[BankReply]))
_RECORD: Final = _Shape(TypeAdapter(BankRecord), TypeAdapter(list[BankRecord]))


def _read_all(shape: _Shape, items: Sequence[Any], operation: str) -> list[Any]:
    """The answers of a bulk that can be read; of the others it is as if nothing had been heard."""
    try:
        return shape.all.validate_python(items)
    except ValidationError:
        return _read_each(shape.one, items, operation)


def _read_each(shape: TypeAdapter[Any], items: Sequence[Any], operation: str) -> list[Any]:
    found, unread = [], set[str]()
    for item in items:
        try:
            found.append(shape.validate_python(item))
        except ValidationError as error:
            unread |= {
                str(part["loc"][0]) if part["loc"] else "item"
                for part in error.errors(include_input=False)
            }
    if unread:
        log.error("answers of the bank cannot be read", operation=operation, fields=sorted(unread))
        metrics.PARTY_CALLS.labels("bank", operation, "unreadable").inc(len(items) - len(found))
    return found
