"""What is wrong with a document, each fault as a sentence: field, rule, found, expected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

FOUND_MAX: Final = 60

_RULES: Final[Mapping[str, tuple[str, str]]] = {
    "missing": ("required", "a value"),
    "json_invalid": ("is_json", "one JSON document"),
    "model_type": ("is_object", "an object"),
    "model_attributes_type": ("is_object", "an object"),
    "dict_type": ("is_object", "an object"),
    "tuple_type": ("is_list", "a list"),
    "string_type": ("is_text", "a string"),
    "bool_type": ("is_true_or_false", "true or false"),
    "string_too_short": ("length", "a text that is not empty"),
    "int_type": ("is_whole_number", "a whole number"),
    "int_parsing": ("is_whole_number", "a whole number"),
    "int_from_float": ("is_whole_number", "a whole number"),
    "decimal_parsing": ("is_decimal", 'a decimal in a string, like "12.00"'),
    "decimal_max_digits": ("is_decimal", "a decimal of at most 24 digits"),
    "finite_number": ("is_decimal", "a finite decimal"),
    "datetime_type": ("is_time", "a time with its offset, like 2026-11-23T09:00:00+08:00"),
    "datetime_parsing": ("is_time", "a time with its offset, like 2026-11-23T09:00:00+08:00"),
    "datetime_from_date_parsing": (
        "is_time",
        "a time with its offset, like 2026-11-23T09:00:00+08:00",
    ),
}
_PATTERNS: Final[Mapping[str, tuple[str, str]]] = {
    r"^[0-9]{4}(\.?[0-9]{2}){0,3}$": (
        "is_hs_code",
        "4, 6, 8 or 10 digits, dots allowed between them, like 3304.99.0029",
    ),
    "^(ml|g|piece)$": ("one_of", "ml, g or piece"),
    "^[A-Z]{2}$": ("is_country", "ISO 3166-1 alpha-2 in capitals, like US"),
}
_KINDS: Final[Mapping[type, str]] = {
    bool: "true or false",
    int: "the number",
    float: "the number",
    dict: "an object",
    list: "a list",
}


_BOUNDS: Final[Mapping[str, tuple[str, str]]] = {
    "greater_than": ("above", "more than {gt}"),
    "greater_than_equal": ("at_least", "at least {ge}"),
    "less_than_equal": ("at_most", "at most {le}"),
    "too_short": ("line_count", "at least {min_length} lines"),
    "too_long": ("line_count", "at most {max_length} lines"),
}


class FieldFault(NamedTuple):
    """One fault of a document; the field as `lines[0].total`, empty for the document itself."""

    field: str
    rule: str
    found: str
    expected: str

    def __str__(self) -> str:
        return (
            f"{self.field or 'the file'}: found {self.found}, expected {self.expected} "
            f"({self.rule})"
        )


def faults_of(error: ValidationError) -> list[FieldFault]:
    """Return every fault; "too short" is dropped for a list with faulty items.

    Pydantic counts only the sound items of such a list.
    """
    errors = error.errors(include_url=False)
    return [
        _fault_of(each)
        for each in errors
        if each["type"] != "too_short"
        or not any(
            len(e["loc"]) > len(each["loc"]) and e["loc"][: len(each["loc"])] == each["loc"]
            for e in errors
        )
    ]


def _fault_of(error: ErrorDetails) -> FieldFault:
    kind, context = error["type"], error.get("ctx", {})
    value = _shown(error)
    rule, expected = _RULES.get(kind, (kind, error["msg"].removeprefix("Value error, ")))
    if kind in _BOUNDS:
        rule, expected = _BOUNDS[kind][0], _BOUNDS[kind][1].format(**context)
    match kind:
        case "string_pattern_mismatch":
            rule, expected = _PATTERNS.get(
                context["pattern"], ("has_form", f"the form {context['pattern']}")
            )
        case "literal_error":
            rule, expected = "one_of", str(context["expected"]).replace("'", "")
        case "value_error":
            rule, expected = "is_decimal", expected.replace("write it as ", "")
    return FieldFault(path_of(error["loc"]), rule, value, expected)


def _shown(error: ErrorDetails) -> str:
    match error["type"]:
        case "missing":
            return "nothing"
        case "json_invalid":
            return str(error.get("ctx", {})["error"])
        case "too_short" | "too_long":
            return f"{error.get('ctx', {})['actual_length']} lines"
        case "model_type" | "model_attributes_type" | "dict_type" if isinstance(
            error["input"], str
        ):
            return "a text"  # where an object was expected, it may be a person's name
    return _shown_value(error["input"])


def path_of(steps: tuple[int | str, ...]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(
        "."
    )


def _shown_value(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, str):
        text = value if len(value) <= FOUND_MAX else f"{value[:FOUND_MAX]}…"
        return repr(text)
    kind = _KINDS.get(type(value), "something else")
    return f"{kind} {value}" if kind == "the number" else kind
