"""Writes receipts: CEB622, 604, 624, 606, 626, 214, 702 and 900, up to 100 answers in a message, in
order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import count
from typing import Final
from uuid import uuid4
from xml.sax.saxutils import escape

from sandbox import metrics
from sandbox.authority.message_forms import Family, Kind
from sandbox.xml import CEB
from shared.clock import BEIJING
from shared.envelope import CONTENT_TYPE_XML, Outgoing, headers_of

RECEIPTS_MAX: Final = 100

# Message code, element of one answer, and the fields in the schema's order.
_FORMS: Final[dict[tuple[Kind, Family], tuple[str, str, tuple[str, ...]]]] = {
    ("list", "621"): (
        "622",
        "InventoryReturn",
        ("customsCode", "ebpCode", "ebcCode", "agentCode", "copNo", "preNo", "invtNo"),
    ),
    ("list", "603"): (
        "604",
        "InventoryReturn",
        (
            "agentCode",
            "copNo",
            "preNo",
            "invtNo",
            "ebcCode",
            "ebpCode",
            "orderNo",
            "statisticsFlag",
        ),
    ),
    ("cancel", "621"): (
        "624",
        "InvtCancelReturn",
        ("customsCode", "agentCode", "ebpCode", "ebcCode", "copNo", "preNo", "invtNo"),
    ),
    ("cancel", "603"): ("606", "InvtCancelReturn", ("agentCode", "copNo", "preNo", "invtNo")),
    ("return", "621"): (
        "626",
        "InvtRefundReturn",
        ("customsCode", "agentCode", "ebpCode", "ebcCode", "copNo", "preNo", "invtNo"),
    ),
    ("return", "603"): (
        "214",
        "RefundReturn",
        ("ebpCode", "ebcCode", "agentCode", "coElNo", "preNo", "invtNo"),
    ),
    ("summary", "603"): (
        "702",
        "SummaryReturn",
        ("agentCode", "ebcCode", "copNo", "preNo", "sumNo", "msgSeqNo"),
    ),
}
# The export schema requires invtNo and orderNo in every receipt, empty before they exist.
_MAY_BE_EMPTY: Final = frozenset({"604", "606", "214"})
_OWN_NUMBER: Final = frozenset({"copNo", "coElNo"})

TEXTS: Final = {
    2: "电子口岸申报中",
    120: "[Code:1800;Desc:逻辑校验通过]",
    300: "[Code:1900;Desc:人工审核]",
    399: "[Code:2300;Desc:审核通过]",
    500: "[Code:2400;Desc:查验]",
    501: "[Code:2501;Desc:扣留移送通关]",
    600: "[Code:2700;Desc:挂起]",
    700: "[Code:2800;Desc:退运]",
    800: "[Code:2600;Desc:放行]",
    899: "[Code:2900;Desc:结关]",
    -621004: "[Code:-621004;Desc:清单已申报，不允许重复申报]",
    -603001: "[Code:-603001;Desc:清单已申报，不允许重复申报]",
}


# Receipt ids are a random prefix of this process and a count: cheaper than drawing each at random.
_PREFIX: Final = str(uuid4()).upper()[:24]
_COUNT: Final = count()


@dataclass(frozen=True, slots=True)
class Receipt:
    """One answer about one document.

    `origin` is the guid of the message that brought the document.
    """

    code: str
    origin: str
    status: int | str
    text: str
    cop_no: str
    xml: str


def receipt_of(
    kind: Kind,
    family: Family,
    origin: str,
    fields: Mapping[str, str],
    status: int,
    text: str,
    at: float,
) -> Receipt:
    """Return the answer to a document; `fields` has at least copNo (or coElNo) and preNo."""
    code, element, names = _FORMS[kind, family]
    cop_no = fields.get("copNo") or fields["coElNo"]
    named = _named(
        kind,
        family,
        tuple(fields.get(name) or (cop_no if name in _OWN_NUMBER else "") for name in names),
    )
    xml = (
        f"<{element}><guid>{new_guid()}</guid>{named}<returnStatus>{status}</returnStatus>"
        f"<returnTime>{return_time(at)}</returnTime><returnInfo>{escape(text)}</returnInfo></{element}>"
    )
    return Receipt(code, origin, status, text, cop_no, xml)


@lru_cache(maxsize=512)
def _named(kind: Kind, family: Family, values: tuple[str, ...]) -> str:
    """Return the elements that name a document; cached, because a list's receipts repeat them."""
    code, _, names = _FORMS[kind, family]
    empty = "<{0}/>" if code in _MAY_BE_EMPTY else ""
    return "".join(
        f"<{name}>{escape(value)}</{name}>" if value else empty.format(name)
        for name, value in zip(names, values, strict=True)
    )


def format_fault(origin: str, message_type: str, status: int, text: str, at: float) -> Receipt:
    """Return the CEB900 for a message that the e-port could not take.

    It repeats only the message's name.
    """
    named = f'<{message_type} guid="{origin}"/>' if origin else ""
    xml = (
        f"<MessageReturn><guid>{new_guid()}</guid><returnStatus>{status}</returnStatus>"
        f"<returnInfo>{escape(text)}</returnInfo><returnTime>{return_time(at)}</returnTime>"
        f"<oriCopMsgId>{escape(origin)}</oriCopMsgId><oriMessageType>{escape(message_type)}</oriMessageType>"
        f"<oriBizMessage>{escape(named)}</oriBizMessage></MessageReturn>"
    )
    return Receipt("900", origin, status, text, "", xml)


def messages_of(topic: str, receipts: Iterable[Receipt], now: float) -> Iterator[Outgoing]:
    """Return the records of these receipts, with the answers to one message together.

    The key is the guid of the answered message: one partition has all about one list, in order.
    """
    by_message: dict[tuple[str, str], list[Receipt]] = {}
    for receipt in receipts:
        by_message.setdefault((receipt.code, receipt.origin), []).append(receipt)
    for (code, origin), answers in by_message.items():
        # A CEB900 is about one message only; a CEB792 may have thousands of lines.
        size = 1 if code in ("900", "792") else RECEIPTS_MAX
        for start in range(0, len(answers), size):
            yield _message(topic, code, origin, answers[start : start + size], now)


def _message(
    topic: str, code: str, origin: str, answers: Sequence[Receipt], now: float
) -> Outgoing:
    guid = uuid4()
    for status, number in Counter(answer.status for answer in answers).items():
        metrics.RECEIPTS.labels(code, str(status)).inc(number)
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<CEB{code}Message xmlns="{CEB}" guid="{str(guid).upper()}" version="1.0">'
        f"{''.join(answer.xml for answer in answers)}</CEB{code}Message>"
    )
    headers = headers_of(
        event_id=guid,
        event_type=f"authority.ceb{code}.v1",
        source="sandbox/authority",
        at=datetime.fromtimestamp(now, UTC),
        content_type=CONTENT_TYPE_XML,
    )
    return Outgoing(topic, origin.encode(), xml.encode(), headers)


def return_time(at: float) -> str:
    """Return yyyyMMddHHmmssSSS, Chinese time [S22]."""
    milliseconds = round(at * 1000)
    return f"{_second(milliseconds // 1000)}{milliseconds % 1000:03d}"


@lru_cache(maxsize=64)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).astimezone(BEIJING).strftime("%Y%m%d%H%M%S")


def new_guid() -> str:
    return f"{_PREFIX}{next(_COUNT):012X}"
