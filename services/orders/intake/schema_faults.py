"""Read a decoded document as a submission: each value of the wrong shape becomes a fault."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from services.orders.intake import submission as wire
from services.orders.intake.redaction import redacted
from services.orders.intake.stand_ins import Step, mended
from services.orders.intake.submission import Submission, Submitted
from shared.errors import Unprocessable
from shared.events.base import Fault
from shared.identity import order_id_of
from shared.texts import TEXT, hidden_in, identifier

FAULTS_MAX: Final = 100
"""Faults that one rejection lists; one more says how many there are."""


_ENVELOPES: Final = ("data", "payload")
"""Members that hold the value in CloudEvents' structured mode and in Kafka Connect."""


NAMED_MAX: Final = 200
"""Characters of an order number that still names the rejected order, though the field allows
fewer."""


IGNORED_MAX: Final = 20


LINES_MAX: Final = 100


_DECIMALS: Final = frozenset(
    {
        "goods_value",
        "freight",
        "insurance",
        "discount",
        "tax_withheld",
        "amount_paid",
        "quantity",
        "net_weight_kg",
        "unit_price",
        "total",
        "value",
    }
)


_PATTERNS: Final[dict[str, tuple[str, str]]] = {
    wire.DECIMAL: ("is_decimal", 'a decimal of at most 14 digits and 5 decimals, as "425.00"'),
    wire.TIME: ("is_time", "RFC 3339 with offset, as 2026-11-23T09:00:00+08:00"),
    TEXT: (
        "is_plain_text",
        "text that can be seen and printed: no control or direction characters, not blank",
    ),
    wire.COUNTRY: ("is_country", "ISO 3166-1 alpha-2 in capitals"),
    wire.CURRENCY: ("is_currency", "ISO 4217 in capitals"),
    wire.CODE: (
        "is_enterprise_code",
        "customs registration (10) or unified social credit code (18)",
    ),
    wire.HS_CODE: ("is_hs_code", "digits"),
    wire.ID_TYPE: ("one_of", "1 (resident identity card) or 2 (other)"),
}


_TYPES: Final[dict[str, tuple[str, str]]] = {
    "missing": ("required", "a value"),
    "string_type": ("is_text", "a string"),
    "int_type": ("is_whole_number", "a whole number"),
    "model_type": ("is_object", "an object"),
    "model_attributes_type": ("is_object", "an object"),
    "tuple_type": ("is_list", "a list"),
    "string_too_short": ("required", "at least 1 character"),
    "value_error": ("is_time", "a date and time that exist"),
}


def read_document(document: dict[str, Any], earlier: Sequence[Fault] = ()) -> Submitted:
    """Return the submission in a decoded document. Raises Unprocessable if it names no order.

    `earlier`: faults of a reader of another format; their fields count as broken.
    """
    order_no, platform_code = named(document)
    broken = {_steps(fault.field): fault for fault in (*earlier, *_line_count(document))}
    for _ in range(3):
        sound = mended(document, broken) if broken else document
        try:
            submission = Submission.model_validate(sound)
        except ValidationError as error:
            broken |= {e["loc"]: _fault(e) for e in error.errors(include_url=False)}
            continue
        return Submitted(
            order_id=order_id_of(platform_code, order_no),
            order_no=order_no,
            platform_code=platform_code,
            submission=submission,
            ignored=_ignored(document),
            shape_faults=tuple(broken.values()),
            broken=frozenset(path_of(steps) for steps in broken),
            raw=_raw(document, broken),
        )
    raise Unprocessable("unknown_shape", "the submission has no shape that could be read")


def named(document: Mapping[str, Any]) -> tuple[str, str]:
    """Return the order number and the platform code. Raises Unprocessable if one is missing."""
    wrapped = next((name for name in _ENVELOPES if isinstance(document.get(name), dict)), None)
    if wrapped is not None and "order_no" not in document:
        raise Unprocessable(
            "unknown_shape",
            f"send what stands in {wrapped} as the value, without what is around it",
        )
    platform = document.get("platform")
    order_no, code = (
        document.get("order_no"),
        platform.get("code") if isinstance(platform, dict) else None,
    )
    return _name("order_no", order_no), _name("platform.code", code)


def _name(field: str, value: Any) -> str:
    """Return a text that names an order. Raises Unprocessable.

    Invisible characters are refused: they would make two orders of one.
    """
    name = identifier(value) if isinstance(value, str) else ""
    if not 1 <= len(name) <= NAMED_MAX:
        shown = f"{len(name)} characters" if isinstance(value, str) else redacted(field, value)
        raise Unprocessable(
            "invalid_value",
            f"{field} must be a text of 1 to {NAMED_MAX} characters, or no order is named: "
            f"found {shown}",
        )
    hidden = hidden_in(name)
    if hidden is not None:
        raise Unprocessable(
            "invalid_value",
            f"{field}: send it without characters that cannot be seen: found {hidden}",
        )
    return name


def limited(faults: Sequence[Fault]) -> tuple[Fault, ...]:
    if len(faults) <= FAULTS_MAX:
        return tuple(faults)
    more = Fault(
        field="",
        rule="faults_max",
        found=f"{len(faults)} faults",
        expected=f"{FAULTS_MAX} are listed",
    )
    return (*faults[:FAULTS_MAX], more)


def path_of(steps: Iterable[Step]) -> str:
    """Return `("lines", 1, "hs_code")` as `lines[1].hs_code`."""
    path = ""
    for step in steps:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path


def _steps(path: str) -> tuple[Step, ...]:
    return tuple(
        int(part) if part.isdigit() else part
        for part in path.replace("[", ".").replace("]", "").split(".")
    )


def _line_count(document: Mapping[str, Any]) -> tuple[Fault, ...]:
    """Count the lines here: pydantic counts only those of the right shape."""
    lines = document.get("lines")
    if not isinstance(lines, list) or 1 <= len(lines) <= LINES_MAX:
        return ()
    fault = Fault(
        field="lines",
        rule="line_count",
        found=f"{len(lines)} lines",
        expected=f"1 to {LINES_MAX} lines",
    )
    return (fault,)


def _fault(error: ErrorDetails) -> Fault:
    field, kind, context = path_of(error["loc"]), error["type"], error.get("ctx", {})
    shown = "nothing" if kind == "missing" else redacted(field, error["input"])
    rule, expected = _expectation(kind, str(error["loc"][-1]), context)
    return Fault(field=field, rule=rule, found=shown, expected=expected)


def _expectation(kind: str, name: str, context: Mapping[str, Any]) -> tuple[str, str]:
    expectation = _TYPES.get(kind, (kind, "a value of the right type"))
    match kind:
        case "string_pattern_mismatch":
            expectation = _PATTERNS[context["pattern"]]
        case "string_type" if name in _DECIMALS:
            expectation = "is_decimal", 'a decimal in a string, as "425.00"'
        case "string_too_long":
            expectation = "length_max", f"at most {context['max_length']} characters"
        case "literal_error":
            expectation = "one_of", str(context["expected"]).replace("'", "")
    return expectation


def _raw(
    document: Mapping[str, Any], broken: Iterable[tuple[Step, ...]]
) -> tuple[tuple[str, str], ...]:
    tops = sorted({str(steps[0]) for steps in broken})
    return tuple(
        (top, orjson.dumps(_safe(document.get(top)), option=orjson.OPT_SORT_KEYS).decode())
        for top in tops
    )


def _safe(value: Any) -> Any:
    """Return a value that orjson can write: whole numbers beyond 64 bits become texts."""
    if isinstance(value, dict):
        return {name: _safe(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_safe(inner) for inner in value]
    return str(value) if isinstance(value, int) and abs(value) >= 2**63 else value


_KNOWN: Final[dict[str, frozenset[str]]] = {
    "": frozenset(Submission.model_fields),
    "platform": frozenset(wire.Platform.model_fields),
    "merchant": frozenset(wire.Merchant.model_fields),
    "buyer": frozenset(wire.Buyer.model_fields),
    "consignee": frozenset(wire.Consignee.model_fields),
    "payment": frozenset(wire.PaymentDetails.model_fields),
}


_KNOWN_OF_LINE: Final = frozenset(wire.Goods.model_fields)


def _ignored(document: Mapping[str, Any]) -> tuple[str, ...]:
    names: set[str] = set()
    for part, known in _KNOWN.items():
        inner = document.get(part) if part else document
        if isinstance(inner, dict) and (unknown := inner.keys() - known):
            names |= {f"{part}.{name}" if part else name for name in unknown}
    return tuple(sorted(name[:60] for name in names | _ignored_of_lines(document)))[:IGNORED_MAX]


def _ignored_of_lines(document: Mapping[str, Any]) -> set[str]:
    lines = document.get("lines")
    names: set[str] = set()
    for line in lines if isinstance(lines, list) else ():
        if isinstance(line, dict):
            names |= line.keys() - _KNOWN_OF_LINE
    return {f"lines[].{name}" for name in names}
