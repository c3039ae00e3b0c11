"""Files that are wrong: `assess`, `landed` and `export` tell every fault in the same words, and the other lines are answered."""

from __future__ import annotations

import json
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from services.cli.app import app
from services.cli.tax import assess as tax
from services.tax.landed import files as landed_files
from services.tax.rulebook import files as rule_files

LOAD, DESTINATIONS, RATES = (
    cache(rule_files.load),
    cache(landed_files.load_destinations),
    cache(landed_files.load_rates),
)


@pytest.fixture(autouse=True)
def _read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules are read once for all these tests: reading them is most of a command's time."""
    for where, name, found in (
        (rule_files, "load", LOAD), (tax, "load", LOAD), (landed_files, "load_destinations", DESTINATIONS),
        (landed_files, "load_rates", RATES),
    ):  # fmt: skip
        monkeypatch.setattr(where, name, found)


COMMANDS = ("assess", "landed", "export")
SOUND: dict[str, Any] = {
    "order_no": "V", "placed_at": "2026-10-05T20:00:00+08:00", "direction": "export", "mode": "9610",
    "merchant": {"code": "4403960XYZ", "name": "M", "country": "CN"}, "consignee": {"name": "B", "country": "DE"}, "currency": "EUR",
    "lines": [
        {"line_no": 1, "sku": "S1", "name": "goods", "hs_code": "6109100021", "origin": "CN", "quantity": "1", "total": "30.00"},
        {"line_no": 2, "sku": "S2", "name": "goods", "hs_code": "6109.10.0021", "origin": "CN", "quantity": "2", "total": "20.00"},
    ],
    "goods_value": "50.00", "freight": "1.00", "insurance": "0.00", "discount": "0.00", "landed": {"channel": "ioss"},
    "export": {"taxpayer": "general", "exporter": "trader", "rebate_filed": True, "vat_special_invoice": True, "valid_voucher": True,
               "declaration_data": True, "proceeds_collected": True},
}  # fmt: skip


def run(command: str, text: str | bytes, *arguments: str) -> Result:
    result = CliRunner().invoke(app, ["tax", command, "-", *arguments], input=text)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


def changed(path: str, value: Any) -> dict[str, Any]:
    """The sound order with one field another; `lines.1.hs_code` names a field, and None as the value of `-` takes it away."""
    found = deepcopy(SOUND)
    *steps, last = path.split(".")
    at: Any = found
    for step in steps:
        at = at[int(step)] if step.isdecimal() else at[step]
    at[int(last) if last.isdecimal() else last] = value
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_the_order_that_is_made_wrong_below_is_sound(command: str) -> None:
    assert run(command, json.dumps(SOUND), "--json").exit_code == 0


BAD = [
    (
        "lines.0.hs_code",
        "9999999999",
        "lines[0].hs_code: found '9999999999', expected a code of the Harmonized System: chapter 99 has 0",
    ),
    ("lines.0.hs_code", "8599100000", "chapter 85 has 49 headings"),
    ("lines.0.hs_code", "0000000000", "chapter 00 has 0 headings"),
    (
        "lines.0.hs_code",
        "6....109",
        "lines[0].hs_code: found '6....109', expected 4, 6, 8 or 10 digits, dots allowed between",
    ),
    ("lines.0.hs_code", "６１０９１０００２１", "lines[0].hs_code: found '６１０９１０００２１'"),
    ("lines.0.hs_code", "٦١٠٩١٠", "lines[0].hs_code"),
    ("lines.0.hs_code", "61091000211", "lines[0].hs_code"),
    ("lines.0.hs_code", "6109100021\n", "lines[0].hs_code"),
    (
        "lines.0.hs_code",
        6109100021,
        "lines[0].hs_code: found the number 6109100021, expected a string (is_text)",
    ),
    (
        "lines.1.line_no",
        1,
        "lines[1].line_no: found 1, expected a number that no other line has (unique)",
    ),
    ("lines.1.line_no", True, "lines[1].line_no: found true or false, expected a whole number"),
    (
        "lines.1.line_no",
        "1",
        "lines[1].line_no: found '1', expected a whole number (is_whole_number)",
    ),
    ("lines.1.line_no", 2.0, "lines[1].line_no: found the number 2.0, expected a whole number"),
    (
        "lines.0.hs_code",
        "6109100021123",
        "lines[0].hs_code: found '6109100021123', expected 4, 6, 8 or 10 digits",
    ),
    ("lines.0.hs_code", "610910002*", "lines[0].hs_code: found '610910002*'"),
    ("lines.0.hs_code", "61.09.10", "lines[0].hs_code: found '61.09.10'"),
    (
        "merchant.country",
        "UK",
        "merchant.country: found 'UK', expected ISO 3166-1 alpha-2 in capitals, like US (is_country)",
    ),
    ("lines.1.line_no", 0, "lines[1].line_no: found the number 0, expected at least 1"),
    ("lines.1.line_no", 10**30, "lines[1].line_no"),
    ("lines.0.total", "３０.00", "lines[0].total: found '３０.00', expected a decimal in a string"),
    ("lines.0.total", "3e1", "lines[0].total: found '3e1', expected a decimal in a string"),
    ("lines.0.total", "3_0.00", "lines[0].total"),
    ("lines.0.total", " 30.00", "lines[0].total"),
    ("lines.0.total", "+30.00", "lines[0].total"),
    ("lines.0.total", "1e999999", "lines[0].total"),
    ("lines.0.total", "9" * 23, "lines[0].total"),
    ("lines.0.total", "9" * 99, "lines[0].total"),
    (
        "lines.0.total",
        "30.001",
        "lines[0].total: found 30.001, expected an amount of at most 2 decimals",
    ),
    ("lines.0.quantity", "２", "lines[0].quantity: found '２', expected a decimal in a string"),
    ("lines.0.quantity", "0", "lines[0].quantity: found '0', expected more than 0"),
    ("lines.0.quantity", "NaN", "lines[0].quantity: found 'NaN', expected a finite decimal"),
    ("freight", "-1.00", "freight: found '-1.00', expected at least 0"),
    (
        "goods_value",
        "51.00",
        "goods_value: found 51.00, expected 50.00, the sum of the lines' totals (sum_of_lines)",
    ),
    ("currency", "EURO", "currency: found 'EURO', expected a currency of ISO 4217"),
    ("currency", "eur", "currency: found 'eur'"),
    ("currency", "ＥＵＲ", "currency"),
    (
        "placed_at",
        "0001-01-01T00:00:00+08:00",
        "placed_at: found '0001-01-01T00:00:00+08:00', expected a time of a year from 2000 to 2099",
    ),
    (
        "placed_at",
        "9999-12-31T23:59:59-12:00",
        "placed_at: found '9999-12-31T23:59:59-12:00', expected a time of a year",
    ),
    ("placed_at", "0001-01-01T00:00:00+14:00", "placed_at"),
    (
        "placed_at",
        "２０２６-10-05T20:00:00+08:00",
        "placed_at: found '２０２６-10-05T20:00:00+08:00', expected a time with its offset",
    ),
    ("placed_at", "2026-02-30T20:00:00+08:00", "placed_at"),
    ("placed_at", "1764000000", "placed_at: found '1764000000', expected a time with its offset"),
    (
        "placed_at",
        1764000000,
        "placed_at: found the number 1764000000, expected a time with its offset",
    ),
    ("placed_at", "2026-10-05", "placed_at"),
    (
        "placed_at",
        "2026-10-05T20:00:00",
        "placed_at: found '2026-10-05T20:00:00', expected a time with its offset",
    ),
    (
        "placed_at",
        None,
        "placed_at: found nothing, expected a time with its offset, like 2026-11-23T09:00:00+08:00, or the day by --at",
    ),
    ("merchant.country", "China", "merchant.country: found 'China', expected ISO 3166-1 alpha-2"),
    ("lines", [], "lines: found 0 lines, expected at least 1 lines"),
    ("lines", {}, "lines: found an object, expected a list"),
    ("lines.0", "a shirt", "lines[0]: found a text, expected an object (is_object)"),
    ("lines.0", None, "lines[0]: found null, expected an object"),
    (
        "export.exporter",
        "smuggler",
        "export.exporter: found 'smuggler', expected trader or producer (is_fact)",
    ),
    (
        "export.rebate_filed",
        "yes",
        "export.rebate_filed: found 'yes', expected true or false (is_fact)",
    ),
    (
        "export.weather",
        "fine",
        "export.weather: found 'fine', expected 'weather' is no fact an exporter says",
    ),
]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("path", "value", "says"), BAD, ids=[f"{path}={value!r:.30}" for path, value, _ in BAD]
)
def test_a_wrong_value_is_named_in_the_same_words_by_all(
    command: str, path: str, value: Any, says: str
) -> None:
    result = run(command, json.dumps(changed(path, value)), "--json")
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert says in result.stderr


@pytest.mark.parametrize("command", ["landed", "export"])
@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (
            "mode",
            "7777",
            "mode: found '7777', expected a mode of exports: 1210, 9610, 9710, 9810 (one_of)",
        ),
        ("mode", "９６１０", "mode"),
        (
            "direction",
            "import",
            "direction: found 'import', expected 'export': `crossborder tax assess` takes imports (one_of)",
        ),
        ("consignee", "Jane Doe", "consignee: found a text, expected an object"),
        ("consignee.country", "Germany", "consignee.country: found 'Germany'"),
        ("lines.0.origin", "cn", "lines[0].origin: found 'cn', expected ISO 3166-1 alpha-2"),
        (
            "lines.0.origin",
            "UK",
            "lines[0].origin: found 'UK', expected ISO 3166-1 alpha-2 in capitals, like US (is_country)",
        ),
        (
            "consignee.country",
            "EL",
            "consignee.country: found 'EL', expected ISO 3166-1 alpha-2 in capitals, like US (is_country)",
        ),
        ("lines.0.vat_rate", "1.9", "lines[0].vat_rate: found '1.9', expected at most 1 (at_most)"),
        (
            "lines.0.purchase",
            "1.001",
            "lines[0].purchase: found 1.001, expected an amount of at most 2 decimals, as CNY has",
        ),
        ("lines.0.duty_rate", "11", "lines[0].duty_rate: found '11', expected at most 10"),
        (
            "landed.earlier_value",
            "1.001",
            "landed.earlier_value: found 1.001, expected an amount of at most 2 decimals",
        ),
    ],
)
def test_what_only_an_export_has_is_named_too(
    command: str, path: str, value: Any, says: str
) -> None:
    result = run(command, json.dumps(changed(path, value)), "--json")
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert says in result.stderr
    assert "Jane Doe" not in result.output


def test_a_mode_that_no_rule_has_is_refused_by_assess() -> None:
    for direction in ("import", "export"):
        result = run(
            "assess", json.dumps(changed("mode", "7777") | {"direction": direction}), "--json"
        )
        assert result.exit_code == 1
        assert json.loads(result.stdout)["refused"]["code"] == "no_regime_in_force"


@pytest.mark.parametrize("command", COMMANDS)
def test_all_faults_are_told_at_once_whatever_their_kind(command: str) -> None:
    wrong = changed("lines.0.hs_code", "9999999999") | {
        "currency": "XYZ",
        "freight": 1.5,
        "placed_at": "9999-01-01T00:00:00Z",
    }
    wrong["lines"][1] |= {"line_no": 1, "quantity": "２"}
    wrong["export"]["exporter"] = "smuggler"
    said = [line.split(": ")[1] for line in run(command, json.dumps(wrong)).stderr.splitlines()]
    expected = {
        "placed_at",
        "lines[1].quantity",
        "freight",
        "currency",
        "lines[1].line_no",
        "lines[0].hs_code",
        "export.exporter",
    }
    assert set(said) == expected
    assert len(said) == len(expected)


@pytest.mark.parametrize("command", COMMANDS)
def test_of_a_thousand_faults_and_more_the_others_are_counted(command: str) -> None:
    wrong = SOUND | {
        "lines": [SOUND["lines"][0] | {"line_no": i, "total": "1e3"} for i in range(1, 3001)]
    }
    result = run(command, json.dumps(wrong))
    assert (result.exit_code, result.stdout) == (2, "")
    told = result.stderr.splitlines()
    assert len(told) == 1001
    assert told[-1] == "-: and 2000 faults more"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "bad",
    [
        b"{", b"null", b"[]", b'"text"', b"\xff\xfe{", b"\xef\xbb\xbf{", b"{}", b'{"lines": 1}', b"[" * 100_000, b'{"order_no": "\\ud800"}',
        "{\"lines\": [\u2028]}".encode(), json.dumps(changed("placed_at", "0001-01-01T00:00:00Z")).encode(),
        json.dumps(changed("lines.0.hs_code", "6....109")).encode(),
    ],
)  # fmt: skip
def test_one_bad_line_is_one_bad_line_wherever_it_stands(command: str, bad: bytes) -> None:
    sound = json.dumps(SOUND).encode()
    for place in range(3):
        lines = [sound, sound]
        lines.insert(place, bad)
        result = run(command, b"\n".join(lines) + b"\n")
        assert result.exit_code == 2, result.output
        told = [json.loads(line) for line in result.stdout.splitlines()]
        assert [found["line"] for found in told] == [1, 2, 3]
        assert [number for number, found in enumerate(told) if "error" in found] == [place]
        assert all(len(found["error"]) < 1500 for found in told if "error" in found)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_line_of_many_has_its_own_answer(command: str, tmp_path: Path) -> None:
    path = tmp_path / "orders.jsonl"
    refused = (
        SOUND | {"mode": "7777"}
        if command == "assess"
        else changed("consignee.country", "DE") | {"export": {}, "landed": {"channel": "x"}}
    )
    path.write_text(
        "\n".join(json.dumps(one) for one in (SOUND, refused)) + "\n\n", encoding="utf-8"
    )
    result = CliRunner().invoke(app, ["tax", command, str(path)])
    assert result.exit_code == 1
    assert [json.loads(line)["line"] for line in result.stdout.splitlines()] == [1, 2]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_byte_order_mark_is_taken_off_and_other_encodings_are_named(command: str) -> None:
    sound = json.dumps(SOUND)
    assert run(command, b"\xef\xbb\xbf" + sound.encode(), "--json").exit_code == 0
    assert run(command, json.dumps(SOUND, indent=2), "--json").exit_code == 0
    for raw, says in ((sound.encode("utf-16"), "UTF-16"), (b'{"order_no": "\xff"}', "not UTF-8")):
        result = run(command, raw)
        assert (result.exit_code, says in result.stderr) == (2, True)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("at", "says"),
    [
        ("0001-01-01", "--at: '0001-01-01' is not a day from 2000-01-01 to 2099-12-31"),
        ("9999-12-31", "--at: '9999-12-31' is not a day from"),
        ("２０２６-10-05", "--at"), ("20261005", "--at"), ("2026-W41-1", "--at"), ("2026-02-30", "is not a day like"), ("", "--at"),
        ("9999-12-31T23:59:59-12:00", "--at"), ("0001-01-01T00:00:00+14:00", "--at"), ("2026-10-05T20:00:00", "without its offset"),
    ],
)  # fmt: skip
def test_a_day_by_option_is_one_of_this_century(command: str, at: str, says: str) -> None:
    result = run(command, json.dumps(SOUND), f"--at={at}")
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_a_time_has_any_number_of_fraction_digits(command: str) -> None:
    for time in (
        "2026-10-05T20:00:00.123456789+08:00",
        "2026-10-05t20:00:00.1z",
        "2026-10-05T20:00+08:00",
    ):
        assert run(command, json.dumps(changed("placed_at", time)), "--json").exit_code == 0


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("assess", ("--used", "1e3")), ("assess", ("--used", "１")), ("assess", ("--used", "NaN")), ("assess", ("--used", "9" * 40)),
        ("assess", ("--used-kg", "１７０１=1")), ("assess", ("--used-kg", "1701=1e9")),
        ("assess", ("--used-kg", "1701=1", "--used-kg", "1701=2")),
        ("landed", ("--rate", "USD=1e999999999")), ("landed", ("--rate", "USD=０.9")), ("landed", ("--rate", "USD=0")),
        ("landed", ("--rate", "USD=1", "--rate", "USD=2")), ("landed", ("--rate", "XXX=1")),
    ],
)  # fmt: skip
def test_numbers_by_option_are_digits_and_a_point(command: str, arguments: tuple[str, ...]) -> None:
    result = run(command, json.dumps(SOUND), *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert arguments[0] in result.stderr


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31", "２０２６-10-05", "2026-1-1"])
def test_the_days_of_the_rules_are_of_this_century_too(day: str) -> None:
    result = CliRunner().invoke(app, ["tax", "rules", "show", "3304990029", "--at", day])
    assert (result.exit_code, "--at" in result.stderr) == (2, True)


def test_a_comparison_over_a_file_names_every_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "orders.jsonl"
    lines = [json.dumps(SOUND), "{", json.dumps(changed("lines.0.hs_code", "9999999999"))]
    path.write_text("\n".join(lines), encoding="utf-8")
    result = CliRunner().invoke(
        app, ["tax", "rules", "what-if", str(rule_files.RULES), "--orders", str(path)]
    )
    assert result.exit_code == 2
    assert "line 2: the line: found" in result.stderr
    assert "line 3: lines[0].hs_code: found '9999999999'" in result.stderr
