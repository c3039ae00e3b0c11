"""Requests to consolidate lists: collected by message, answered together, followed by
declarations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from sandbox.authority.document_match import Refusal
from sandbox.authority.messages import Document
from sandbox.authority.policy import AuthorityPolicy, entry_id, pre_no, summary_no
from sandbox.authority.receipts import TEXTS, Receipt, receipt_of
from sandbox.authority.register import Register
from sandbox.authority.summaries import (
    NOTICE_S,
    TOO_OFTEN,
    GroupedDeclaration,
    consolidation_refusal,
    declaration_notices,
    group_lists,
    results,
    words_of_all,
)

_PASSED: Final = Refusal(399, TEXTS[399])
_RESULT_FIELDS: Final = (
    "customsCode",
    "agentCode",
    "agentName",
    "ebcCode",
    "ebcName",
    "declAgentCode",
    "declAgentName",
)


@dataclass(frozen=True, slots=True)
class _Part:
    """One message of a request; `seq` counts from 1."""

    seq: int
    origin: str
    head: dict[str, str]
    numbers: list[str]


class Consolidation:
    """Rows of the authority's file; every method runs inside the caller's transaction."""

    def __init__(self, register: Register, policy: AuthorityPolicy) -> None:
        self._register = register
        self._db = register.file.db
        self._policy = policy

    def take_in(self, document: Document, now: float) -> list[Receipt]:
        """Record one message of a request; return the answers once the last message is there."""
        head, cop_no = dict(document.head), document.cop_no
        numbers = [line["invtNo"] for line in document.lines]
        row = (
            cop_no,
            int(head["msgSeqNo"]),
            document.message_guid,
            orjson.dumps(head),
            orjson.dumps(numbers),
        )
        self._db.execute("INSERT OR IGNORE INTO summary_message VALUES (?, ?, ?, ?, ?)", row)
        parts = self._parts(cop_no)
        if [part.seq for part in parts] != list(range(1, int(head["msgCount"]) + 1)):
            return []
        return self._decide(parts, now)

    def _parts(self, cop_no: str) -> list[_Part]:
        rows = self._db.execute(
            "SELECT seq, origin, head, numbers FROM summary_message WHERE cop_no = ? ORDER BY seq",
            (cop_no,),
        )
        return [
            _Part(seq, origin, orjson.loads(head), orjson.loads(numbers))
            for seq, origin, head, numbers in rows
        ]

    def _decide(self, parts: Sequence[_Part], now: float) -> list[Receipt]:
        numbers = [number for part in parts for number in part.numbers]
        entries = self._register.by_invt_nos(numbers)
        words = words_of_all(list(entries.values()))
        if "sum_silent" in words:
            return []
        head, origin = parts[0].head, parts[0].origin
        refusal = consolidation_refusal(
            head, numbers, entries, self._declarations_of(numbers), self._has_waited(numbers)
        )
        if refusal:
            receipts = self._refuse(parts, numbers, refusal, now)
        else:
            number = self._pre_no(now)
            sum_no = summary_no(self._register.serials(1), now)
            receipts = _answers(parts, {"preNo": number, "sumNo": sum_no}, _PASSED, now)
            common = {name: head[name] for name in _RESULT_FIELDS} | {"sumNo": sum_no}
            lists = [entries[number] for number in numbers]
            for group in group_lists(lists, by_name=head["itemNameFlag"] == "1"):
                receipts += self._declare(group, common, origin, words, now)
        return receipts * 2 if "sum_dup" in words else receipts

    def _refuse(
        self, parts: Sequence[_Part], numbers: Sequence[str], refusal: Refusal, now: float
    ) -> list[Receipt]:
        if TOO_OFTEN in refusal.text:
            self._db.executemany(
                "INSERT OR IGNORE INTO summary_wait VALUES (?)", [(number,) for number in numbers]
            )
        return _answers(parts, {"preNo": self._pre_no(now)}, refusal, now)

    def _declare(
        self,
        group: GroupedDeclaration,
        common: dict[str, str],
        origin: str,
        words: frozenset[str],
        now: float,
    ) -> list[Receipt]:
        """Return the first result of a declaration, with its lines; plan the later ones."""
        serial = self._register.serials(3)
        head = common | {
            "declSeqNo": summary_no(serial, now),
            "decTmpNo": pre_no("E", serial + 1, now),
            "grossWeight": group.weight("grossWeight"),
            "netWeight": group.weight("netWeight"),
        }
        self._db.executemany(
            "INSERT INTO consolidated VALUES (?, ?, ?, ?)",
            [
                (entry.invt_no, line["number"], head["declSeqNo"], number)
                for number, entry, line in group.lines
            ],
        )
        number = entry_id(common["customsCode"], serial + 2, now)
        first, *later = declaration_notices(words, number)
        self._plan(head, later, origin, words, now)
        return results({**head, "decState": first[0], "entryId": first[1]}, origin, group, now)

    def _plan(
        self,
        head: dict[str, str],
        notices: Sequence[tuple[str, str]],
        origin: str,
        words: frozenset[str],
        now: float,
    ) -> None:
        for number, (state, given) in enumerate(notices, 1):
            notice = orjson.dumps({**head, "decState": state, "entryId": given})
            at = now + number * NOTICE_S * self._policy.pace
            self._db.execute(
                "INSERT INTO summary_due (at, origin, twice, notice) VALUES (?, ?, ?, ?)",
                (at, origin, "sum_dup" in words, notice),
            )

    def fall_due(self, now: float, limit: int) -> list[Receipt]:
        rows = self._db.execute(
            "SELECT id, origin, twice, notice FROM summary_due"
            " WHERE at <= ? ORDER BY at, id LIMIT ?",
            (now, limit),
        ).fetchall()
        self._db.executemany("DELETE FROM summary_due WHERE id = ?", [(row[0],) for row in rows])
        receipts: list[Receipt] = []
        for _, origin, twice, notice in rows:
            receipts += results(orjson.loads(notice), origin, None, now) * (2 if twice else 1)
        return receipts

    def _declarations_of(self, numbers: Sequence[str]) -> dict[str, str]:
        """Return the declaration of each list that is consolidated already, by the
        list's number.
        """
        rows = self._register.file.by_key(
            "SELECT invt_no, decl_seq_no FROM consolidated"
            " WHERE invt_no IN (SELECT value FROM json_each(?))",
            numbers,
        )
        return {row[0]: row[1] for row in rows}

    def _has_waited(self, numbers: Sequence[str]) -> bool:
        rows = self._register.file.by_key(
            "SELECT 1 FROM summary_wait WHERE invt_no IN (SELECT value FROM json_each(?))",
            numbers,
        )
        return bool(rows)

    def _pre_no(self, now: float) -> str:
        return pre_no("B", self._register.serials(1), now)


def _answers(
    parts: Sequence[_Part], numbered: dict[str, str], verdict: Refusal, now: float
) -> list[Receipt]:
    origin = parts[0].origin
    return [
        receipt_of(
            "summary", "603", origin, {**part.head, **numbered}, verdict.status, verdict.text, now
        )
        for part in parts
    ]
