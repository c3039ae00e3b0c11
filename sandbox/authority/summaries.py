"""What the authority makes of requests to consolidate lists (CEB701): its own grouping, CEB792 as the schema wants it; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from xml.sax.saxutils import escape

from sandbox.authority.matching import Refusal, customs_refusal
from sandbox.authority.policy import is_all_taken_back
from sandbox.authority.receipts import Receipt, new_guid, return_time
from sandbox.authority.register import Entry
from sandbox.documents import words_of

LINES_MAX: Final = 50
"""Lines of one declaration."""
RESULT_LINES_MAX: Final = 2000
"""List lines told in one message, which has a limit in bytes."""
NAMED_MAX: Final = 15
"""Lists named in one refusal: its text has 1,000 characters, and a list in another declaration is named with that."""
NOTICE_S: Final = 1.0
"""Between one word on a declaration and the next."""

CLOSED: Final = 899


@dataclass(frozen=True, slots=True)
class Made:
    """A declaration: the lists' lines in it, each with its line of the declaration."""

    lists: tuple[Entry, ...]
    lines: tuple[tuple[int, Entry, Mapping[str, Any]], ...]

    def weight(self, name: str) -> str:
        return str(sum((Decimal(entry.body["fields"][name]) for entry in self.lists), Decimal(0)))


def words_in(entries: Sequence[Entry]) -> frozenset[str]:
    """The words of all lists of a request."""
    return frozenset().union(*(words_of(entry.order_no) for entry in entries))


def why_not(
    head: Mapping[str, str], numbers: Sequence[str], found: Mapping[str, Entry], consolidated: Mapping[str, str], told_to_wait: bool
) -> Refusal | None:  # fmt: skip
    """What speaks against consolidating these lists; those that are the reason are named, as many as a text has room for."""
    unfit: list[str] = []
    for number in numbers:
        entry = found.get(number)
        if (
            entry is None
            or entry.family != "603"
            or any(entry.body["fields"][x] != head[x] for x in ("customsCode", "ebcCode"))
        ):
            return customs_refusal(
                "701002", f"清单不存在或收发货人、申报地海关不一致[invtNo:{number}]"
            )
        state = "" if number not in consolidated else f",declSeqNo:{consolidated[number]}"
        barred = entry.state != "declared" or entry.status != CLOSED or is_all_taken_back(entry)
        if (
            barred
            or state
            or entry.body["fields"].get("statisticsFlag") != "B"
            or "sum_refused" in words_of(entry.order_no)
        ):
            unfit.append(f"[invtNo:{number}{state}]")
    if unfit:
        return customs_refusal("701005", f"清单状态不允许汇总{''.join(unfit[:NAMED_MAX])}")
    words = words_in(list(found.values()))
    if "sum_wait" in words and not told_to_wait:
        return customs_refusal("701009", "汇总申请过于频繁，请稍后再报")
    if "sum_no" in words:
        return customs_refusal("701099", "汇总申请不符合规定")
    return None


def made_of(entries: Sequence[Entry], *, by_name: bool) -> list[Made]:
    """The declarations of these lists, by the authority's own grouping."""
    heads: dict[tuple[str, ...], dict[tuple[str, ...], list[tuple[Entry, Mapping[str, Any]]]]] = {}
    for entry in sorted(entries, key=lambda entry: entry.invt_no or ""):
        fields = entry.body["fields"]
        head = tuple(
            fields[name]
            for name in ("customsCode", "ebcCode", "ownerCode", "country", "tradeMode", "trafMode")
        )
        for line in entry.body["lines"]:
            key = (
                line["country"],
                line["code"],
                line["currency"],
                line["unit"],
                line["name"] if by_name else "",
            )
            heads.setdefault(head, {}).setdefault(key, []).append((entry, line))
    return [
        _made(part) for _, keys in sorted(heads.items()) for part in _parts(list(keys.values()))
    ]


def _parts(lines: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(lines), LINES_MAX):
        yield lines[start : start + LINES_MAX]


def _made(part: Sequence[Sequence[tuple[Entry, Mapping[str, Any]]]]) -> Made:
    lines = tuple(
        (number, entry, line) for number, found in enumerate(part, 1) for entry, line in found
    )
    # A list whose lines are in two declarations weighs in the one with its first.
    lists = {entry.id: entry for _, entry, line in lines if line is entry.body["lines"][0]}
    return Made(tuple(lists.values()), lines)


def notices_of(words: frozenset[str], entry_id: str) -> list[tuple[str, str]]:
    """What is said of a declaration, one after another: decState and the number, once there is one."""
    told = [("1", ""), ("L", entry_id), ("R", entry_id)]
    return [told[0], ("E", ""), *told[1:]] if "dec_returned" in words else told


def results(head: Mapping[str, str], origin: str, made: Made | None, at: float) -> list[Receipt]:
    """The CEB792 of one word on a declaration: with its lines the first time, in several messages if they are many."""
    lines = [] if made is None else list(made.lines)
    parts = [
        lines[start : start + RESULT_LINES_MAX] for start in range(0, len(lines), RESULT_LINES_MAX)
    ] or [[]]
    return [_result(head, origin, part, len(parts), seq, at) for seq, part in enumerate(parts, 1)]


_HEAD: Final = (
    "customsCode", "sumNo", "opDate", "declSeqNo", "decTmpNo", "decPreNo", "entryId", "decState", "agentCode", "agentName", "ebcCode",
    "ebcName", "declAgentCode", "declAgentName", "grossWeight", "netWeight", "msgCount", "msgSeqNo",
)  # fmt: skip


def _result(
    head: Mapping[str, str], origin: str, lines: Sequence[tuple[int, Entry, Mapping[str, Any]]], count: int, seq: int, at: float
) -> Receipt:  # fmt: skip
    fields = {**head, "opDate": return_time(at), "msgCount": str(count), "msgSeqNo": str(seq)}
    told = "".join(f"<{name}>{escape(fields[name])}</{name}>" for name in _HEAD if fields.get(name))
    items = "".join(
        f"<SummaryResultList><invtNo>{entry.invt_no}</invtNo><logisticsNo>{escape(entry.body['waybill'][1])}</logisticsNo>"
        f"<gseqno>{number}</gseqno><gnum>{line['number']}</gnum><gcode>{line['code']}</gcode></SummaryResultList>"
        for number, entry, line in lines
    )
    xml = f"<SummaryResult><SummaryResultHead><guid>{new_guid()}</guid>{told}</SummaryResultHead>{items}</SummaryResult>"
    return Receipt("792", origin, head["decState"], "", fields["sumNo"], xml)
