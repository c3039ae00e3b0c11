"""Submissions that the tax commands read from files: their text, their shape, and every fault of one, in the same words for all."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from json import dumps, loads
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from services.cli.connect import Exit, UsageError
from services.cli.fault_sentences import FieldFault, faults_of
from services.tax.rulebook.tariff import Nomenclature
from shared.clock import beijing_date
from shared.money import EXPONENTS, Money, MoneyError

FIRST, LAST = date(2000, 1, 1), date(2099, 12, 31)
"""The days that a declaration may be of: none of the rules is older, and none is meant for later."""
BYTES_MAX: Final = 256 * 1024 * 1024
FAULTS_MAX: Final = 1000
"""So many faults of one document are told; of those beyond, how many there are."""
HS_CODE: Final = r"^[0-9]{4}(\.?[0-9]{2}){0,3}$"

_DECIMAL: Final = re.compile(r"-?[0-9]{1,60}(\.[0-9]{1,60})?")
_TIME: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?:\.([0-9]+))?([Zz]|[+-][0-9]{2}:[0-9]{2})?"
)
_NO_NUMBER: Final = {"NaN", "sNaN", "Infinity", "-Infinity", "inf", "-inf"}


def _decimal_string(value: Any) -> Any:
    """A number as digits and a point; exponents, underscores, blanks and digits of other scripts are none."""
    if not isinstance(value, str):
        raise ValueError('write it as a decimal string, like "12.00"')
    if _DECIMAL.fullmatch(value) is None and value not in _NO_NUMBER:
        raise PydanticCustomError("decimal_parsing", "Input should be a valid decimal")
    return value


def _whole_number(value: Any) -> Any:
    """A number as JSON writes whole ones: `"1"` and `1.0` beside `1` would be one line number in two spellings."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise PydanticCustomError("int_type", "Input should be a valid integer")
    return value


def _country(value: str) -> str:
    from services.orders.intake.codes import is_country

    if not is_country(value):
        raise PydanticCustomError("is_country", "ISO 3166-1 alpha-2 in capitals, like US")
    return value


def _time(value: Any) -> Any:
    """RFC 3339 with any number of fraction digits, of a year from 2000 to 2099; without an offset it is for `--at` to mend."""
    parsed = _TIME.fullmatch(value) if isinstance(value, str) else None
    try:
        if parsed is None:
            raise ValueError
        day, clock, fraction, offset = parsed.groups()
        seconds = clock if len(clock) > 5 else f"{clock}:00"
        beyond = f".{(fraction or '0')[:6]:0<6}{(offset or '').upper().replace('Z', '+00:00')}"
        moment = datetime.fromisoformat(f"{day}T{seconds}{beyond}")
    except ValueError:
        raise PydanticCustomError("datetime_parsing", "Input should be a valid datetime") from None
    if not FIRST.year <= moment.year <= LAST.year:
        raise PydanticCustomError("is_time", "a time of a year from 2000 to 2099")
    return moment


Decimals = Annotated[
    Decimal, BeforeValidator(_decimal_string), Field(ge=0, allow_inf_nan=False, max_digits=24)
]
Count = Annotated[Decimals, Field(gt=0)]
HsCode = Annotated[str, Field(pattern=HS_CODE)]
LineNo = Annotated[int, BeforeValidator(_whole_number), Field(ge=1, le=999_999)]
Time = Annotated[datetime, BeforeValidator(_time)]
CountryCode = Annotated[str, Field(pattern="^[A-Z]{2}$"), AfterValidator(_country)]


class Part(BaseModel):
    """A part of a file; what it does not know is ignored, as everywhere in submissions."""

    model_config = ConfigDict(frozen=True, extra="ignore")


Shape = TypeVar("Shape", bound=BaseModel)


class Unread(UsageError):
    """A document is not as it must be; `faults` says each field of it."""

    def __init__(self, name: str, faults: Sequence[FieldFault]) -> None:
        more = (
            [f"{name}: and {len(faults) - FAULTS_MAX} faults more"]
            if len(faults) > FAULTS_MAX
            else []
        )
        super().__init__("\n".join([*(f"{name}: {fault}" for fault in faults[:FAULTS_MAX]), *more]))
        self.faults: Final = tuple(faults[:FAULTS_MAX])


def told(error: UsageError) -> dict[str, Any]:
    """An error for scripts: its text, and each fault of a document."""
    faults = (
        {"faults": [fault._asdict() for fault in error.faults]} if isinstance(error, Unread) else {}
    )
    return {"error": str(error), **faults}


# --- text


def bytes_of(file: Path) -> bytes:
    """A file's bytes, - is stdin; raises Wrong."""
    try:
        if str(file) == "-":
            return sys.stdin.buffer.read()
        if file.stat().st_size > BYTES_MAX:
            raise UsageError(f"{file} is over {BYTES_MAX} bytes: split it")
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None


def decoded(name: str, raw: bytes) -> str:
    """UTF-8 text, a byte order mark taken off; raises Wrong, which names UTF-16."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UsageError(f"{name} is UTF-16 text: write it as UTF-8")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not UTF-8 text, from byte {error.start} on") from None


def is_many(file: Path, raw: bytes) -> bool:
    """Whether it is JSON lines: by its name, or because it is no document as a whole and a line of it is one."""
    if file.suffix in {".jsonl", ".ndjson"}:
        return True
    lines = [line for line in raw.split(b"\n") if line.strip()]
    return len(lines) > 1 and not _is_json(raw) and any(_is_json(line) for line in lines)


def _is_json(raw: bytes) -> bool:
    try:
        return isinstance(loads(raw.decode("utf-8-sig")), dict)
    except (ValueError, RecursionError):
        return False


def lines_of(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Each line of JSON lines that is not empty, with its number; whatever a text holds besides line feeds is within a line."""
    for number, line in enumerate(raw.split(b"\n"), 1):
        if line.strip():
            yield number, line


def answer_many(
    raw: bytes,
    answer: Callable[[str, str], dict[str, Any]],
    refused: Callable[[dict[str, Any]], bool],
) -> Exit:
    """One line of JSON for each line that is not empty: its answer with the line's number, or its faults.

    The exit status is 2 if a line was wrong, else 1 if the answer of one is a refusal.
    """
    status = Exit.DONE
    for number, line in lines_of(raw):
        name = f"line {number}"
        try:
            reply = answer(name, decoded(name, line))
        except UsageError as error:
            status, reply = Exit.WRONG, told(error)
        else:
            if status is Exit.DONE and refused(reply):
                status = Exit.NO
        print(dumps({"line": number, **reply}, ensure_ascii=False))
    return status


# --- shape and values


Document = Mapping[str, Any]
Look = Callable[[Document], Iterable[FieldFault]]


def read(
    name: str, text: str, shape: type[Shape], known: Nomenclature | None, *looks: Look
) -> Shape:
    """A submission from its JSON; raises Unread with every fault: field, rule, found, expected.

    `known` tells codes that cannot exist; each of `looks` finds faults of the values in the document as it was written.
    """
    parsed, faults = None, []
    try:
        parsed = shape.model_validate_json(text)
    except ValidationError as error:
        faults = faults_of(error)
    broken = {fault.field for fault in faults}
    document = _document(text)
    for look in (_amounts, _numbers, lambda parsed: _codes(parsed, known), *looks):
        faults += [fault for fault in look(document) if fault.field not in broken]
    if parsed is None or faults:
        raise Unread(name, faults)
    return parsed


def _document(text: str) -> Document:
    """What was written, for what is wrong beyond its shape: one broken value does not hide the others."""
    try:
        document = loads(text)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, Mapping) else {}


def _rows(document: Document) -> list[Document]:
    lines = document.get("lines")
    return (
        [row if isinstance(row, Mapping) else {} for row in lines]
        if isinstance(lines, list)
        else []
    )


class _Amount(NamedTuple):
    field: str
    text: Any
    currency: str


def _amounts(document: Document) -> Iterator[FieldFault]:
    rows = _rows(document)
    currency = document.get("currency")
    if not isinstance(currency, str):
        return
    if currency not in EXPONENTS:
        yield FieldFault(
            "currency",
            "is_currency",
            repr(currency),
            "a currency of ISO 4217 supported here, like CNY",
        )
        return
    landed = document.get("landed")
    head = [
        _Amount(name, document.get(name), currency)
        for name in ("goods_value", "freight", "insurance", "discount")
    ]
    head.append(
        _Amount(
            "landed.earlier_value",
            landed.get("earlier_value") if isinstance(landed, Mapping) else None,
            currency,
        )
    )
    totals = [
        _Amount(f"lines[{i}].total", row.get("total"), currency) for i, row in enumerate(rows)
    ]
    bought = [
        _Amount(f"lines[{i}].purchase", row.get("purchase"), "CNY") for i, row in enumerate(rows)
    ]
    unlike = [
        amount
        for amount in (*totals, *head, *bought)
        if _is_number(amount.text) and not _is_money(amount)
    ]
    for amount in unlike:
        decimals = (
            f"an amount of at most {EXPONENTS[amount.currency]} decimals, as {amount.currency} "
            "has, and within the limit"
        )
        yield FieldFault(amount.field, "is_amount", amount.text, decimals)
    goods = head[0]
    if unlike or not totals or not all(_is_number(amount.text) for amount in totals):
        return
    total = sum((Decimal(amount.text) for amount in totals), Decimal(0))
    if not _is_money(_Amount("goods_value", str(total), currency)):
        yield FieldFault(
            "lines", "is_amount", str(total), "totals whose sum is within the limit of an amount"
        )
    elif _is_number(goods.text) and Decimal(goods.text) != total:
        yield FieldFault(
            "goods_value", "sum_of_lines", goods.text, f"{total}, the sum of the lines' totals"
        )


def _is_number(text: Any) -> bool:
    return isinstance(text, str) and _DECIMAL.fullmatch(text) is not None


def _is_money(amount: _Amount) -> bool:
    try:
        Money.of(Decimal(amount.text), amount.currency)
    except MoneyError:
        return False
    return True


def _numbers(document: Document) -> Iterator[FieldFault]:
    seen: set[int] = set()
    for i, row in enumerate(_rows(document)):
        number = row.get("line_no")
        if isinstance(number, int) and number in seen:
            yield FieldFault(
                f"lines[{i}].line_no", "unique", str(number), "a number that no other line has"
            )
        elif isinstance(number, int):
            seen.add(number)


def _codes(document: Document, known: Nomenclature | None) -> Iterator[FieldFault]:
    """Codes of a sound form that cannot exist."""
    for i, row in enumerate(_rows(document)):
        code = row.get("hs_code")
        if (
            known is None
            or not isinstance(code, str)
            or re.fullmatch(HS_CODE, code) is None
            or known.has(code)
        ):
            continue
        expected = (
            f"a code of the Harmonized System: chapter {code[:2]} has "
            f"{known.headings.get(code[:2], 0)} headings"
        )
        yield FieldFault(f"lines[{i}].hs_code", "is_hs_code", repr(code), expected)


# --- days


def timed(at: str | None) -> Look:
    """A look for the day: without `--at` a document tells it, by a time with its offset."""

    def look(document: Document) -> Iterator[FieldFault]:
        text = document.get("placed_at")
        parsed = _TIME.fullmatch(text) if isinstance(text, str) else None
        if at is None and (text is None or (parsed is not None and parsed[4] is None)):
            actual = "nothing" if text is None else repr(text)
            yield FieldFault(
                "placed_at",
                "is_time",
                actual,
                "a time with its offset, like 2026-11-23T09:00:00+08:00, or the day by --at",
            )

    return look


def day_of(placed_at: datetime | None, at: str | None) -> date:
    """The day by `--at`, a day or a time with its offset, else the Beijing day the order was placed; raises Wrong."""
    if at is None:
        assert placed_at is not None, "a document without a time is a fault, see `timed`"
        return beijing_date(placed_at)
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", at):
        return option_day("--at", at)
    try:
        moment = _time(at)
    except PydanticCustomError:
        expected = (
            f"a day like 2026-11-23, nor a time with its offset, from {FIRST.year} to {LAST.year}"
        )
        raise UsageError(f"--at: {at!r} is not {expected}") from None
    if moment.tzinfo is None:
        raise UsageError(f"--at: {at!r} is a time without its offset, like +08:00")
    return beijing_date(moment)


def option_day(option: str, text: str) -> date:
    """A day as an option gives it, YYYY-MM-DD; raises Wrong."""
    try:
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) is None:
            raise ValueError
        day = date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option}: {text!r} is not a day like 2026-11-23") from None
    if not FIRST <= day <= LAST:
        raise UsageError(f"{option}: {text!r} is not a day from {FIRST} to {LAST}")
    return day


def option_decimal(text: str) -> Decimal | None:
    """A number as an option gives it, digits and a point; None for anything else."""
    if re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,9})?", text) is None:
        return None
    return Decimal(text)
