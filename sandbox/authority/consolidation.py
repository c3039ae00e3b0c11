"""The authority's side of consolidation: takes requests in, answers each message, and tells of the declarations it makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import orjson

from sandbox.authority.declarations import Document
from sandbox.authority.policy import Policy, entry_id, pre_no, summary_no
from sandbox.authority.receipts import TEXTS, Receipt, receipt_of
from sandbox.authority.register import Register
from sandbox.authority.summaries import (
    NOTICE_S,
    Made,
    made_of,
    notices_of,
    results,
    why_not,
    words_in,
)

_PASSED: Final = 399
_OF_A_RESULT: Final = (
    "customsCode",
    "agentCode",
    "agentName",
    "ebcCode",
    "ebcName",
    "declAgentCode",
    "declAgentName",
)


class Consolidation:
    """Rows of the authority's file; every method runs inside the caller's transaction and returns what is said at once."""

    def __init__(self, register: Register, policy: Policy) -> None:
        self._register = register
        self._db = register.file.db
        self._policy = policy

    def take_in(self, document: Document, now: float) -> list[Receipt]:
        """One message of a request; with the last of them it is decided."""
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
        rows = self._db.execute(
            "SELECT seq, origin, head, numbers FROM summary_message WHERE cop_no = ? ORDER BY seq",
            (cop_no,),
        )
        parts = [
            (seq, origin, orjson.loads(told), orjson.loads(listed))
            for seq, origin, told, listed in rows
        ]
        if [seq for seq, *_ in parts] != list(range(1, int(head["msgCount"]) + 1)):
            return []
        return self._decide(parts, now)

    def _decide(
        self, parts: Sequence[tuple[int, str, dict[str, str], list[str]]], now: float
    ) -> list[Receipt]:
        numbers = [number for *_, listed in parts for number in listed]
        found = self._register.by_invt_nos(numbers)
        words = words_in(list(found.values()))
        if "sum_silent" in words:
            return []
        head, origin = parts[0][2], parts[0][1]
        refusal = why_not(
            head, numbers, found, self._consolidated(numbers), self._was_told_to_wait(numbers)
        )
        if refusal and "701009" in refusal.text:
            self._db.executemany(
                "INSERT OR IGNORE INTO summary_wait VALUES (?)", [(number,) for number in numbers]
            )
        numbered = {"preNo": pre_no("B", self._register.serials(1), now)}
        if refusal is None:
            numbered["sumNo"] = summary_no(self._register.serials(1), now)
        status, text = (refusal.status, refusal.text) if refusal else (_PASSED, TEXTS[_PASSED])
        told = [
            receipt_of("summary", "603", origin, {**part[2], **numbered}, status, text, now)
            for part in parts
        ]
        if refusal is None:
            of_all = {name: head[name] for name in _OF_A_RESULT} | {"sumNo": numbered["sumNo"]}
            for made in made_of(
                [found[number] for number in numbers], by_name=head["itemNameFlag"] == "1"
            ):
                told += self._declare(made, of_all, origin, words, now)
        return told * 2 if "sum_dup" in words else told

    def _declare(
        self, made: Made, of_all: dict[str, str], origin: str, words: frozenset[str], now: float
    ) -> list[Receipt]:
        """The first word on a declaration, with its lines; the others fall due one after another."""
        serial = self._register.serials(3)
        head = of_all | {
            "declSeqNo": summary_no(serial, now), "decTmpNo": pre_no("E", serial + 1, now), "grossWeight": made.weight("grossWeight"),
            "netWeight": made.weight("netWeight"),
        }  # fmt: skip
        self._db.executemany(
            "INSERT INTO consolidated VALUES (?, ?, ?, ?)",
            [
                (entry.invt_no, line["number"], head["declSeqNo"], number)
                for number, entry, line in made.lines
            ],
        )
        first, *later = notices_of(words, entry_id(of_all["customsCode"], serial + 2, now))
        for number, (state, given) in enumerate(later, 1):
            notice = orjson.dumps({**head, "decState": state, "entryId": given})
            at = now + number * NOTICE_S * self._policy.pace
            self._db.execute(
                "INSERT INTO summary_due (at, origin, twice, notice) VALUES (?, ?, ?, ?)",
                (at, origin, "sum_dup" in words, notice),
            )
        return results({**head, "decState": first[0], "entryId": first[1]}, origin, made, now)

    def fall_due(self, now: float, limit: int) -> list[Receipt]:
        """What is said of declarations by now."""
        rows = self._db.execute(
            "SELECT id, origin, twice, notice FROM summary_due WHERE at <= ? ORDER BY at, id LIMIT ?",
            (now, limit),
        ).fetchall()
        self._db.executemany("DELETE FROM summary_due WHERE id = ?", [(row[0],) for row in rows])
        told: list[Receipt] = []
        for _, origin, twice, notice in rows:
            told += results(orjson.loads(notice), origin, None, now) * (2 if twice else 1)
        return told

    def _consolidated(self, numbers: Sequence[str]) -> dict[str, str]:
        query = "SELECT invt_no, decl_seq_no FROM consolidated WHERE invt_no IN (SELECT value FROM json_each(?))"
        return {row[0]: row[1] for row in self._register.file.by_key(query, numbers)}

    def _was_told_to_wait(self, numbers: Sequence[str]) -> bool:
        return bool(
            self._register.file.by_key(
                "SELECT 1 FROM summary_wait WHERE invt_no IN (SELECT value FROM json_each(?))",
                numbers,
            )
        )
