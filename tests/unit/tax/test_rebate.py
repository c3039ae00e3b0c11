"""Rebate claims: by merchant and month, nothing twice, invoices to the fen, and what is left out says why."""

from __future__ import annotations

import json
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from services.cli.app import app
from services.tax.exports.domain import Facts
from services.tax.exports.files import load_exports
from services.tax.rebates.domain import Claim, EarlierClaims, LineKey, PreparedClaims, prepare
from services.tax.rebates.invoices import Invoice
from services.tax.rebates.lists import Declared, ExportedLine, ReleasedList
from shared.money import Money

BOOK = load_exports()
TRADER: Facts = {
    "taxpayer": "general", "exporter": "trader", "rebate_filed": True, "tax_registered": True, "valid_voucher": True,
}  # fmt: skip
EXAMPLES = Path(__file__).resolve().parents[3] / "docs" / "examples"
TEE = "6109100021"


def facts_of(_merchant: str, _day: date) -> Facts:
    return TRADER


def released(no: str = "E1", *, day: date = date(2026, 10, 3), merchant: str = "M1", quantity: str = "2", hs: str = TEE,
             declaration: str | None = "D1", paid: bool = True, came_back: bool = False, statistics: bool = False,
             lines: int = 1) -> ReleasedList:  # fmt: skip
    total = Money.of("60.00", "EUR")
    goods = tuple(
        ExportedLine(
            n,
            "TEE",
            hs,
            Decimal(quantity),
            "piece",
            total,
            Declared(declaration, n) if declaration else None,
        )
        for n in range(1, lines + 1)
    )
    return ReleasedList(no, merchant, "9610", day, goods, "", statistics, paid, came_back)


def invoice(
    number: str = "1", quantity: str = "100", taxable: str = "3333.33", merchant: str = "M1"
) -> Invoice:
    return Invoice(number, merchant, "TEE", Decimal(quantity), "piece", Money.of(taxable, "CNY"))


def after(found: PreparedClaims, before: EarlierClaims | None = None) -> EarlierClaims:
    """What the claims took, added to what was taken before."""
    before = before or EarlierClaims()
    lines, used, claims = dict(before.lines), dict(before.used), dict(before.claims)
    for claim in found.claims:
        claims[claim.merchant, claim.month] = claim.sequence
        for line in claim.lines:
            lines[line.line] = claim.number
            for use in line.uses:
                used[use.number, use.sku] = (
                    used.get((use.number, use.sku), Decimal(0)) + use.quantity
                )
    return EarlierClaims(lines, used, claims)


def one(found: PreparedClaims) -> Claim:
    (claim,) = found.claims
    return claim


def test_a_claim_is_the_price_without_vat_times_the_rate() -> None:
    claim = one(prepare([released()], "2026-10", [invoice()], facts_of, BOOK))
    assert (claim.number, claim.declarations, str(claim.refund)) == (
        "M1-202610-001",
        ["D1"],
        "8.67",
    )
    assert claim.lines[0].rules[0].startswith("cn-export-rebates@1/6109")


def test_claims_are_by_merchant_and_beijing_month() -> None:
    lists = [
        released("E1"), released("E2", merchant="M2"), released("E3", day=date(2026, 9, 30)), released("E4", day=date(2026, 10, 31)),
        released("E5", day=date(2026, 11, 1)),
    ]  # fmt: skip
    found = prepare(lists, "2026-10", [invoice(), invoice("2", merchant="M2")], facts_of, BOOK)
    assert [(claim.merchant, [line.line.list_no for line in claim.lines]) for claim in found.claims] == [
        ("M1", ["E1", "E4"]), ("M2", ["E2"]),
    ]  # fmt: skip


def test_asking_again_claims_nothing_twice_and_what_came_since_is_a_second_claim() -> None:
    first = prepare([released()], "2026-10", [invoice()], facts_of, BOOK)
    again = prepare([released()], "2026-10", [invoice()], facts_of, BOOK, after(first))
    assert (again.claims, again.already) == ((), ((LineKey("E1", 1), "M1-202610-001"),))
    more = prepare(
        [released(), released("E2")], "2026-10", [invoice()], facts_of, BOOK, after(first)
    )
    assert (one(more).number, [line.line.list_no for line in one(more).lines]) == (
        "M1-202610-002",
        ["E2"],
    )
    assert one(more).lines[0].uses[0].taxable == Money.of("66.66", "CNY")


def test_the_same_list_in_a_file_twice_counts_once_and_another_under_its_number_is_refused() -> (
    None
):
    assert (
        len(one(prepare([released(), released()], "2026-10", [invoice()], facts_of, BOOK)).lines)
        == 1
    )
    with pytest.raises(ValueError, match="E1 is there twice with another content"):
        prepare([released(), released(quantity="3")], "2026-10", [invoice()], facts_of, BOOK)
    with pytest.raises(ValueError, match="invoice 1, TEE, is there twice"):
        prepare([released()], "2026-10", [invoice(), invoice(taxable="1.00")], facts_of, BOOK)
    twice = invoice(quantity="1")
    assert (
        prepare(
            [released()], "2026-10", [twice, twice, invoice(quantity="1")], facts_of, BOOK
        ).claims
        == ()
    )


def test_only_lines_in_a_closed_declaration_are_claimed_and_the_others_are_not_yet_claimable() -> (
    None
):
    found = prepare(
        [released(lines=2), released("E2", declaration=None)],
        "2026-10",
        [invoice()],
        facts_of,
        BOOK,
    )
    assert [line.declared for line in one(found).lines] == [Declared("D1", 1), Declared("D1", 2)]
    (out,) = found.left_out
    assert (out.line, out.reason) == (
        LineKey("E2", 1),
        "not yet claimable: no closed consolidated declaration is given",
    )
    later = prepare(
        [released("E2", declaration="D2")], "2026-10", [invoice()], facts_of, BOOK, after(found)
    )
    assert (one(later).number, one(later).declarations) == ("M1-202610-002", ["D2"])


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (released(came_back=True), "the goods came back"),
        (released(declaration=None, paid=False), "not yet claimable"),
        (released(declaration=None, came_back=True), "the goods came back"),
        (
            released(declaration=None, statistics=True),
            "the electronic data of the export declaration",
        ),
        (released(paid=False), "the proceeds are collected"),
        (released(statistics=True), "the electronic data of the export declaration"),
        (released(quantity="101"), "invoices of TEE cover 100 of 101 piece"),
        (released(merchant="M2"), "invoices of TEE cover 0 of 2 piece"),
        (released(hs="0802120000"), "no rebate rate is known for HS code 0802120000"),
        (
            released(hs="8541430000"),
            "the refund of these goods was not cancelled: found yes, expected no",
        ),
    ],
)
def test_what_is_left_out_says_why(entry: ReleasedList, says: str) -> None:
    found = prepare([entry], "2026-10", [invoice()], facts_of, BOOK)
    assert found.claims == ()
    assert says in found.left_out[0].reason


def test_a_producer_and_an_exporter_nobody_spoke_of_are_left_out() -> None:
    producer = prepare(
        [released()], "2026-10", [invoice()], lambda *_: {**TRADER, "exporter": "producer"}, BOOK
    )
    assert "免抵退" in producer.left_out[0].reason
    unsaid = prepare(
        [released()],
        "2026-10",
        [invoice()],
        lambda *_: {k: v for k, v in TRADER.items() if k != "exporter"},
        BOOK,
    )
    assert unsaid.left_out[0].reason == "not said of the exporter: exporter"
    silent = prepare([released()], "2026-10", [invoice()], lambda *_: {}, BOOK)
    assert silent.left_out[0].reason == "not said of the exporter: taxpayer, rebate_filed"


def test_a_line_that_an_invoice_does_not_cover_takes_nothing_of_it() -> None:
    lists = [
        released("E1", quantity="99"),
        released("E2", quantity="2"),
        released("E3", quantity="1"),
    ]
    found = prepare(lists, "2026-10", [invoice()], facts_of, BOOK)
    assert [line.line.list_no for line in one(found).lines] == ["E1", "E3"]
    assert one(found).lines[0].basis + one(found).lines[1].basis == Money.of("3333.33", "CNY")


def test_a_line_may_take_of_several_invoices_the_first_given_first() -> None:
    bought = [invoice("1", "3", "30.00"), invoice("2", "3", "33.00")]
    line = one(prepare([released(quantity="4")], "2026-10", bought, facts_of, BOOK)).lines[0]
    assert [(use.number, use.quantity, str(use.taxable)) for use in line.uses] == [
        ("1", Decimal(3), "30.00"), ("2", Decimal(1), "11.00"),
    ]  # fmt: skip


def test_goods_that_came_back_after_their_claim_are_to_be_repaid() -> None:
    first = prepare([released()], "2026-10", [invoice()], facts_of, BOOK)
    found = prepare(
        [released(came_back=True)], "2026-10", [invoice()], facts_of, BOOK, after(first)
    )
    assert found.to_repay == ((LineKey("E1", 1), "M1-202610-001"),)
    assert (found.claims, found.already) == ((), ())


quantities = st.lists(st.integers(1, 9), min_size=1, max_size=12)


@given(quantities, st.integers(1, 60), st.integers(0, 10**7), st.integers(0, 30))
def test_invoices_are_never_taken_beyond_their_whole_in_any_number_of_claims(
    wanted: list[int], bought: int, taxable: int, cut: int
) -> None:
    stock = [Invoice("1", "M1", "TEE", Decimal(bought), "piece", Money(taxable, "CNY"))]
    day = date(2026, 10, 1)
    lists = [
        released(f"E{n}", quantity=str(q), day=day + timedelta(days=n))
        for n, q in enumerate(wanted)
    ]
    before = EarlierClaims()
    used, paid = Decimal(0), 0
    for part in (lists[:cut], lists):
        found = prepare(part, "2026-10", stock, facts_of, BOOK, before)
        before = after(found, before)
        used += sum(
            use.quantity for claim in found.claims for line in claim.lines for use in line.uses
        )
        paid += sum(line.basis.minor for claim in found.claims for line in claim.lines)
    assert used <= bought
    assert paid <= taxable
    assert paid == taxable or used < bought
    assert prepare(lists, "2026-10", stock, facts_of, BOOK, before).claims == ()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["tax", "rebate", *arguments])


COMMON = (
    "--month",
    "2026-10",
    "--invoices",
    str(EXAMPLES / "invoices.jsonl"),
    "--merchants",
    str(EXAMPLES / "merchants.toml"),
)


def test_the_example_as_json() -> None:
    result = run("prepare", str(EXAMPLES / "released-lists.jsonl"), *COMMON, "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    (claim,) = found["claims"]
    assert (claim["number"], claim["refund"], claim["declarations"]) == (
        "4403960XYZ-202610-001",
        "53.30",
        ["224420260000000001"],
    )
    assert [(line["refund"], line["declaration_line"]) for line in claim["lines"]] == [
        ("8.67", 1),
        ("40.30", 2),
        ("4.33", 1),
    ]
    assert [out["list_no"] for out in found["left_out"]] == [
        "22442026E000000003",
        "22442026E000000002",
    ]


def test_a_list_without_declaration_says_so_and_nothing_to_claim_leaves_with_one(
    tmp_path: Path,
) -> None:
    lists = tmp_path / "lists.jsonl"
    text = (EXAMPLES / "released-lists.jsonl").read_text(encoding="utf-8")
    lists.write_text(text.replace('"declaration": "224420260000000001", ', ""), encoding="utf-8")
    result = run("prepare", str(lists), *COMMON)
    assert (
        result.stdout.count("not yet claimable: no closed consolidated declaration is given") == 5
    )
    assert result.exit_code == 1
    assert run("prepare", str(lists), "--month", "2026-09", *COMMON[2:]).exit_code == 1


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"merchant": "4403960XYZ"', '"merchant": ""', "line 1: merchant"),
        (
            '"quantity": "2"',
            '"quantity": 2',
            "line 1: lines[0].quantity: found the number 2, expected a decimal string",
        ),
        ("T10:00:00+08:00", "T10:00:00", "line 1: released_at: give a time with its offset"),
        ('"total": "60.00"', '"total": "60.001"', "line 1: lines[0].total"),
        (
            '"line_no": 2',
            '"line_no": 1',
            "line 1: lines[1].line_no: found 1, expected a number that no other line has (unique)",
        ),
        ('"declaration_line": 1', '"declaration_line": 0', "line 1: lines[0].declaration_line"),
        ('"quantity": "2"', '"quantity": "２"', "line 1: lines[0].quantity: found '２'"),
        ('"hs_code": "6109', '"hs_code": "６109', "line 1: lines[0].hs_code"),
        ("T10:00:00+08:00", "T10:00:00.123456789+08:00x", "line 1: released_at: found"),
        ("2026-10-", "9999-10-", "line 1: released_at: found '9999-10-"),
        ('"total": "60.00"', '"total": "6e1"', "line 1: lines[0].total: found '6e1'"),
        (
            '"hs_code": "6109100021"',
            '"hs_code": "61091"',
            "line 1: lines[0].hs_code: found '61091', expected 4, 6, 8 or 10 digits",
        ),
        (
            '"hs_code": "6109100021"',
            '"hs_code": "9999999999"',
            "lines[0].hs_code: found '9999999999', expected a code of the Harmonized",
        ),
        (
            '"paid": true',
            '"paid": "yes"',
            "line 1: paid: found 'yes', expected true or false (is_true_or_false)",
        ),
        ('"paid": true', '"paid": 1', "line 1: paid: found the number 1, expected true or false"),
        (
            '"declaration_line": 1',
            '"declaration_line": "1"',
            "line 1: lines[0].declaration_line: found '1', expected a whole number",
        ),
    ],
)
def test_wrong_lists_leave_with_two_and_name_line_and_field(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    lists = tmp_path / "lists.jsonl"
    text = (EXAMPLES / "released-lists.jsonl").read_text(encoding="utf-8")
    assert old in text
    lists.write_text(text.replace(old, new), encoding="utf-8")
    result = run("prepare", str(lists), *COMMON)
    assert result.exit_code == 2
    assert says in result.stderr


def test_every_line_that_is_wrong_is_named(tmp_path: Path) -> None:
    lists = tmp_path / "lists.jsonl"
    good = (EXAMPLES / "released-lists.jsonl").read_bytes()
    lists.write_bytes(b"{\n" + good + b"\xff\n")
    result = run("prepare", str(lists), *COMMON)
    assert (result.exit_code, result.stdout) == (2, "")
    count = len(good.splitlines()) + 2
    assert "line 1: the file: found" in result.stderr
    assert f"line {count} is not UTF-8 text" in result.stderr


@pytest.mark.parametrize("month", ["２０２６-10", "0001-01", "9999-12", "2026-10\n", "2013-12"])
def test_a_month_that_no_claim_can_be_of_is_wrong(month: str) -> None:
    result = run("prepare", str(EXAMPLES / "released-lists.jsonl"), "--month", month, *COMMON[2:])
    assert (result.exit_code, "--month" in result.stderr) == (2, True)


def test_a_month_that_is_none_is_wrong() -> None:
    assert (
        run(
            "prepare", str(EXAMPLES / "released-lists.jsonl"), "--month", "2026-13", *COMMON[2:]
        ).exit_code
        == 2
    )
