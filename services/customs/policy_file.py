"""The declarant's policy file: read and checked."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any, Final

from services.customs import policy_limits
from services.customs.ceb.build import DOCUMENTS_MAX
from services.customs.ceb.documents import Enterprise
from services.customs.consolidation import months
from services.customs.consolidation.domain import SummaryPolicy
from services.customs.domain.numbers import LISTS_MAX
from services.customs.domain.returns import ReturnTerms
from services.customs.policy import (
    Amendments,
    Batching,
    Bonded,
    Declarant,
    Office,
    Policy,
    Summaries,
)
from shared.errors import Misconfigured
from shared.xml import XML_BYTES_MAX

LISTS_IN_A_MESSAGE_MAX: Final = 10_000
"""A list number takes some 70 bytes of a message of at most one megabyte."""


AGE_MAX_S: Final = 86_400.0


BYTES_MIN: Final = 32 * 1024
"""A message must have room for the longest list of one line, its sender and the signature."""


@lru_cache(maxsize=4)
def load(path: Path | None = None) -> Policy:
    """Return the policy in the file, or the one that ships with the service.

    Raises Misconfigured for a missing value, or for one that no message could be built with.
    """
    try:
        source = files("services.customs").joinpath("policy.toml") if path is None else path
        policy = _policy(tomllib.loads(source.read_text(encoding="utf-8")))
        policy_limits.check(policy)
        return policy
    except KeyError as error:
        raise Misconfigured(f"the customs policy lacks {error.args[0]}") from None
    except (OSError, TypeError, ValueError) as error:
        raise Misconfigured(f"the customs policy cannot be read: {error}") from None


def _policy(data: Mapping[str, Any]) -> Policy:
    declarant, batching, amendments, returns = (
        data["declarant"],
        data["batching"],
        data["amendments"],
        data["returns"],
    )
    statutory = {
        row["hs_prefix"]: (row["unit"], row.get("second_unit")) for row in data["statutory_units"]
    }
    if "" not in statutory:
        raise KeyError("statutory_units with an empty hs_prefix")
    return Policy(
        version=data["version"],
        declarant=Declarant(
            Enterprise(declarant["code"], declarant["name"]),
            declarant["dxp_id"],
            declarant["guarantor_code"],
        ),
        batching=_batching(batching),
        amendments=_amendments(amendments),
        offices=tuple(Office(**row) for row in data["offices"]),
        bonded=Bonded(
            Enterprise(data["bonded"]["area_code"], data["bonded"]["area_name"]),
            data["bonded"]["ledger_no"],
        ),
        statistics_flag=data["export"]["statistics_flag"],
        export_wrap_type=data["export"]["wrap_type"],
        export_return_trade_mode=dict(returns["export_trade_mode"]),
        return_terms=_terms(returns["terms"]),
        summaries=_summaries(data["summary"]),
        statutory=statutory,
    )


def _amendments(row: Mapping[str, Any]) -> Amendments:
    most = int(row["attempts_max"])
    if not 1 <= most <= LISTS_MAX:
        raise ValueError(f"amendments.attempts_max: found {most}, expected 1 to {LISTS_MAX}")
    amendments = Amendments(
        most,
        frozenset(row["correctable"]),
        frozenset(row["too_soon"]),
        float(row["too_soon_wait_s"]),
        frozenset(row["there_already"]),
        float(row.get("patience_s", 24 * 3600)),
        float(row.get("wait_max_s", 2 * 3600)),
    )
    if not 0 < amendments.too_soon_wait_s <= amendments.wait_max_s <= amendments.patience_s < inf:
        raise ValueError(
            f"amendments: found too_soon_wait_s {amendments.too_soon_wait_s:g}, "
            f"wait_max_s {amendments.wait_max_s:g} and patience_s {amendments.patience_s:g}, "
            "expected each above 0 and none above the next"
        )
    return amendments


def _batching(row: Mapping[str, Any]) -> Batching:
    batching = Batching(
        int(row["lists_max"]),
        int(row["lines_max"]),
        float(row["age_s"]),
        int(row.get("bytes_max", XML_BYTES_MAX)),
    )
    if not BYTES_MIN <= batching.bytes_max <= XML_BYTES_MAX:
        raise ValueError(
            f"batching.bytes_max: found {batching.bytes_max}, "
            f"expected {BYTES_MIN} to {XML_BYTES_MAX}"
        )
    if not 1 <= batching.lists_max <= DOCUMENTS_MAX:
        raise ValueError(
            f"batching.lists_max: found {batching.lists_max}, expected 1 to {DOCUMENTS_MAX}"
        )
    if batching.lines_max < 1 or not 0 < batching.age_s <= AGE_MAX_S:
        raise ValueError(
            f"batching: found lines_max {batching.lines_max} and age_s {batching.age_s:g}, "
            f"expected both above 0, and age_s up to {AGE_MAX_S:g}"
        )
    return batching


def _terms(rows: Sequence[Mapping[str, Any]]) -> tuple[ReturnTerms, ...]:
    terms = tuple(
        ReturnTerms(
            row["direction"],
            row["valid_from"],
            row.get("valid_to"),
            int(row["apply_days_max"]),
            int(row["back_days_max"]),
            row["source"],
            int(row["given_up_days"]),
        )
        for row in sorted(rows, key=lambda row: (row["direction"], row["valid_from"]))
    )
    for before, after in pairwise(terms):
        if before.direction == after.direction and (
            before.valid_to is None or before.valid_to >= after.valid_from
        ):
            raise ValueError(
                f"returns.terms: two terms for {after.direction} on {after.valid_from}, "
                "expected one"
            )
    for each in terms:
        if not each.source or min(each.apply_days_max, each.back_days_max, each.given_up_days) < 1:
            raise ValueError(
                f"returns.terms: the term from {each.valid_from} needs a source and days above 0"
            )
    return terms


def _summaries(row: Mapping[str, Any]) -> Summaries:
    summaries = Summaries(
        Enterprise(row["broker_code"], row["broker_name"]),
        row["summary_flag"],
        row["item_name_flag"],
        int(row["from_day"]),
        int(row["lists_max"]),
        int(row["messages_max"]),
        _asking(row),
        _summary_terms(row["terms"]),
    )
    in_bounds = (
        1 <= summaries.lists_max <= LISTS_IN_A_MESSAGE_MAX,
        1 <= summaries.messages_max <= 99,
        1 <= summaries.from_day <= 28,
    )
    if not all(in_bounds):
        raise ValueError("summary: lists_max, messages_max or from_day is out of bounds")
    return summaries


def _asking(row: Mapping[str, Any]) -> SummaryPolicy:
    asking = SummaryPolicy(
        frozenset(row["ask_again"]),
        int(row["attempts_max"]),
        float(row["wait_s"]),
        float(row.get("wait_max_s", 3600)),
    )
    if not 0 < asking.wait_s <= asking.wait_max_s < inf:
        raise ValueError(
            f"summary: found wait_s {asking.wait_s:g} and wait_max_s {asking.wait_max_s:g}, "
            "expected both above 0"
        )
    return asking


def _summary_terms(rows: Sequence[Mapping[str, Any]]) -> tuple[months.SummaryTerms, ...]:
    terms = tuple(
        months.SummaryTerms(
            row["valid_from"],
            int(row["due_day"]),
            int(row["lines_max"]),
            int(row["hs_digits"]),
            row["source"],
        )
        for row in sorted(rows, key=lambda row: row["valid_from"])
    )
    for each in terms:
        days_and_lines = 1 <= each.due_day <= 28 and each.lines_max >= 1
        if not each.source or not days_and_lines or not 4 <= each.hs_digits <= 10:
            raise ValueError(
                f"summary.terms: the terms from {each.valid_from} need a source, a due_day up to "
                "28, lines and digits"
            )
    return terms
