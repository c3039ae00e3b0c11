"""What the authority rules about one list or request: admission, outcome, cancellation, return; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from hashlib import blake2b
from typing import Final

import structlog

from sandbox.authority.declarations import Document, Family
from sandbox.authority.matching import Refusal, customs_refusal
from sandbox.authority.receipts import TEXTS
from sandbox.authority.register import LIVE, Entry
from sandbox.documents import words_of
from shared.clock import BEIJING

_log = structlog.get_logger()
STAGE_S: Final = 1.0
SLOW_S: Final = 2.0
DEPARTURE_S: Final = 0.5
OUTAGE_S: Final = 8.0
BUSY_TIMES: Final = 2
DAY_S: Final = 86400.0
_CHINA_S: Final = 8 * 3600.0
RETURN_DAYS_MAX: Final = {"621": 30, "603": 365}  # SS-6941; export: GACC 2020 No. 44 [GK]
BACK_DAYS_MAX: Final = {"621": 45, "603": 365}  # GACC 2020 No. 45, art. 3; export as above
JOURNEY_S: Final = 1.0
"""How long goods of a granted return are on their way."""
CLEARED: Final = frozenset({800, 899})
ENDED: Final = frozenset({501, 700, 800, 899})


@dataclass(frozen=True)
class Policy:
    """How the authority behaves beyond the language: pace of delays, and examination at random."""

    pace: float = 1.0
    examination_rate: float = 0.0
    seed: str = "crossborder"
    day_s: float = DAY_S

    def day_after(self, at: float, days: int) -> float:
        """When the calendar day begins that is so many days after the day of `at`, Beijing time; a day lasts `day_s`."""
        return (self.day_of(at) + days) * self.day_s - _CHINA_S

    def day_of(self, at: float) -> int:
        """The number of the calendar day, Beijing time."""
        return int((at + _CHINA_S) // self.day_s)

    def draws(self, guid: str) -> bool:
        """Whether a list is examined at random: the same seed and list draw the same."""
        if self.examination_rate <= 0:
            return False
        drawn = (
            int.from_bytes(blake2b(f"{self.seed}|{guid}".encode(), digest_size=8).digest()) / 2**64
        )
        return drawn < self.examination_rate


def script_of(entry: Entry, policy: Policy) -> list[tuple[float, int]]:
    """The receipts of an accepted list, each with the seconds after which it comes."""
    words = words_of(entry.order_no)
    drawn = policy.draws(entry.guid)
    if drawn:
        _log.info(
            "drawn for examination", list=entry.guid, rate=policy.examination_rate, seed=policy.seed
        )
    stages = [300] if "review" in words else []
    stages += [600] if "hold" in words else []
    stages += [500] if drawn or words & {"examine", "detain", "shipback"} else []
    step = STAGE_S * policy.pace
    script = [(0.0, 120), *((number * step, status) for number, status in enumerate(stages))]
    at = len(stages) * step
    if "detain" in words or "shipback" in words:
        return [*script, (at, 501 if "detain" in words else 700)]
    script.append((at, 800))
    if entry.family == "603":
        script.append((at + DEPARTURE_S * policy.pace, 899))
    if "contradict" in words:
        script.append((at + step, 500))
    if "twice" in words:
        # The message came again: once while customs has the list in hand, and once after its last word.
        script.insert(1, (0.0, declared_already(entry.family)))
        script.append((at + step, declared_already(entry.family)))
    return script


def not_taken(entry: Entry, last: Entry | None, now: float, policy: Policy) -> Refusal | None:
    """What the e-port says where it does not take a list in, since its way to customs is blocked or it is busy."""
    words = words_of(entry.order_no)
    entry.body["first_at"] = first_at = last.body.get("first_at", now) if last else now
    entry.body["times"] = times = last.body.get("times", 0) if last else 0
    if "outage" in words and now < first_at + OUTAGE_S * policy.pace:
        return Refusal(4, "发送海关失败")
    if "busy" in words and times < BUSY_TIMES:
        entry.body["times"] = times + 1
        code = -604001 if entry.family == "603" else -621022
        return Refusal(code, f"[Code:{code};Desc:申报失败，请重试]")
    if "eport" in words and last is None:
        return Refusal(-621041, "[Code:-621041;Desc:重复申报过于频繁，请稍后再报]")
    return None


def refused_whole(documents: Sequence[Document]) -> str | None:
    """Why the e-port refuses a message whole, because of the words of a list in it; None where it does not."""
    for number, document in enumerate(documents, start=1):
        words = words_of(document.head.get("orderNo", ""))
        if "ceb900" in words:
            return f"[Code:0002;Desc:document {number}: an element is not expected there]"
        if "ceb900_blind" in words:
            return "[Code:0002;Desc:an element is not expected there]"
    return None


def declared_already(family: Family) -> int:
    """What the e-port says to a list that is declared already; for exports no number of its own is printed [S22]."""
    return -603001 if family == "603" else -621004


def inadmissible(document: Document, last: Entry | None) -> Refusal | None:
    """What the e-port says to a list that may not be declared or amended now."""
    exported = document.family == "603"
    kind = document.head["appType"]
    if kind == "1":
        if last is None or last.state not in LIVE:
            return None
        code = declared_already(document.family)
        return Refusal(code, TEXTS[code])
    if kind != "2" or last is None or last.state != "returned":
        code = -603001 if exported else -621012
        return Refusal(code, f"[Code:{code};Desc:清单状态不允许变更]")
    if document.head["appTime"] < last.app_time:
        code = -603001 if exported else -621055
        return Refusal(code, f"[Code:{code};Desc:已存在更新的清单，请更新appTime]")
    return None


def told_to_refuse(entry: Entry, returns: int) -> Refusal | None:
    """The refusals of the language, for a list that was returned so many times."""
    words = words_of(entry.order_no)
    if "reject" in words:
        return customs_refusal("99", "订购人姓名与证件号码不匹配")
    if "return" in words and returns == 0:
        return customs_refusal("130126", "清单与订单的订购人电话不一致")
    return None


def why_not_cancelled(entry: Entry | None) -> Refusal | None:
    if entry is None:
        return customs_refusal("623002", "原清单不存在")
    if entry.status in ENDED or entry.state == "taken_back":
        return customs_refusal("623005", f"清单状态不允许撤销[returnStatus:{entry.status}]")
    return None


def why_not_taken_back(
    document: Document, entry: Entry | None, now: float, policy: Policy
) -> Refusal | None:
    if entry is None:
        return customs_refusal("625002", "原清单不存在")
    if entry.state != "declared" or entry.status not in CLEARED or entry.released_at is None:
        return customs_refusal("625005", f"清单状态不允许退货[returnStatus:{entry.status}]")
    if _days_after_release(entry, now, policy) > RETURN_DAYS_MAX[entry.family]:
        return customs_refusal("625006", "超过退货期限")
    if "back_refused" in words_of(entry.order_no):
        return customs_refusal("625011", "退货商品与原清单商品不符")
    return _why_not_these(document, entry)


def _why_not_these(document: Document, entry: Entry) -> Refusal | None:
    """What speaks against the lines of a return."""
    listed = {line["number"]: line for line in entry.body["lines"]}
    gone = entry.body.get("taken_back", {})
    for line in document.lines:
        original = listed.get(int(line["gnum"]))
        if original is None or not original["code"].startswith(line["gcode"]):
            return Refusal(-625209, f"[Code:-625209;Desc:原清单中无此商品项[gnum:{line['gnum']}]]")
        if (
            not 0
            < Decimal(line["qty"])
            <= Decimal(original["quantity"]) - Decimal(gone.get(line["gnum"], "0"))
        ):
            return customs_refusal("625010", f"退货数量大于原清单数量[gnum:{line['gnum']}]")
    return None


def take_back(entry: Entry, document: Document) -> None:
    """Note in the list what of it comes back."""
    gone = entry.body.setdefault("taken_back", {})
    for line in document.lines:
        gone[line["gnum"]] = str(Decimal(gone.get(line["gnum"], "0")) + Decimal(line["qty"]))


def is_all_taken_back(entry: Entry) -> bool:
    gone = entry.body.get("taken_back", {})
    return all(
        Decimal(gone.get(str(line["number"]), "0")) == Decimal(line["quantity"])
        for line in entry.body["lines"]
    )


def is_late(entry: Entry, at: float, policy: Policy) -> bool:
    """Whether goods that come back then come after the term."""
    return _days_after_release(entry, at, policy) > BACK_DAYS_MAX[entry.family]


def _days_after_release(entry: Entry, at: float, policy: Policy) -> int:
    """Calendar days in China, the day of the release not counted; a day lasts as long as the policy says."""
    return policy.day_of(at) - policy.day_of(entry.released_at or at)


def untax(entry: Entry, lines: Mapping[str, str]) -> None:
    """Note in the list of which goods no tax is levied, because they are back in time."""
    free = entry.body.setdefault("untaxed", {})
    for number, quantity in lines.items():
        free[number] = str(Decimal(free.get(number, "0")) + Decimal(quantity))


def taxed(entry: Entry) -> dict[int, Fraction]:
    """What part of each line tax is levied on."""
    free = entry.body.get("untaxed", {})
    return {
        line["number"]: 1
        - Fraction(Decimal(free.get(str(line["number"]), "0")))
        / Fraction(Decimal(line["quantity"]))
        for line in entry.body["lines"]
    }


def is_levied(entry: Entry) -> bool:
    """Whether tax is levied on a cleared list: not where all its goods came back in time."""
    return entry.state in ("declared", "taken_back") and any(taxed(entry).values())


def arrival(entry: Entry, now: float) -> float:
    """The day goods come back: today, or the first day after the term where the order's word says so."""
    if "back_late" not in words_of(entry.order_no):
        return now
    return (entry.released_at or now) + (BACK_DAYS_MAX[entry.family] + 1) * DAY_S


def pre_no(letter: str, serial: int, now: float) -> str:
    """Letter + yyyymmdd + 9 digits [S22]: B list, T return, C cancellation."""
    return f"{letter}{_day(now)}{serial % 10**9:09d}"


def invt_no(entry: Entry, serial: int, now: float) -> str:
    """4 customs + 4 year + I or E + 9 digits [S22, A1]."""
    office, letter = entry.body["fields"]["customsCode"], "I" if entry.family == "621" else "E"
    return f"{office}{_day(now)[:4]}{letter}{serial % 10**9:09d}"


def summary_no(serial: int, now: float) -> str:
    """S + yyyymmdd + 9 digits, of a summary request and of a declaration made of it (sumNo, declSeqNo) [SMP]."""
    return f"S{_day(now)}{serial % 10**9:09d}"


def entry_id(office: str, serial: int, now: float) -> str:
    """The number of a full export declaration: 4 customs + 4 year + 0 + 9 digits."""
    return f"{office}{_day(now)[:4]}0{serial % 10**9:09d}"


def payment_book(office: str, serial: int, now: float) -> str:
    """The number of a payment book: 4 customs + yyyymmdd + L + 9 digits; its form is this sandbox's own, the field has 50."""
    return f"{office}{_day(now)}L{serial % 10**9:09d}"


@lru_cache(maxsize=8)
def _day(now: float) -> str:
    """yyyyMMdd, Chinese time: the same for all that one transaction numbers."""
    return f"{datetime.fromtimestamp(now, UTC).astimezone(BEIJING):%Y%m%d}"
