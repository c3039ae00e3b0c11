"""`publish --file` takes orders as people have them: one document, an array, one a line, from a pipe, with a byte order mark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from services.cli import publish
from services.cli.app import app
from services.cli.connect import RunningStack, UsageError
from services.cli.submission_files import read_file

ORDER: dict[str, Any] = {
    "order_no": "F-1",
    "platform": {"code": "1105910159"},
    "note": "a ] in a text, and 三",
}
OTHER = ORDER | {"order_no": "F-2"}


def written(folder: Path, content: str | bytes) -> Path:
    file = folder / "orders.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def numbers(folder: Path, content: str | bytes) -> list[str]:
    return [record.order_no for record in read_file(written(folder, content))]


PRETTY = json.dumps(ORDER, indent=1, ensure_ascii=False)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (PRETTY, ["F-1"]),
        (PRETTY + "\n" + json.dumps(OTHER, indent=4), ["F-1", "F-2"]),
        (json.dumps([ORDER, OTHER]), ["F-1", "F-2"]),
        (json.dumps([ORDER, OTHER], indent=2) + "\n", ["F-1", "F-2"]),
        (json.dumps(ORDER) + "\r\n\r\n" + json.dumps(OTHER), ["F-1", "F-2"]),
        ("\ufeff" + json.dumps(ORDER), ["F-1"]),
        ("\ufeff\n " + PRETTY, ["F-1"]),
        (json.dumps([ORDER]) + json.dumps([OTHER]), ["F-1", "F-2"]),
        ("\ufeff" + json.dumps(ORDER) + "\n\ufeff" + json.dumps(OTHER) + "\n", ["F-1", "F-2"]),
        ("\ufeff" + PRETTY + "\ufeff" + PRETTY, ["F-1", "F-1"]),
        ("\ufeff" + json.dumps([ORDER]) + "\n\ufeff" + json.dumps([OTHER]), ["F-1", "F-2"]),
    ],
)
def test_every_way_to_write_orders_down_is_read(
    tmp_path: Path, content: str, found: list[str]
) -> None:
    assert numbers(tmp_path, content) == found


def test_what_is_published_is_what_was_written(tmp_path: Path) -> None:
    assert [r.value for r in read_file(written(tmp_path, PRETTY))] == [PRETTY.encode()]
    assert [r.value for r in read_file(written(tmp_path, f"[{PRETTY} , {PRETTY}]"))] == [
        PRETTY.encode()
    ] * 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (PRETTY.encode("utf-16"), "UTF-16"),
        (PRETTY.encode("utf-16-le"), "UTF-16"),
        (PRETTY.encode("utf-32"), "UTF-32"),
        (PRETTY[:-2], "line 6 of"),
        (json.dumps(ORDER) + "\n{oops", "line 2 of"),
        ("[]", "its array is empty"),
        ("[" + json.dumps(ORDER), "expected , or ]"),
        (json.dumps([ORDER, 7]), "item 2 of"),
        ("[" * 100_000, "nested too deep"),
        (b"", "it is empty"),
        (PRETTY.encode("gb18030"), "must be UTF-8"),
        (json.dumps({**ORDER, "x": "y" * 256 * 1024}), "at most 262144 bytes"),
        (json.dumps(ORDER).replace("{", '{"order_no": "F-9", ', 1), "a name comes twice"),
        (
            json.dumps(ORDER) + "\n" + json.dumps({**OTHER, "x": float("nan")}),
            r"line 2 of .* is not JSON \(.*column",
        ),
    ],
)
def test_what_is_no_order_is_named_by_its_place(
    tmp_path: Path, content: str | bytes, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        numbers(tmp_path, content)


def test_the_example_of_the_readme_is_a_file_of_one_order() -> None:
    (record,) = read_file(Path("docs/examples/order.json"))
    assert record.order_no == "SHOP1-20261123-000001"


def test_a_dash_is_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []

    async def send(_to: Any, records: list[Any], *_: Any) -> float:
        sent.extend(records)
        return 1.0

    monkeypatch.setattr(publish, "target", lambda: RunningStack("kafka", "postgres", "", Path()))
    monkeypatch.setattr(publish, "send", send)
    done = CliRunner().invoke(app, ["publish", "--file", "-"], input=json.dumps([ORDER, OTHER]))
    assert (done.exit_code, [record.order_no for record in sent]) == (0, ["F-1", "F-2"]), (
        done.output
    )
