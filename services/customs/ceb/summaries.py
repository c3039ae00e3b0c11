"""Replies to summary requests (CEB702) and the declarations made of them (CEB792). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from lxml import etree

from services.customs.ceb import codes
from services.customs.ceb.fields import (
    EXPORT_NUMBER,
    code_in,
    read_count,
    require_fields,
    return_time,
)
from shared.xml import XmlRefused, fields_of, local_name


@dataclass(frozen=True, slots=True)
class SummaryReceipt:
    """One entry of a CEB702: the reply to message `seq` of a summary request. `named`: lists in its
    text.
    """

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
        known = codes.error(self.code) if self.code else None
        meaning = known.meaning if known else codes.status(self.status).meaning
        text = f"[Code:{self.code};Desc:{meaning}]" if self.code else meaning
        return f"{text}: {', '.join(self.named[:20])}" if self.named else text


@dataclass(frozen=True, slots=True)
class ResultLine:
    """A line of a list, and the line of the declaration that it went into (gnum, gseqno)."""

    invt_no: str
    line_no: int
    declared_line: int
    hs_code: str


@dataclass(frozen=True, slots=True)
class SummaryResult:
    """One entry of a CEB792: a declaration that customs made, or a change of it; it may have no
    lines.
    """

    sum_no: str
    decl_seq_no: str
    status: str
    """decState; its values are customs' own."""
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
    """Return the SummaryReturn of a CEB702. Raises XmlRefused for one without its subject."""
    fields = fields_of(entry)
    require_fields("CEB702", fields, "copNo", "returnStatus", "returnTime")
    status, info = fields["returnStatus"], fields.get("returnInfo", "")
    try:
        codes.status(status)
    except codes.UnknownCode as error:
        raise XmlRefused(f"CEB702: {error}", "invalid_value") from None
    return SummaryReceipt(
        cop_no=fields["copNo"],
        seq=read_count("CEB702", fields, "msgSeqNo"),
        status=status,
        at=return_time(fields["returnTime"]),
        info=info,
        code=code_in(info) or (status if status.startswith("-") else None),
        sum_no=fields.get("sumNo"),
        named=tuple(dict.fromkeys(_INVT_NO.findall(info))),
    )


def read_summary_result(entry: etree._Element) -> SummaryResult:
    """Return the SummaryResult of a CEB792. Raises XmlRefused for one that contradicts itself."""
    heads = [fields_of(child) for child in entry if local_name(child) == "SummaryResultHead"]
    if len(heads) != 1:
        raise XmlRefused("CEB792: an entry has no SummaryResultHead, or several", "unknown_shape")
    head = heads[0]
    require_fields("CEB792", head, "customsCode", "sumNo", "declSeqNo", "decState", "opDate")
    lines = tuple(
        _result_line(child) for child in entry if local_name(child) == "SummaryResultList"
    )
    if len({(line.invt_no, line.line_no) for line in lines}) < len(lines):
        raise XmlRefused("CEB792: a line of a list is there twice", "invalid_value")
    count, seq = read_count("CEB792", head, "msgCount"), read_count("CEB792", head, "msgSeqNo")
    if seq > count:
        raise XmlRefused("CEB792: msgSeqNo is beyond msgCount", "invalid_value")
    return SummaryResult(
        sum_no=head["sumNo"],
        decl_seq_no=head["declSeqNo"],
        status=head["decState"],
        at=return_time(head["opDate"]),
        customs_code=head["customsCode"],
        entry_id=head.get("entryId"),
        tmp_no=head.get("decTmpNo"),
        pre_no=head.get("decPreNo"),
        count=count,
        seq=seq,
        lines=lines,
    )


def _result_line(element: etree._Element) -> ResultLine:
    fields = fields_of(element)
    element.clear()  # a result has up to 100,000 lines, and its tree takes seven times its bytes
    require_fields("CEB792", fields, "invtNo", "gseqno", "gnum", "gcode")
    return ResultLine(
        fields["invtNo"],
        read_count("CEB792", fields, "gnum"),
        read_count("CEB792", fields, "gseqno"),
        fields["gcode"],
    )
