"""The authority's rules for one list or request: admission, outcome, cancellation, return; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from hashlib import blake2b
from typing import Final

import structlog

from sandbox.authority.document_match import Refusal, customs_refusal
from sandbox.authority.message_forms import Family
from sandbox.authority.messages import Document
from sandbox.authority.receipts import TEXTS
from sandbox.authority.register import LIVE, RegisterEntry
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
"""Travel time of goods of a granted return."""
CLEARED: Final = frozenset({800, 899})
ENDED: Final = frozenset({501, 700, 800, 899})


@dataclass(frozen=True)
class AuthorityPolicy:
    """How the authority behaves beyond the language: pace of delays, and examination at random."""

    pace: float = 1.0
    examination_rate: float = 0.0
    seed: str = "crossborder"
    day_s: float = DAY_S

    def day_after(self, at: float, days: int) -> float:
        """Return when the day begins that is `days` after the day of `at`, Beijing time.

        A day lasts `day_s`.
        """
        return (self.day_of(at) + days) * self.day_s - _CHINA_S

    def day_of(self, at: float) -> int:
        return int((at + _CHINA_S) // self.day_s)

    def draws(self, guid: str) -> bool:
        """Return whether a list is examined at random; the same seed and list draw the same."""
        if self.examination_rate <= 0:
            return False
        drawn = (
            int.from_bytes(blake2b(f"{self.seed}|{guid}".encode(), digest_size=8).digest()) / 2**64
        )
        return drawn < self.examination_rate


def script_of(entry: RegisterEntry, policy: AuthorityPolicy) -> list[tuple[float, int]]:
    """Return the receipts of an accepted list, each with its delay in seconds."""
    words = words_of(entry.order_no)
    stages = _stages(entry, words, policy)
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
        # The message arrives again: once while customs has the list in hand, once after the last
        # receipt.
        script.insert(1, (0.0, declared_already(entry.family)))
        script.append((at + step, declared_already(entry.family)))
    return script


def _stages(entry: RegisterEntry, words: AbstractSet[str], policy: AuthorityPolicy) -> list[int]:
    """Return the statuses between acceptance and outcome: review, suspension, examination."""
    stages = [300] if "review" in words else []
    stages += [600] if "hold" in words else []
    drawn = policy.draws(entry.guid)
    if drawn:
        _log.info(
            "drawn for examination", list=entry.guid, rate=policy.examination_rate, seed=policy.seed
        )
    return [*stages, 500] if drawn or words & {"examine", "detain", "shipback"} else stages


def e_port_refusal(
    entry: RegisterEntry, last: RegisterEntry | None, now: float, policy: AuthorityPolicy
) -> Refusal | None:
    """Return the refusal of an e-port that cannot reach customs or is busy, by the
    order's words.
    """
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


def message_refusal(documents: Sequence[Document]) -> str | None:
    """Return the text by which the e-port refuses a whole message for the words of one of its
    lists.
    """
    for number, document in enumerate(documents, start=1):
        words = words_of(document.head.get("orderNo", ""))
        if "ceb900" in words:
            return f"[Code:0002;Desc:document {number}: an element is not expected there]"
        if "ceb900_blind" in words:
            return "[Code:0002;Desc:an element is not expected there]"
    return None


def declared_already(family: Family) -> int:
    """Return the e-port's status for a list that is declared already.

    S22 prints no own number for exports.
    """
    return -603001 if family == "603" else -621004


def admission_refusal(document: Document, last: RegisterEntry | None) -> Refusal | None:
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


def scripted_refusal(entry: RegisterEntry, returns: int) -> Refusal | None:
    """Return the refusal that a word asks for.

    `returns` is how often the list was returned before.
    """
    words = words_of(entry.order_no)
    if "reject" in words:
        return customs_refusal("99", "订购人姓名与证件号码不匹配")
    if "return" in words and returns == 0:
        return customs_refusal("130126", "清单与订单的订购人电话不一致")
    return None


def cancellation_refusal(entry: RegisterEntry | None) -> Refusal | None:
    if entry is None:
        return customs_refusal("623002", "原清单不存在")
    if entry.status in ENDED or entry.state == "taken_back":
        return customs_refusal("623005", f"清单状态不允许撤销[returnStatus:{entry.status}]")
    return None


def return_refusal(
    document: Document, entry: RegisterEntry | None, now: float, policy: AuthorityPolicy
) -> Refusal | None:
    if entry is None:
        return customs_refusal("625002", "原清单不存在")
    if entry.state != "declared" or entry.status not in CLEARED or entry.released_at is None:
        return customs_refusal("625005", f"清单状态不允许退货[returnStatus:{entry.status}]")
    if _days_after_release(entry, now, policy) > RETURN_DAYS_MAX[entry.family]:
        return customs_refusal("625006", "超过退货期限")
    if "back_refused" in words_of(entry.order_no):
        return customs_refusal("625011", "退货商品与原清单商品不符")
    return _lines_refusal(document, entry)


def _lines_refusal(document: Document, entry: RegisterEntry) -> Refusal | None:
    """Return the refusal of lines that the list lacks or of which too much would come back."""
    listed = {line["number"]: line for line in entry.body["lines"]}
    gone = entry.body.get("taken_back", {})
    for line in document.lines:
        original = listed.get(int(line["gnum"]))
        if original is None or not original["code"].startswith(line["gcode"]):
            return Refusal(-625209, f"[Code:-625209;Desc:原清单中无此商品项[gnum:{line['gnum']}]]")
        left = Decimal(original["quantity"]) - Decimal(gone.get(line["gnum"], "0"))
        if not 0 < Decimal(line["qty"]) <= left:
            return customs_refusal("625010", f"退货数量大于原清单数量[gnum:{line['gnum']}]")
    return None


def record_return(entry: RegisterEntry, document: Document) -> None:
    gone = entry.body.setdefault("taken_back", {})
    for line in document.lines:
        gone[line["gnum"]] = str(Decimal(gone.get(line["gnum"], "0")) + Decimal(line["qty"]))


def is_all_taken_back(entry: RegisterEntry) -> bool:
    gone = entry.body.get("taken_back", {})
    return all(
        Decimal(gone.get(str(line["number"]), "0")) == Decimal(line["quantity"])
        for line in entry.body["lines"]
    )


def is_late(entry: RegisterEntry, at: float, policy: AuthorityPolicy) -> bool:
    return _days_after_release(entry, at, policy) > BACK_DAYS_MAX[entry.family]


def _days_after_release(entry: RegisterEntry, at: float, policy: AuthorityPolicy) -> int:
    """Return the calendar days since the release, Beijing time; the day of the release is day 0."""
    return policy.day_of(at) - policy.day_of(entry.released_at or at)


def exempt(entry: RegisterEntry, lines: Mapping[str, str]) -> None:
    free = entry.body.setdefault("untaxed", {})
    for number, quantity in lines.items():
        free[number] = str(Decimal(free.get(number, "0")) + Decimal(quantity))


def taxed_shares(entry: RegisterEntry) -> dict[int, Fraction]:
    """Return the taxed share of each line, by line number."""
    free = entry.body.get("untaxed", {})
    return {
        line["number"]: 1
        - Fraction(Decimal(free.get(str(line["number"]), "0")))
        / Fraction(Decimal(line["quantity"]))
        for line in entry.body["lines"]
    }


def is_taxed(entry: RegisterEntry) -> bool:
    """Return whether any goods of a cleared list remain taxed; not where all came back in time."""
    return entry.state in ("declared", "taken_back") and any(taxed_shares(entry).values())


def arrival_time(entry: RegisterEntry, now: float) -> float:
    """Return the arrival of returned goods: now, or by the word `back_late` the first day after the
    term.
    """
    if "back_late" not in words_of(entry.order_no):
        return now
    return (entry.released_at or now) + (BACK_DAYS_MAX[entry.family] + 1) * DAY_S


def pre_no(letter: str, serial: int, now: float) -> str:
    """Return letter + yyyymmdd + 9 digits [S22]: B list, T return, C cancellation."""
    return f"{letter}{_day(now)}{serial % 10**9:09d}"


def invt_no(entry: RegisterEntry, serial: int, now: float) -> str:
    """Return 4 customs + 4 year + I or E + 9 digits [S22, A1]."""
    office, letter = entry.body["fields"]["customsCode"], "I" if entry.family == "621" else "E"
    return f"{office}{_day(now)[:4]}{letter}{serial % 10**9:09d}"


def summary_no(serial: int, now: float) -> str:
    """Return sumNo or declSeqNo of a consolidation: S + yyyymmdd + 9 digits [SMP]."""
    return f"S{_day(now)}{serial % 10**9:09d}"


def entry_id(office: str, serial: int, now: float) -> str:
    """Return the number of a full export declaration: 4 customs + 4 year + 0 + 9 digits."""
    return f"{office}{_day(now)[:4]}0{serial % 10**9:09d}"


def payment_book(office: str, serial: int, now: float) -> str:
    """Return 4 customs + yyyymmdd + L + 9 digits: this sandbox's own form, the field allows 50
    characters.
    """
    return f"{office}{_day(now)}L{serial % 10**9:09d}"


@lru_cache(maxsize=8)
def _day(now: float) -> str:
    return f"{datetime.fromtimestamp(now, UTC).astimezone(BEIJING):%Y%m%d}"
