"""The policy checked against the messages that are built from it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Final

from services.customs.ceb import tables
from services.customs.policy import Policy

MODES: Final = ("9610", "9710", "9810", "1210")
_CHOICES: Final[dict[str, Collection[str]]] = {
    "direction": ("import", "export"),
    "mode": (*MODES, "*"),
    "statistics_flag": ("A", "B"),
    "summary_flag": ("1", "2"),
    "item_name_flag": ("0", "1"),
}
"""Values that the specification allows where the schema has no list."""


def check(policy: Policy) -> None:
    """Raise ValueError for a value that no message has room for, with its name in the policy."""
    for name, source, value in _values(policy):
        _check_value(name, source, value)
    exported = {o.mode for o in policy.offices if o.direction == "export"}
    modes = MODES if "*" in exported else tuple(exported)
    lacking = [mode for mode in MODES if mode in modes and _lacks_return(policy, mode)]
    if lacking:
        raise ValueError(
            f"returns.export_trade_mode: found none for {', '.join(lacking)}, expected one for "
            "each export mode"
        )


def _lacks_return(policy: Policy, mode: str) -> bool:
    return mode not in policy.export_return_trade_mode


def _check_value(name: str, source: str, value: Any) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{name}: found {type(value).__name__}, expected a text in quotes")
    allowed = _CHOICES.get(source)
    if allowed is not None and value not in allowed:
        raise ValueError(f"{name}: found {value!r}, expected one of {', '.join(allowed)}")
    if source in ("direction", "mode") or (source == "country" and value == "*"):
        return
    try:
        tables.check(source, value)
    except ValueError as error:
        raise ValueError(f"{name}: found {value!r}: {error}") from None


def _values(policy: Policy) -> Iterator[tuple[str, str, Any]]:
    us, area, broker = policy.declarant, policy.bonded.area, policy.summaries.broker
    for source in ("agent", "company"):
        yield "declarant.code", f"{source}.code", us.company.code
        yield "declarant.name", f"{source}.name", us.company.name
    yield "declarant.dxp_id", "dxp_id", us.dxp_id
    yield "declarant.guarantor_code", "guarantor_code", us.guarantor_code
    yield "bonded.area_code", "area.code", area.code
    yield "bonded.area_name", "area.name", area.name
    yield "bonded.ledger_no", "ledger_no", policy.bonded.ledger_no
    yield "summary.broker_code", "broker.code", broker.code
    yield "summary.broker_name", "broker.name", broker.name
    yield "summary.summary_flag", "summary_flag", policy.summaries.summary_flag
    yield "summary.item_name_flag", "item_name_flag", policy.summaries.item_name_flag
    yield "export.statistics_flag", "statistics_flag", policy.statistics_flag
    yield "export.wrap_type", "wrap_type", policy.export_wrap_type
    for mode, value in policy.export_return_trade_mode.items():
        yield f"returns.export_trade_mode.{mode}", "trade_mode", value
    for prefix, units in policy.statutory.items():
        for name, source, unit in zip(
            ("unit", "second_unit"), ("statutory_unit", "second_unit"), units, strict=True
        ):
            if unit is not None:
                yield f"statutory_units of {prefix!r}: {name}", source, unit
    for number, office in enumerate(policy.offices, 1):
        for source in ("direction", "mode", "country", "customs_code", "port_code", "traf_mode"):
            yield f"offices, number {number}: {source}", source, getattr(office, source)
        for source in ("vehicle", "voyage_no", "site_code", "statistics_flag"):
            if (value := getattr(office, source)) is not None:
                yield f"offices, number {number}: {source}", source, value
