"""The bank over HTTP: bulks of items, and a lane of connections for each kind of operation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from services.payments.bulks import Item, Troubles, in_bytes, keys_of
from services.payments.domain.bank_replies import BankRecord, BankReply
from services.payments.gateway import NOTHING_DONE, BankRecords, BankReplies
from services.payments.lanes import BankUnreachable, Lane, UnusableResponse
from services.payments.reply_decoding import RECORD, REPLY, by_key, read_all

BULK_MAX: Final = 200
BULK_AGAIN_MAX: Final = 20
"""Items that were sent before go in small bulks: one that breaks its bulk then breaks few
others."""
HTTP_TIMEOUT_S: Final = 5.0

_PATHS: Final = {
    "authorise": "/v1/authorisations",
    "capture": "/v1/captures",
    "void": "/v1/voids",
    "refund_tax": "/v1/refunds",
    "refund": "/v1/refunds",
    "transfer": "/v1/transfers",
}
_QUERY: Final = "/v1/operations/query"
_NOT_OFFERED: Final = frozenset({400, 404, 405, 501})
"""HTTP statuses of a bank that cannot be asked by reference."""


class HttpBank:
    """Keeps its connections alive."""

    def __init__(self, url: str, *, timeout_s: float = HTTP_TIMEOUT_S) -> None:
        self._lanes = {kind: Lane(url, timeout_s=timeout_s) for kind in _PATHS}
        # Queries have connections of their own, so slow queries delay no new operation.
        self._query_lanes = {kind: Lane(url, timeout_s=timeout_s) for kind in _PATHS}
        self._client = self._lanes["authorise"].client
        self._troubles = Troubles()
        self._answered_at = dict.fromkeys(_PATHS, 0.0)

    def wait_s(self, kind: str) -> float:
        return self._lanes[kind].wait_s()

    async def send(self, kind: str, items: Sequence[Item], *, again: bool = False) -> BankReplies:
        replies = BankReplies()
        items_by_key = {str(item["key"]): item for item in items}
        bulks = self._troubles.bulks(list(items_by_key), BULK_AGAIN_MAX if again else BULK_MAX)
        parts = [part for bulk in bulks for part in in_bytes([items_by_key[key] for key in bulk])]
        await asyncio.gather(*(self._send(kind, part, replies) for part in parts))
        self._troubles.forget(replies.answers)
        return replies

    async def query(self, keys: Sequence[UUID], kind: str = "authorise") -> BankReplies:
        replies = BankReplies()
        bulks = self._troubles.bulks([str(key) for key in keys], BULK_MAX)
        await asyncio.gather(*(self._query(kind, bulk, replies) for bulk in bulks))
        return replies

    async def find(self, kind: str, references: Sequence[str]) -> BankRecords:
        records: dict[str, list[BankRecord]] = {}
        able = True
        for at in range(0, len(references), BULK_MAX):
            bulk = references[at : at + BULK_MAX]
            try:
                items = await self._query_lanes[kind].post(_QUERY, "query", {"references": bulk})
            except BankUnreachable:
                continue
            except UnusableResponse as error:
                able = able and error.status not in _NOT_OFFERED
                continue
            records |= {reference: [] for reference in bulk}
            for record in read_all(RECORD, items, "query"):
                if record.reference in records:
                    records[record.reference].append(record)
        return BankRecords(records, able)

    async def close(self) -> None:
        for lane in (*self._lanes.values(), *self._query_lanes.values()):
            await lane.close()

    # --- one bulk, and the halves of one that failed

    async def _send(self, kind: str, items: Sequence[Item], replies: BankReplies) -> None:
        if not await self._post(kind, items, replies):
            await self._halve(kind, items, replies)

    async def _post(self, kind: str, items: Sequence[Item], replies: BankReplies) -> bool:
        """Send a bulk; return False if the bank fails on it, True if it answers or is
        unreachable."""
        try:
            answers = await self._lanes[kind].post(_PATHS[kind], kind, {"items": items})
        except BankUnreachable as error:
            if error.may_be_an_item:
                self._troubles.add(keys_of(items))
                if len(items) == 1:
                    self._failed_alone(kind, items, replies)
            return True
        except UnusableResponse:
            return False
        self._answered_at[kind] = time.monotonic()
        sent = set(keys_of(items))
        replies.spoken |= sent
        replies.answers |= by_key(read_all(REPLY, answers, kind), sent)
        return True

    async def _halve(self, kind: str, items: Sequence[Item], replies: BankReplies) -> None:
        """Find the item that a bulk fails for, by halves.

        If both halves fail, the whole bank may have failed: the search goes on at the next call,
        in bulks of half the size.
        """
        broken = [items]
        while len(broken) == 1:
            keys = keys_of(broken[0])
            self._troubles.add(keys)
            if len(keys) == 1:
                break
            rest = await self._undone(kind, broken[0], replies)
            half = (len(rest) + 1) // 2
            halves = [part for part in (rest[:half], rest[half:]) if part]
            broken = [part for part in halves if not await self._post(kind, part, replies)]
        else:
            for part in broken:
                self._troubles.add(keys_of(part))
        for part in broken:
            if len(part) == 1:
                self._failed_alone(kind, part, replies)

    async def _undone(
        self, kind: str, items: Sequence[Item], replies: BankReplies
    ) -> Sequence[Item]:
        """Return the items of a failed bulk that the bank did not do; take the replies of
        others."""
        queried = BankReplies()
        await self._query(kind, keys_of(items), queried)
        replies.answers |= {
            key: reply for key, reply in queried.answers.items() if not _is_undone(reply)
        }
        return [item for item in items if _is_undone(queried.answers.get(UUID(item["key"])))]

    def _failed_alone(self, kind: str, items: Sequence[Item], replies: BankReplies) -> None:
        key = str(items[0]["key"])
        if self._troubles.is_poison(key, self._answered_at[kind]):
            replies.poison.add(UUID(key))

    async def _query(self, kind: str, keys: Sequence[str], replies: BankReplies) -> None:
        """Query keys; where the bank fails, in halves. If both halves fail, smaller next time."""
        broken = [] if await self._post_query(kind, keys, replies) else [keys]
        while len(broken) == 1 and len(broken[0]) > 1:
            half = (len(broken[0]) + 1) // 2
            halves = (broken[0][:half], broken[0][half:])
            broken = [part for part in halves if not await self._post_query(kind, part, replies)]
        for part in broken:
            self._troubles.add(part)

    async def _post_query(self, kind: str, keys: Sequence[str], replies: BankReplies) -> bool:
        """Query a bulk; return False if the bank fails on it, True if it answers or is
        unreachable."""
        try:
            answers = await self._query_lanes[kind].post(_QUERY, "query", {"keys": list(keys)})
        except BankUnreachable as error:
            if error.may_be_an_item:
                self._troubles.add(keys)
            return True
        except UnusableResponse:
            return False
        replies.spoken |= set(keys)
        replies.answers |= by_key(read_all(REPLY, answers, "query"), set(keys))
        return True


def _is_undone(reply: BankReply | None) -> bool:
    return reply is not None and reply.status in NOTHING_DONE
