"""The entries of what the authority sends: receipts, tax bills, what became of summary requests. Each is read by itself."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final

from lxml import etree

from services.customs.ceb import codes
from services.customs.ceb.writing import BEIJING
from shared.money import Money, MoneyError
from shared.xml import XmlRefused, fields_of, local_name

# Receipt message to its entry and the element that names the enterprise's own document.
RECEIPTS: Final = {
    "CEB622Message": ("InventoryReturn", "copNo"), "CEB604Message": ("InventoryReturn", "copNo"),
    "CEB624Message": ("InvtCancelReturn", "copNo"), "CEB606Message": ("InvtCancelReturn", "copNo"),
    "CEB626Message": ("InvtRefundReturn", "copNo"),
    # The schema calls it RefundReturn, the text of the specification like the import's.
    "CEB214Message": ("RefundReturn", "coElNo"),
    "CEB900Message": ("MessageReturn", ""),
}  # fmt: skip
RECEIPT_MESSAGES: Final = frozenset(name.removesuffix("Message") for name in RECEIPTS)
# The authority writes `[Code:1800;Desc:…]`, sometimes `Code:1313` without brackets, or right behind a Chinese word.
_INNER_CODE: Final = re.compile(
    r"(?<![A-Za-z0-9_])Code\s*[:：]\s*(-?[0-9]{1,9})(?![0-9])", re.IGNORECASE
)
NUMBER_CHARS_MAX: Final = 64
"""Longer than any number of the family (taxNo: 50)."""
YEARS: Final = range(2000, 2200)
"""Of a receipt's time: the family began in 2014, and terms are counted from it."""
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
        meaning = (
            known.meaning
            if known
            else status.meaning
            if status
            else f"status {self.status} is in no list here"
        )
        return f"[Code:{self.code};Desc:{meaning}]" if self.inner_code else meaning


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


EXPORT_NUMBER: Final = re.compile(r"[0-9]{8}E[0-9]{9,11}")
"""An invtNo of an export: customs, year, E and 9 to 11 digits (202205)."""
CNY: Final = "142"


def read_bill(message_type: str, entry: etree._Element) -> Bill:
    """The bill of a Tax in a CEB816, or its status in a CEB818; raises XmlRefused for one that contradicts itself.

    CEB816 (edition 202205): TaxHeadRd with the three taxes, TaxListRd with the same for each line; the head is their sum.
    """
    head_name = "TaxHeadRd" if message_type == "CEB816" else "TaxHeadStatus"
    heads = [child for child in entry if local_name(child) == head_name]
    if len(heads) != 1:
        raise XmlRefused(
            f"{message_type}: the entry has no {head_name}, or several", "unknown_shape"
        )
    return _bill(
        message_type,
        fields_of(heads[0]),
        [fields_of(child) for child in entry if local_name(child) == "TaxListRd"],
    )


def _bill(message_type: str, head: dict[str, str], lines: list[dict[str, str]]) -> Bill:
    named = ("invtNo", "taxNo", "status", *(_TAXES if message_type == "CEB816" else ()))
    _need(message_type, head, *named, *(("entDutyNo",) if "entDutyNo" in head else ()))
    if EXPORT_NUMBER.fullmatch(head["invtNo"]):
        raise XmlRefused(
            f"{message_type}: list {head['invtNo']} is an export's, and imports alone are billed",
            "invalid_value",
        )
    for currency in [each["currency"] for each in (head, *lines) if "currency" in each]:
        if currency != CNY:
            raise XmlRefused(
                f"{message_type}: currency must be {CNY}, found {currency[:8]}", "invalid_value"
            )
    status, book = head["status"], head.get("entDutyNo") or None
    if status not in {"1", "2", "3"}:
        raise XmlRefused(f"{message_type}: status must be 1, 2 or 3", "invalid_value")
    if status == "2" and book is None:
        raise XmlRefused(
            f"{message_type}: a consolidated bill (status 2) needs its entDutyNo", "invalid_value"
        )
    common = (message_type, head["invtNo"], head["taxNo"], status, book)
    if message_type == "CEB818":
        return Bill(*common)
    amounts = {name: _fen(head[name], name) for name in _TAXES}
    for name in _TAXES:
        if amounts[name] != sum(_fen(line.get(name, ""), name) for line in lines):
            raise XmlRefused(
                f"CEB816: {name} of the head is not the sum of the lines", "invalid_value"
            )
    return Bill(
        *common,
        amounts["customsTax"],
        amounts["consumptionTax"],
        amounts["valueAddedTax"],
        head.get("assureCode"),
    )


def _fen(text: str, name: str) -> int:
    """An amount of the message in fen; bills are in CNY (currency 142), to the fen, and never below zero."""
    try:
        minor = Money.of(text, "CNY").minor
    except MoneyError:
        raise XmlRefused(
            f"CEB816: {name} is not an amount in yuan and fen", "invalid_value"
        ) from None
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
_INVT_NO: Final = re.compile(rf"(?<![0-9A-Z]){EXPORT_NUMBER.pattern}(?![0-9A-Z])")


def read_summary_receipt(entry: etree._Element) -> SummaryReceipt:
    """The SummaryReturn of a CEB702; raises XmlRefused for one that lacks what it is about."""
    found = fields_of(entry)
    _need("CEB702", found, "copNo", "returnStatus", "returnTime")
    status, info = found["returnStatus"], found.get("returnInfo", "")
    try:
        codes.status(status)
    except codes.UnknownCode as error:
        raise XmlRefused(f"CEB702: {error}", "invalid_value") from None
    return SummaryReceipt(
        cop_no=found["copNo"], seq=_count("CEB702", found, "msgSeqNo"), status=status, at=return_time(found["returnTime"]), info=info,
        code=code_in(info) or (status if status.startswith("-") else None), sum_no=found.get("sumNo"),
        named=tuple(dict.fromkeys(_INVT_NO.findall(info))),
    )  # fmt: skip


def read_summary_result(entry: etree._Element) -> SummaryResult:
    """The SummaryResult of a CEB792; raises XmlRefused for one that contradicts itself."""
    heads = [fields_of(child) for child in entry if local_name(child) == "SummaryResultHead"]
    if len(heads) != 1:
        raise XmlRefused("CEB792: an entry has no SummaryResultHead, or several", "unknown_shape")
    head = heads[0]
    _need("CEB792", head, "customsCode", "sumNo", "declSeqNo", "decState", "opDate")
    lines = tuple(
        _result_line(child) for child in entry if local_name(child) == "SummaryResultList"
    )
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


def _result_line(element: etree._Element) -> ResultLine:
    found = fields_of(element)
    element.clear()  # a result has up to 100,000 lines, and its tree takes seven times its bytes
    _need("CEB792", found, "invtNo", "gseqno", "gnum", "gcode")
    return ResultLine(
        found["invtNo"],
        _count("CEB792", found, "gnum"),
        _count("CEB792", found, "gseqno"),
        found["gcode"],
    )


def _need(message_type: str, found: dict[str, str], *names: str) -> None:
    if not found.keys() >= frozenset(names):
        missing = [name for name in names if name not in found]
        raise XmlRefused(f"{message_type} lacks {', '.join(missing)}", "unknown_shape")
    for name in names:
        if len(found[name]) > NUMBER_CHARS_MAX:
            raise XmlRefused(
                f"{message_type}: {name} has more than {NUMBER_CHARS_MAX} characters",
                "invalid_value",
            )


def _count(message_type: str, found: dict[str, str], name: str) -> int:
    """A number from 1; 1 where there is none: "not filled in where not split"."""
    value = found.get(name, "1")
    if not (value.isascii() and value.isdecimal() and len(value) <= 9 and int(value) > 0):
        raise XmlRefused(f"{message_type}: {name} must be a number from 1", "invalid_value")
    return int(value)


NUMBERS: Final = ("copNo", "coElNo", "preNo", "invtNo")
"""By which an entry names a list."""


def read_receipt(message_type: str, entry: etree._Element) -> Receipt:
    """An entry of a receipt (622, 604, 624, 606, 626, 214, 900); raises XmlRefused for one that cannot be followed."""
    found = fields_of(entry)
    number = RECEIPTS[f"{message_type}Message"][1]
    # By the number that customs gave it a list is known without ours.
    own = (number,) if number and "invtNo" not in found else ()
    _need(
        message_type,
        found,
        "returnStatus",
        "returnTime",
        *own,
        *[name for name in NUMBERS if name in found],
    )
    info = found.get("returnInfo", "")
    status = _status(message_type, found)
    original = _ORIGINAL_GUID.search(found.get("oriBizMessage", "")[:4000])
    if not number and original is None and "oriCopMsgId" not in found:
        raise XmlRefused(
            f"{message_type} names no message: found neither oriCopMsgId nor a guid in oriBizMessage",
            "unknown_shape",
        )
    return Receipt(
        message_type=message_type, status=status, at=return_time(found["returnTime"]), info=info,
        cop_no=found.get(number), pre_no=found.get("preNo"), invt_no=found.get("invtNo"),
        inner_code=code_in(info) or (status if status.startswith("-") else None),
        original_id=found.get("oriCopMsgId"), original_type=found.get("oriMessageType"),
        original_guid=original[1].upper() if original else None, statistics_flag=found.get("statisticsFlag"),
    )  # fmt: skip


def _status(message_type: str, found: dict[str, str]) -> str:
    # One that is in no list here is a port's own, perhaps: the entry is kept, and a person may look.
    if not _STATUS.fullmatch(found["returnStatus"]):
        raise XmlRefused(
            f"{message_type}: returnStatus must be a number of up to 10 digits", "invalid_value"
        )
    return found["returnStatus"]


def code_in(info: str) -> str | None:
    """The code that a receipt's text gives as its reason: the last that is no "passed", else the last; None if there is none.

    One text may tell of several checks: `[Code:1800;Desc:passed][Code:1313;Desc:yearly limit]` is a refusal for 1313.
    """
    plain = (
        info if info.isascii() else unicodedata.normalize("NFKC", info)
    )  # letters and digits of full width too
    told = _INNER_CODE.findall(plain)
    errors = [code for code in told if not codes.is_passed(code)]
    return next(reversed(errors or told), None)


@dataclass(frozen=True, slots=True)
class Notice:
    """One entry of a receipt about a document that is not lodged here (an order, a payment, a waybill, an arrival …).

    `numbers` are those it names the document by; nothing follows from it here.
    """

    message_type: str
    status: str
    at: datetime
    numbers: dict[str, str]
    code: str | None = None


NOTICES: Final = {
    "CEB304Message": ("OrderReturn", ("ebpCode", "orderNo")), "CEB312Message": ("OrderReturn", ("ebpCode", "orderNo")),
    "CEB404Message": ("ReceiptsReturn", ("orderNo", "payNo")),
    "CEB412Message": ("PaymentReturn", ("payCode", "payTransactionId")),
    "CEB506Message": ("LogisticsReturn", ("logisticsCode", "logisticsNo")),
    "CEB512Message": ("LogisticsReturn", ("logisticsCode", "logisticsNo")),
    "CEB514Message": ("LogisticsStatusReturn", ("logisticsCode", "logisticsNo", "logisticsStatus")),
    "CEB508Message": ("ArrivalReturn", ("copNo", "preNo", "billNo")), "CEB510Message": ("DepartureReturn", ("copNo", "preNo")),
    "CEB608Message": ("WayBillReturn", ("copNo", "preNo", "billNo")),
    "CEB712Message": ("DeliveryReturn", ("copNo", "preNo", "rkdNo")),
    "CEB216Message": ("InvtRefundDetailReturn", ("coElNo", "preNo", "logisticsNo")),
}  # fmt: skip
"""Receipts that need nothing (edition 202205), each with its entry and the numbers it names its document by."""


def read_notice(message_type: str, entry: etree._Element) -> Notice:
    """An entry of one of NOTICES; raises XmlRefused for one that names no document."""
    found = fields_of(entry)
    numbers = {name: found[name] for name in NOTICES[f"{message_type}Message"][1] if name in found}
    if not numbers:
        raise XmlRefused(f"{message_type} names no document", "unknown_shape")
    _need(message_type, found, "returnStatus", "returnTime", *numbers)
    code = code_in(found.get("returnInfo", ""))
    return Notice(
        message_type, _status(message_type, found), return_time(found["returnTime"]), numbers, code
    )


@lru_cache(maxsize=256)
def return_time(value: str) -> datetime:
    """yyyyMMddHHmmssSSS, Beijing; raises XmlRefused."""
    try:
        if len(value) != 17 or not (value.isascii() and value.isdecimal()):
            raise ValueError
        # By hand: `strptime` takes ten times as long, and every list has three receipts.
        day, clock = (
            (int(value[:4]), int(value[4:6]), int(value[6:8])),
            (int(value[8:10]), int(value[10:12]), int(value[12:14])),
        )
        if day[0] not in YEARS:
            raise ValueError
        return datetime(*day, *clock, int(value[14:]) * 1000, tzinfo=BEIJING)
    except ValueError:
        raise XmlRefused(
            "returnTime must be 17 digits, yyyyMMddHHmmssSSS, of the years 2000 to 2199",
            "invalid_value",
        ) from None
