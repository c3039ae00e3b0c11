"""The submissions of a file or of stdin: one document, an array, one a line, or a CEB311Message."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

from services.cli.connect import UsageError

SUBMITTED: Final = "order.submitted.v1"
FILE_BYTES_MAX: Final = 512 * 1024 * 1024
HEADERS_BYTES: Final = 1024
"""Room for a record's key and headers."""
STDIN: Final = "-"
_BOM: Final = "\ufeff"
"""It precedes each part of a file that was concatenated from files."""
_BLANK: Final = re.compile(rf"[ \t\r\n{_BOM}]*")

Part = tuple[str, bytes]
"""The place of a submission in its file, and its original bytes."""


@dataclass(frozen=True)
class Submission:
    """One record for `orders.submissions`; `order_id` is None if the value does not tell it."""

    order_no: str
    order_id: UUID | None
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    after_s: float = 0.0


def submission_of(
    order_no: str, order_id: UUID | None, value: bytes, content_type: bytes | None = None
) -> Submission:
    from shared.clock import utc_now
    from shared.envelope import CONTENT_TYPE_JSON, headers_of

    headers = headers_of(
        event_id=uuid4(),
        event_type=SUBMITTED,
        source="crossborder-cli",
        at=utc_now(),
        content_type=content_type or CONTENT_TYPE_JSON,
    )
    return Submission(order_no, order_id, order_no.encode() or None, value, headers)


def read_file(path: Path) -> list[Submission]:
    """Return the submissions of a file, or of stdin for `-`; raise UsageError with the place."""
    from shared.errors import Unprocessable
    from shared.texts import utf8

    name = "stdin" if str(path) == STDIN else str(path)
    try:
        content = utf8(_bytes_of(path))
    except Unprocessable as error:
        raise UsageError(f"mend {name}: {error}; `iconv -t UTF-8 -f …` writes it anew") from None
    if not content.strip():
        raise UsageError(f"put orders into {name}: it is empty")
    if content.startswith(b"<"):
        return [_of_xml(content, name)]
    submissions = [
        _of_json(value, f"{place} of {name}" if place else name)
        for place, value in _parts(content, name)
    ]
    if not submissions:
        raise UsageError(f"put orders into {name}: its array is empty")
    return submissions


def _bytes_of(path: Path) -> bytes:
    if str(path) == STDIN:
        content = sys.stdin.buffer.read(FILE_BYTES_MAX + 1)
    else:
        try:
            with path.open("rb") as file:
                content = file.read(FILE_BYTES_MAX + 1)
        except OSError as error:
            raise UsageError(f"give a file that can be read: {path} ({error.strerror})") from None
    if len(content) > FILE_BYTES_MAX:
        raise UsageError(f"split {path}: it is larger than {FILE_BYTES_MAX // 1024 // 1024} MiB")
    return content


def _parts(content: bytes, name: str) -> list[Part]:
    import orjson

    lines = [
        (n, line) for n, line in enumerate(map(_unmarked, content.splitlines()), 1) if line.strip()
    ]
    try:
        by_line = isinstance(orjson.loads(lines[0][1]), dict)
    except orjson.JSONDecodeError:
        by_line = False
    if by_line:
        return [(f"line {n}", line) for n, line in lines]
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"mend {name}: it must be UTF-8, byte {error.start} is not") from None
    try:
        return list(_documents(text))
    except json.JSONDecodeError as error:
        raise UsageError(
            f"mend line {error.lineno} of {name}: it is not JSON ({error.msg} at column "
            f"{error.colno}); see the submission in docs/develop.md"
        ) from None
    except RecursionError:
        raise UsageError(f"mend {name}: it is nested too deep for an order") from None


def _unmarked(line: bytes) -> bytes:
    return line.removeprefix(_BOM.encode())


def _documents(text: str) -> Iterator[Part]:
    """Yield documents that follow each other as they were written, and the items of arrays."""
    at, number = _next(text, 0), 0
    while at < len(text):
        if text[at] == "[":
            items = _items(text, at)
            for each, (begin, end) in enumerate(items, 1):
                yield f"item {each}", text[begin:end].encode()
            at = _next(text, (items[-1][1] if items else at + 1))
            at = _next(text, at + 1)  # behind the closing bracket
            continue
        number += 1
        end = _end(text, at)
        line = text.count("\n", 0, at) + 1
        at, begin = _next(text, end), at
        yield "" if number == 1 and at == len(text) else f"line {line}", text[begin:end].encode()


def _items(text: str, at: int) -> list[tuple[int, int]]:
    """Return the begin and end of each item of the array that begins at `at`."""
    spans: list[tuple[int, int]] = []
    at = _next(text, at + 1)
    if text[at : at + 1] == "]":
        return spans
    while True:
        end = _end(text, at)
        spans.append((at, end))
        at = _next(text, end)
        if text[at : at + 1] == "]":
            return spans
        if text[at : at + 1] != ",":
            raise json.JSONDecodeError("expected , or ]", text, at)
        at = _next(text, at + 1)


def _next(text: str, at: int) -> int:
    blank = _BLANK.match(text, at)
    return blank.end() if blank else at


def _end(text: str, at: int) -> int:
    try:
        return _DECODER.raw_decode(text, at)[1]
    except StopIteration:
        raise json.JSONDecodeError("expected a value", text, at) from None


_DECODER: Final = json.JSONDecoder(parse_int=str, parse_float=str)
"""Used only to find the end of a document, so numbers stay text."""


def _require_small(value: bytes, where: str) -> None:
    from shared.topics import MESSAGE_BYTES_MAX

    if len(value) > MESSAGE_BYTES_MAX - HEADERS_BYTES:
        raise UsageError(
            f"make {where} smaller: a record has at most {MESSAGE_BYTES_MAX} bytes, this one "
            f"{len(value)} and its headers"
        )


def _of_json(value: bytes, where: str) -> Submission:
    import orjson

    from services.orders.intake.strict_json import JSON_BYTES_MAX
    from shared.identity import order_id_of
    from shared.texts import TWICE, has_name_twice, identifier

    if len(value) > JSON_BYTES_MAX:
        raise UsageError(
            f"make {where} smaller: a submission has at most {JSON_BYTES_MAX} bytes, this one "
            f"{len(value)}"
        )
    try:
        document = orjson.loads(value)
        order_no, platform = document["order_no"], document["platform"]["code"]
    except (ValueError, KeyError, TypeError) as error:
        kind = (
            f"is not JSON ({error})"
            if isinstance(error, ValueError)
            else "has no order_no and platform.code"
        )
        raise UsageError(
            f"mend {where}: it {kind}; see the submission in docs/develop.md"
        ) from None
    if has_name_twice(value):
        raise UsageError(f"mend {where}: {TWICE}; see the submission in docs/develop.md")
    if not isinstance(order_no, str) or not isinstance(platform, str):
        raise UsageError(f"mend {where}: order_no and platform.code must be strings")
    return submission_of(order_no, order_id_of(identifier(platform), identifier(order_no)), value)


def _of_xml(content: bytes, where: str) -> Submission:
    from shared.envelope import CONTENT_TYPE_XML
    from shared.errors import Unprocessable
    from shared.identity import order_id_of
    from shared.texts import identifier
    from shared.xml import parse_untrusted

    _require_small(content, where)
    try:
        root = parse_untrusted(content)
    except Unprocessable as error:
        raise UsageError(f"mend {where}: {error}") from None
    if not str(root.tag).endswith("}CEB311Message") and root.tag != "CEB311Message":
        raise UsageError(
            f"give a CEB311Message: the root of {where} is {str(root.tag).rpartition('}')[2]}"
        )
    order_no, platform = (
        identifier(root.findtext(f".//{{*}}{name}") or "") for name in ("orderNo", "ebpCode")
    )
    if not order_no or not platform:
        raise UsageError(f"mend {where}: it has no orderNo or no ebpCode")
    return submission_of(order_no, order_id_of(platform, order_no), content, CONTENT_TYPE_XML)
