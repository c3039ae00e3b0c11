"""Messages of the family read: receipts as facts to follow, any message as a JSON-able dict."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from lxml import etree

from services.customs.ceb import codes
from services.customs.ceb.build import CEB
from services.customs.ceb.writing import BEIJING
from shared.money import Money, MoneyError
from shared.xml import XML_BYTES_MAX, XmlRefused, fields_of, local_name, parse_untrusted, text_of

_MESSAGE: Final = re.compile(r"CEB[0-9]{3}Message")
# Receipt message to its entry and the element that names the enterprise's own document.
_RECEIPTS: Final = {
    "CEB622Message": ("InventoryReturn", "copNo"), "CEB604Message": ("InventoryReturn", "copNo"),
    "CEB624Message": ("InvtCancelReturn", "copNo"), "CEB606Message": ("InvtCancelReturn", "copNo"),
    "CEB626Message": ("InvtRefundReturn", "copNo"),
    # The schema calls it RefundReturn, the text of the specification like the import's.
    "CEB214Message": ("RefundReturn", "coElNo"),
    "CEB900Message": ("MessageReturn", ""),
}  # fmt: skip
RECEIPT_MESSAGES: Final = frozenset(name.removesuffix("Message") for name in _RECEIPTS)
_REPEATED_NAMES: Final = """
    Order OrderList Payment Receipts Logistics Arrival ArrivalList Departure DepartureList Inventory
    InventoryList InvtCancel InvtRefund InvtRefundList InvtRefundDetail WayBill WayBillList SummaryApply
    SummaryApplyList SummaryResult SummaryResultList Delivery DeliveryList Tax TaxListRd BaseSubscribe
    OrderReturn PaymentReturn ReceiptsReturn LogisticsReturn LogisticsStatus LogisticsStatusReturn
    InventoryReturn InvtCancelReturn InvtRefundReturn RefundReturn InvtRefundDetailReturn ArrivalReturn
    DepartureReturn WayBillReturn SummaryReturn DeliveryReturn
"""
_REPEATED: Final = frozenset(_REPEATED_NAMES.split())
"""Elements that may come more than once: always a list in JSON, even when there is one."""
# The authority writes `[Code:1800;Desc:…]`, sometimes `Code:1313` without brackets.
_INNER_CODE: Final = re.compile(r"\bCode\s*[:：]\s*(-?[0-9]{1,9})", re.IGNORECASE)
_STATUS: Final = re.compile(r"-?[0-9]{1,10}")
_ORIGINAL_GUID: Final = re.compile(r"""\bguid\s*=\s*["']([0-9A-Za-z-]{36})["']""")


@dataclass(frozen=True, slots=True)
class Receipt:
    """One entry of a receipt: what the authority says of one document at `at` (Beijing).

    `info` is its text as it came: it may name persons, so show `public_info` instead. A 900 answers a whole
    message, by `original_guid` where its text shows it and by `original_id` (the exchange platform's).
    """

    message_type: str
    status: str
    at: datetime
    info: str
    cop_no: str | None = None
    pre_no: str | None = None
    invt_no: str | None = None
    inner_code: str | None = None
    original_id: str | None = None
    original_type: str | None = None
    original_guid: str | None = None
    statistics_flag: str | None = None

    @property
    def code(self) -> str:
        """Why, as precisely as the receipt says: the inner code, else the status."""
        return self.inner_code or self.status

    @property
    def public_info(self) -> str:
        """The codes with this project's own words for them.

        Nothing the authority quoted from the document.
        """
        known = codes.error(self.code)
        status = codes.find_status(self.status)
        meaning = known.meaning if known else status.meaning if status else f"status {self.status} is in no list here"
        return f"[Code:{self.code};Desc:{meaning}]" if self.inner_code else meaning


def parse_message(data: bytes, max_bytes: int = XML_BYTES_MAX) -> etree._Element:
    """The root of a message of the family; raises XmlRefused for anything else."""
    root = parse_untrusted(data, max_bytes)
    name = etree.QName(root)
    if name.namespace != CEB or not _MESSAGE.fullmatch(name.localname):
        raise XmlRefused(f"the root must be a CEB message in namespace {CEB}", "unknown_shape")
    return root


def parse_receipts(data: bytes) -> list[Receipt]:
    """The entries of a receipt (622, 604, 624, 606, 626, 214, 900).

    Raises XmlRefused for any other or a broken one.
    """
    return _receipts_of(parse_message(data))


def parse_answer(data: bytes) -> list[Receipt] | list[Bill] | list[SummaryReceipt] | list[SummaryResult]:
    """What the authority says in one message: receipts, tax bills (816, 818), or what became of a summary request (702, 792).

    Raises XmlRefused for anything else.
    """
    root = parse_message(data)
    name = local_name(root).removesuffix("Message")
    if name in BILL_MESSAGES:
        return parse_bills(root)
    return parse_summaries(root) if name in SUMMARY_MESSAGES else _receipts_of(root)


def _receipts_of(root: etree._Element) -> list[Receipt]:
    name = local_name(root)
    if name not in _RECEIPTS:
        raise XmlRefused(f"{name} is not a receipt read here", "unknown_shape")
    entry, number = _RECEIPTS[name]
    entries = [child for child in root if child.tag == f"{{{CEB}}}{entry}"]
    if not entries:
        raise XmlRefused(f"{name} holds no {entry}", "unknown_shape")
    return [_receipt(name.removesuffix("Message"), fields_of(each), number) for each in entries]


@dataclass(frozen=True, slots=True)
class Bill:
    """One entry of a CEB816 or CEB818: the tax bill of one list, in fen. A CEB818 tells the status alone.

    `status`: 1 issued, 2 consolidated into a payment book, 3 void.
    """

    message_type: str
    invt_no: str
    tax_no: str
    status: str
    payment_book: str | None = None
    duty_minor: int | None = None
    consumption_tax_minor: int | None = None
    vat_minor: int | None = None
    guarantor: str | None = None


BILL_MESSAGES: Final = frozenset({"CEB816", "CEB818"})
_TAXES: Final = ("customsTax", "valueAddedTax", "consumptionTax")


def parse_bills(root: etree._Element) -> list[Bill]:
    """The bills of a CEB816 or the statuses of a CEB818; raises XmlRefused for one that contradicts itself.

    CEB816 (edition 202205): TaxHeadRd with the three taxes, TaxListRd with the same for each line; the head is their sum.
    """
    message_type = local_name(root).removesuffix("Message")
    head_name = "TaxHeadRd" if message_type == "CEB816" else "TaxHeadStatus"
    found = []
    for number, entry in enumerate(child for child in root if local_name(child) == "Tax"):
        heads = [child for child in entry if local_name(child) == head_name]
        if len(heads) != 1:
            raise XmlRefused(f"{message_type}: entry {number + 1} has no {head_name}", "unknown_shape")
        lines = [fields_of(child) for child in entry if local_name(child) == "TaxListRd"]
        found.append(_bill(message_type, fields_of(heads[0]), lines))
    if not found:
        raise XmlRefused(f"{message_type} holds no Tax", "unknown_shape")
    return found


def _bill(message_type: str, head: dict[str, str], lines: list[dict[str, str]]) -> Bill:
    named = ("invtNo", "taxNo", "status", *(_TAXES if message_type == "CEB816" else ()))
    missing = [name for name in named if not head.get(name)]
    if missing:
        raise XmlRefused(f"{message_type} lacks {', '.join(missing)}", "unknown_shape")
    status, book = head["status"], head.get("entDutyNo") or None
    if status not in {"1", "2", "3"}:
        raise XmlRefused(f"{message_type}: status must be 1, 2 or 3", "invalid_value")
    if status == "2" and book is None:
        raise XmlRefused(f"{message_type}: a consolidated bill (status 2) needs its entDutyNo", "invalid_value")
    common = (message_type, head["invtNo"], head["taxNo"], status, book)
    if message_type == "CEB818":
        return Bill(*common)
    amounts = {name: _fen(head[name], name) for name in _TAXES}
    for name in _TAXES:
        if amounts[name] != sum(_fen(line.get(name, ""), name) for line in lines):
            raise XmlRefused(f"CEB816: {name} of the head is not the sum of the lines", "invalid_value")
    return Bill(*common, amounts["customsTax"], amounts["consumptionTax"], amounts["valueAddedTax"], head.get("assureCode"))


def _fen(text: str, name: str) -> int:
    """An amount of the message in fen; bills are in CNY (currency 142), to the fen, and never below zero."""
    try:
        minor = Money.of(text, "CNY").minor
    except MoneyError:
        raise XmlRefused(f"CEB816: {name} is not an amount in yuan and fen", "invalid_value") from None
    if minor < 0:
        raise XmlRefused(f"CEB816: {name} is below zero", "invalid_value")
    return minor


@dataclass(frozen=True, slots=True)
class SummaryReceipt:
    """One entry of a CEB702: what the authority says of message `seq` of a summary request. `named`: lists that its text names."""

    cop_no: str
    seq: int
    status: str
    at: datetime
    info: str
    code: str | None = None
    sum_no: str | None = None
    named: tuple[str, ...] = ()
    message_type: str = "CEB702"

    @property
    def public_info(self) -> str:
        """The code with this project's own words for it, and the numbers of the lists."""
        known = codes.error(self.code) if self.code else None
        meaning = known.meaning if known else codes.status(self.status).meaning
        told = f"[Code:{self.code};Desc:{meaning}]" if self.code else meaning
        return f"{told}: {', '.join(self.named[:20])}" if self.named else told


@dataclass(frozen=True, slots=True)
class ResultLine:
    """A line of a list and the line of the declaration that it went into (gnum, gseqno)."""

    invt_no: str
    line_no: int
    declared_line: int
    hs_code: str


@dataclass(frozen=True, slots=True)
class SummaryResult:
    """One entry of a CEB792: a declaration that customs made, or what changed about it; it may come without lines."""

    sum_no: str
    decl_seq_no: str
    status: str
    """decState: its values are customs' own."""
    at: datetime
    customs_code: str
    entry_id: str | None = None
    tmp_no: str | None = None
    pre_no: str | None = None
    count: int = 1
    seq: int = 1
    lines: tuple[ResultLine, ...] = ()
    message_type: str = "CEB792"


SUMMARY_MESSAGES: Final = frozenset({"CEB702", "CEB792"})
_INVT_NO: Final = re.compile(r"(?<![0-9A-Z])[0-9]{8}E[0-9]{9,11}(?![0-9A-Z])")


def parse_summaries(root: etree._Element) -> list[SummaryReceipt] | list[SummaryResult]:
    """The entries of a CEB702 or a CEB792; raises XmlRefused for one that lacks what it is about, or contradicts itself."""
    if local_name(root) == "CEB702Message":
        entries = [fields_of(child) for child in root if local_name(child) == "SummaryReturn"]
        receipts = [_summary_receipt(each) for each in entries]
        if not receipts:
            raise XmlRefused("CEB702 holds no SummaryReturn", "unknown_shape")
        return receipts
    results = [_summary_result(child) for child in root if local_name(child) == "SummaryResult"]
    if not results:
        raise XmlRefused("CEB792 holds no SummaryResult", "unknown_shape")
    return results


def _summary_receipt(found: dict[str, str]) -> SummaryReceipt:
    _need("CEB702", found, "copNo", "returnStatus", "returnTime")
    status, info = found["returnStatus"], found.get("returnInfo", "")
    try:
        codes.status(status)
    except codes.UnknownCode as error:
        raise XmlRefused(f"CEB702: {error}", "invalid_value") from None
    inner = _INNER_CODE.search(info)
    return SummaryReceipt(
        cop_no=found["copNo"], seq=_count("CEB702", found, "msgSeqNo"), status=status, at=return_time(found["returnTime"]), info=info,
        code=inner[1] if inner else (status if status.startswith("-") else None), sum_no=found.get("sumNo"),
        named=tuple(dict.fromkeys(_INVT_NO.findall(info))),
    )  # fmt: skip


def _summary_result(entry: etree._Element) -> SummaryResult:
    heads = [fields_of(child) for child in entry if local_name(child) == "SummaryResultHead"]
    if len(heads) != 1:
        raise XmlRefused("CEB792: an entry has no SummaryResultHead, or several", "unknown_shape")
    head = heads[0]
    _need("CEB792", head, "customsCode", "sumNo", "declSeqNo", "decState", "opDate")
    lines = tuple(_result_line(fields_of(child)) for child in entry if local_name(child) == "SummaryResultList")
    if len({(line.invt_no, line.line_no) for line in lines}) < len(lines):
        raise XmlRefused("CEB792: a line of a list is there twice", "invalid_value")
    count, seq = _count("CEB792", head, "msgCount"), _count("CEB792", head, "msgSeqNo")
    if seq > count:
        raise XmlRefused("CEB792: msgSeqNo is beyond msgCount", "invalid_value")
    return SummaryResult(
        sum_no=head["sumNo"], decl_seq_no=head["declSeqNo"], status=head["decState"], at=return_time(head["opDate"]),
        customs_code=head["customsCode"], entry_id=head.get("entryId"), tmp_no=head.get("decTmpNo"), pre_no=head.get("decPreNo"),
        count=count, seq=seq, lines=lines,
    )  # fmt: skip


def _result_line(found: dict[str, str]) -> ResultLine:
    _need("CEB792", found, "invtNo", "gseqno", "gnum", "gcode")
    return ResultLine(found["invtNo"], _count("CEB792", found, "gnum"), _count("CEB792", found, "gseqno"), found["gcode"])


def _need(message_type: str, found: dict[str, str], *names: str) -> None:
    missing = [name for name in names if name not in found]
    if missing:
        raise XmlRefused(f"{message_type} lacks {', '.join(missing)}", "unknown_shape")


def _count(message_type: str, found: dict[str, str], name: str) -> int:
    """A number from 1; 1 where there is none: "not filled in where not split"."""
    value = found.get(name, "1")
    if not (value.isascii() and value.isdecimal() and len(value) <= 9 and int(value) > 0):
        raise XmlRefused(f"{message_type}: {name} must be a number from 1", "invalid_value")
    return int(value)


def _receipt(message_type: str, found: dict[str, str], number: str) -> Receipt:
    missing = [name for name in ("returnStatus", "returnTime", *([number] if number else [])) if name not in found]
    if missing:
        raise XmlRefused(f"{message_type} lacks {', '.join(missing)}", "unknown_shape")
    status, info = found["returnStatus"], found.get("returnInfo", "")
    # One that is in no list here is a port's own, perhaps: the entry is kept, and the other lists of the message are heard.
    if not _STATUS.fullmatch(status):
        raise XmlRefused(f"{message_type}: returnStatus must be a number of up to 10 digits", "invalid_value")
    inner = _INNER_CODE.search(info)
    original = _ORIGINAL_GUID.search(found.get("oriBizMessage", "")[:4000])
    if not number and original is None and "oriCopMsgId" not in found:
        raise XmlRefused(
            f"{message_type} names no message: found neither oriCopMsgId nor a guid in oriBizMessage", "unknown_shape"
        )
    return Receipt(
        message_type=message_type, status=status, at=return_time(found["returnTime"]), info=info,
        cop_no=found.get(number), pre_no=found.get("preNo"), invt_no=found.get("invtNo"),
        inner_code=inner[1] if inner else (status if status.startswith("-") else None),
        original_id=found.get("oriCopMsgId"), original_type=found.get("oriMessageType"),
        original_guid=original[1].upper() if original else None, statistics_flag=found.get("statisticsFlag"),
    )  # fmt: skip


def return_time(value: str) -> datetime:
    """yyyyMMddHHmmssSSS, Beijing; raises XmlRefused."""
    try:
        if len(value) != 17 or not (value.isascii() and value.isdecimal()):
            raise ValueError
        # By hand: `strptime` takes ten times as long, and every list has three receipts.
        day, clock = (int(value[:4]), int(value[4:6]), int(value[6:8])), (int(value[8:10]), int(value[10:12]), int(value[12:14]))
        return datetime(*day, *clock, int(value[14:]) * 1000, tzinfo=BEIJING)
    except ValueError:
        raise XmlRefused("returnTime must be 17 digits, yyyyMMddHHmmssSSS", "invalid_value") from None


def to_json(data: bytes) -> dict[str, Any]:
    """Any message of the family as a dict.

    Its type, guid, version, and the elements by name, texts as they are.
    """
    root = parse_message(data)
    head = {
        "message": local_name(root).removesuffix("Message"),
        "guid": root.get("guid"),
        "version": root.get("version"),
    }
    return head | _children(root)


def _children(element: etree._Element) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for child in element:
        name = local_name(child)
        value = _children(child) if len(child) else text_of(child)
        if name in _REPEATED:
            found.setdefault(name, []).append(value)
        elif name in found:
            kept = found[name]
            found[name] = [*kept, value] if isinstance(kept, list) else [kept, value]
        else:
            found[name] = value
    return found
