"""Rules of consolidation (CEB701): refusals, the grouping, the text of CEB792; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from xml.sax.saxutils import escape

from sandbox.authority.document_match import Refusal, customs_refusal
from sandbox.authority.policy import is_all_taken_back
from sandbox.authority.receipts import Receipt, new_guid, return_time
from sandbox.authority.register import RegisterEntry
from sandbox.documents import words_of

LINES_MAX: Final = 50
"""Lines of one declaration."""
RESULT_LINES_MAX: Final = 2000
"""List lines in one message, which has a limit in bytes."""
NAMED_MAX: Final = 15
"""Lists named in one refusal, whose text has 1,000 characters.

A consolidated list is named with its declaration.
"""
NOTICE_S: Final = 1.0
"""Seconds between two results of one declaration."""
TOO_OFTEN: Final = "701009"
_HEAD_KEY: Final = ("customsCode", "ebcCode", "ownerCode", "country", "tradeMode", "trafMode")
_LINE_KEY: Final = ("country", "code", "currency", "unit")
_Line = tuple[RegisterEntry, Mapping[str, Any]]

CLOSED: Final = 899


@dataclass(frozen=True, slots=True)
class GroupedDeclaration:
    """A declaration that groups lines of lists.

    `lines` has the declaration's line number before each.
    """

    lists: tuple[RegisterEntry, ...]
    lines: tuple[tuple[int, RegisterEntry, Mapping[str, Any]], ...]

    def weight(self, name: str) -> str:
        return str(sum((Decimal(entry.body["fields"][name]) for entry in self.lists), Decimal(0)))


def words_of_all(entries: Sequence[RegisterEntry]) -> frozenset[str]:
    return frozenset().union(*(words_of(entry.order_no) for entry in entries))


def consolidation_refusal(
    head: Mapping[str, str],
    numbers: Sequence[str],
    entries: Mapping[str, RegisterEntry],
    declarations: Mapping[str, str],
    has_waited: bool,
) -> Refusal | None:
    """Return the refusal of a request; it names the unfit lists, as many as its text has room for.

    `entries` and `declarations` are by list number; `has_waited`: the request was refused as too
    frequent before.
    """
    for number in numbers:
        if not _is_of_request(entries.get(number), head):
            return customs_refusal(
                "701002", f"清单不存在或收发货人、申报地海关不一致[invtNo:{number}]"
            )
    if unfit := _unfit(numbers, entries, declarations):
        return customs_refusal("701005", f"清单状态不允许汇总{''.join(unfit[:NAMED_MAX])}")
    words = words_of_all(list(entries.values()))
    if "sum_wait" in words and not has_waited:
        return customs_refusal(TOO_OFTEN, "汇总申请过于频繁，请稍后再报")
    if "sum_no" in words:
        return customs_refusal("701099", "汇总申请不符合规定")
    return None


def _unfit(
    numbers: Sequence[str],
    entries: Mapping[str, RegisterEntry],
    declarations: Mapping[str, str],
) -> list[str]:
    return [
        f"[invtNo:{number},declSeqNo:{declarations[number]}]"
        if number in declarations
        else f"[invtNo:{number}]"
        for number in numbers
        if number in declarations or not _may_be_consolidated(entries[number])
    ]


def _is_of_request(entry: RegisterEntry | None, head: Mapping[str, str]) -> bool:
    if entry is None or entry.family != "603":
        return False
    fields = entry.body["fields"]
    return all(fields[name] == head[name] for name in ("customsCode", "ebcCode"))


def _may_be_consolidated(entry: RegisterEntry) -> bool:
    """Return whether a list is closed, under statisticsFlag B, not back as a whole, and no word
    forbids it.
    """
    return (
        entry.state == "declared"
        and entry.status == CLOSED
        and not is_all_taken_back(entry)
        and entry.body["fields"].get("statisticsFlag") == "B"
        and "sum_refused" not in words_of(entry.order_no)
    )


def group_lists(entries: Sequence[RegisterEntry], *, by_name: bool) -> list[GroupedDeclaration]:
    heads: dict[tuple[str, ...], dict[tuple[str, ...], list[_Line]]] = {}
    for entry in sorted(entries, key=lambda entry: entry.invt_no or ""):
        head = tuple(entry.body["fields"][name] for name in _HEAD_KEY)
        for line in entry.body["lines"]:
            key = (*(line[name] for name in _LINE_KEY), line["name"] if by_name else "")
            heads.setdefault(head, {}).setdefault(key, []).append((entry, line))
    return [
        _declaration(part)
        for _, keys in sorted(heads.items())
        for part in _parts(list(keys.values()))
    ]


def _parts(lines: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(lines), LINES_MAX):
        yield lines[start : start + LINES_MAX]


def _declaration(part: Sequence[Sequence[_Line]]) -> GroupedDeclaration:
    lines = tuple(
        (number, entry, line) for number, group in enumerate(part, 1) for entry, line in group
    )
    # A list whose lines are in two declarations weighs in the one with its first line.
    lists = {entry.id: entry for _, entry, line in lines if line is entry.body["lines"][0]}
    return GroupedDeclaration(tuple(lists.values()), lines)


def declaration_notices(words: frozenset[str], entry_id: str) -> list[tuple[str, str]]:
    """Return the results of a declaration in order: decState, and the number once there is one."""
    notices = [("1", ""), ("L", entry_id), ("R", entry_id)]
    return [notices[0], ("E", ""), *notices[1:]] if "dec_returned" in words else notices


def results(
    head: Mapping[str, str], origin: str, group: GroupedDeclaration | None, at: float
) -> list[Receipt]:
    """Return the CEB792 of one result; `group` is given with the first and adds its lines.

    Many lines take several messages.
    """
    lines = [] if group is None else list(group.lines)
    parts = [
        lines[start : start + RESULT_LINES_MAX] for start in range(0, len(lines), RESULT_LINES_MAX)
    ] or [[]]
    return [_result(head, origin, part, len(parts), seq, at) for seq, part in enumerate(parts, 1)]


_HEAD: Final = (
    "customsCode", "sumNo", "opDate", "declSeqNo", "decTmpNo", "decPreNo", "entryId", "decState",
    "agentCode", "agentName", "ebcCode", "ebcName", "declAgentCode", "declAgentName",
    "grossWeight", "netWeight", "msgCount", "msgSeqNo",
)  # fmt: skip


def _result(
    head: Mapping[str, str],
    origin: str,
    lines: Sequence[tuple[int, RegisterEntry, Mapping[str, Any]]],
    count: int,
    seq: int,
    at: float,
) -> Receipt:
    fields = {**head, "opDate": return_time(at), "msgCount": str(count), "msgSeqNo": str(seq)}
    named = "".join(
        f"<{name}>{escape(fields[name])}</{name}>" for name in _HEAD if fields.get(name)
    )
    items = "".join(
        f"<SummaryResultList><invtNo>{entry.invt_no}</invtNo>"
        f"<logisticsNo>{escape(entry.body['waybill'][1])}</logisticsNo>"
        f"<gseqno>{number}</gseqno><gnum>{line['number']}</gnum><gcode>{line['code']}</gcode>"
        "</SummaryResultList>"
        for number, entry, line in lines
    )
    xml = (
        f"<SummaryResult><SummaryResultHead><guid>{new_guid()}</guid>{named}</SummaryResultHead>"
        f"{items}</SummaryResult>"
    )
    return Receipt("792", origin, head["decState"], "", fields["sumNo"], xml)
