"""The authority's tax bills: every word of their language, in the schema's form, as customs reads them, and as tax assesses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from deploy.samples import SAMPLES, submission
from sandbox.authority.duties import NoRate, taxes_of
from sandbox.authority.party import Authority
from sandbox.authority.policy import AuthorityPolicy
from sandbox.authority.signature import Declarants
from sandbox.language import BILLS, Phrase
from sandbox.storage import drop_outbox, pending_outbox
from services.customs.ceb.bills import TaxBill
from services.customs.ceb.parse import parse_entries
from services.customs.ceb.validate import validate
from services.customs.draft_lines import _model
from services.tax.domain.assessment import Assessable, AssessableLine, Assessment, assess
from services.tax.rulebook.files import load
from shared.events.orders import Line, NetContent
from shared.money import Money
from shared.xml import XmlRefused
from tests.contract.ceb.samples import SCHEMAS
from tests.unit.sandbox import papers
from tests.unit.sandbox.papers import NOW, Declarant, list_621, payment_of, return_625, waybill_of

DAY_S = 10.0


@pytest.fixture(scope="session")
def declarant() -> Declarant:
    return Declarant.new()


@pytest.fixture
def authority(declarant: Declarant, tmp_path: Path) -> Iterator[Authority]:
    made = Authority(
        "receipts", Declarants(declarant.file(tmp_path)), policy=AuthorityPolicy(day_s=DAY_S)
    )
    yield made
    made.register.file.close()


def released(
    authority: Authority, declarant: Declarant, words: str = "", number: int = 1
) -> tuple[Any, str]:
    """An order whose list is released, and the list's number."""
    order = papers.read(
        papers.submission(f"SHOP1-{number:06d}~{words}" if words else f"SHOP1-{number:06d}")
    )
    authority.record_orders([order], NOW)
    waybill = waybill_of(order, logistics_no=f"YT{number}")
    authority.record_documents([payment_of(order)], [waybill], NOW)
    made = list_621(order, f"COP{number}", head={"logisticsNo": f"YT{number}"})
    receipts = authority.receive([declarant.sign(made)], NOW)
    found = re.search("<invtNo>([^<]+)</invtNo>", receipts[-1].xml)
    assert found
    return order, found[1]


def told(authority: Authority, until_day: int) -> list[tuple[int, bytes]]:
    """The messages of bills, each with the day on which it was sent."""
    drop_outbox(
        authority.register.file,
        [number for number, _ in pending_outbox(authority.register.file, 1000)],
    )
    found = []
    for day in range(until_day + 1):
        authority.fall_due(NOW + day * DAY_S)
        sent = pending_outbox(authority.register.file, 1000)
        drop_outbox(authority.register.file, [number for number, _ in sent])
        found += [(day, record.value) for _, record in sent]
    return found


def bills_in(message: bytes) -> list[TaxBill]:
    return [entry for entry in parse_entries(message) if isinstance(entry, TaxBill)]


@pytest.mark.parametrize("row", BILLS, ids=lambda row: row.word or "none")
def test_the_authority_bills_as_its_language_says(
    authority: Authority, declarant: Declarant, row: Phrase
) -> None:
    _, invt_no = released(authority, declarant, row.word)
    messages = told(authority, 50)
    found = [bill for _, message in messages for bill in bills_in(message)]
    assert tuple(f"{b.message_type.removeprefix('CEB')}:{b.status}" for b in found) == row.does
    assert {b.invt_no for b in found} <= {invt_no}
    if SCHEMAS.is_dir():
        assert [validate(message, SCHEMAS) for _, message in messages] == [[]] * len(messages)


@pytest.mark.parametrize(
    ("word", "fen"),
    [
        ("", 1210),
        ("billhigh", 1240),
        ("billlow", 968),
        ("billfar", 1210 * 3 + 10_000),
        ("contrabill", 1210),
    ],
)
def test_what_is_billed(authority: Authority, declarant: Declarant, word: str, fen: int) -> None:
    released(authority, declarant, word)
    first = bills_in(told(authority, 5)[0][1])[0]
    assert (first.duty_minor, first.consumption_tax_minor, first.vat_minor) == (0, 0, fen)
    assert first.guarantor == "1105910159"


def test_a_bill_comes_the_day_after_and_is_consolidated_on_the_31st(
    authority: Authority, declarant: Declarant
) -> None:
    released(authority, declarant)
    days = [
        (day, bill.status) for day, message in told(authority, 50) for bill in bills_in(message)
    ]
    assert days == [(1, "1"), (31, "2")]


def test_a_calendar_day_begins_at_midnight_in_beijing() -> None:
    released_at = datetime(
        2026, 11, 23, 15, 59, tzinfo=UTC
    ).timestamp()  # a minute before midnight in Beijing
    day = datetime.fromtimestamp(AuthorityPolicy().day_after(released_at, 31), UTC)
    assert day == datetime(2026, 12, 23, 16, tzinfo=UTC)
    assert AuthorityPolicy().day_after(released_at + 60, 31) == day.timestamp() + 86400


def test_bills_of_many_lists_come_in_one_message_and_go_into_one_book(
    authority: Authority, declarant: Declarant
) -> None:
    for number in range(1, 4):
        released(authority, declarant, number=number)
    (_, issued), (_, consolidated) = told(authority, 50)
    assert len(bills_in(issued)) == 3
    assert len({bill.payment_book for bill in bills_in(consolidated)}) == 1


def test_the_bill_of_goods_that_came_back_is_void(
    authority: Authority, declarant: Declarant
) -> None:
    order, invt_no = released(authority, declarant)
    told(authority, 2)
    authority.receive([declarant.sign(return_625(order, invt_no))], NOW + 3 * DAY_S)
    assert [b.status for _, message in told(authority, 50) for b in bills_in(message)] == ["3"]


def test_goods_that_came_back_before_the_bill_are_not_billed(
    authority: Authority, declarant: Declarant
) -> None:
    order, invt_no = released(authority, declarant)
    authority.receive([declarant.sign(return_625(order, invt_no))], NOW)
    assert [b for _, message in told(authority, 50) for b in bills_in(message)] == []


def test_the_bill_of_goods_that_came_back_after_the_term_is_consolidated_all_the_same(
    authority: Authority, declarant: Declarant
) -> None:
    order, invt_no = released(authority, declarant, "back_late")
    authority.receive([declarant.sign(return_625(order, invt_no))], NOW)
    assert [b.status for _, message in told(authority, 50) for b in bills_in(message)] == ["1", "2"]


BILL = (
    '<CEB816Message xmlns="http://www.chinaport.gov.cn/ceb" guid="G" version="1.0"><Tax><TaxHeadRd><invtNo>I</invtNo><taxNo>T</taxNo>'
    "<customsTax>0</customsTax><valueAddedTax>{head}</valueAddedTax><consumptionTax>0</consumptionTax><status>{status}</status>"
    "</TaxHeadRd><TaxListRd><gnum>1</gnum><customsTax>0</customsTax><valueAddedTax>12.10</valueAddedTax>"
    "<consumptionTax>0</consumptionTax></TaxListRd></Tax></CEB816Message>"
)


@pytest.mark.parametrize(
    ("head", "status", "says"),
    [("12.11", "1", "not the sum"), ("x", "1", "yuan and fen"), ("-1", "1", "below zero"), ("12.10", "2", "entDutyNo"),
     ("12.10", "9", "1, 2 or 3"), ("", "1", "lacks valueAddedTax"), ("12.101", "1", "yuan and fen")],
)  # fmt: skip
def test_a_bill_that_contradicts_itself_is_refused(head: str, status: str, says: str) -> None:
    with pytest.raises(XmlRefused, match=says):
        parse_entries(BILL.format(head=head, status=status).encode())


# --- a second opinion on every assessment


def assessable(made: dict[str, Any]) -> tuple[Assessable, dict[str, Any]]:
    """A sample order for the tax service, and for the authority as its list would be declared."""
    currency = made["currency"]
    lines = [
        Line.model_validate({**line, "total": Money.of(line["total"], currency)})
        for line in made["lines"]
    ]
    own = tuple(
        AssessableLine(x.line_no, x.hs_code, x.quantity, x.total, x.net_content, x.net_weight_kg)
        for x in lines
    )
    goods, freight, insurance, discount = (
        Money.of(made[name], currency)
        for name in ("goods_value", "freight", "insurance", "discount")
    )
    body = {
        "freight": made["freight"], "insured": made["insurance"],
        "lines": [
            {"number": x.line_no, "code": x.hs_code, "quantity": str(x.quantity), "total": str(x.total), "model": _model(x)}
            for x in lines
        ],
    }  # fmt: skip
    return Assessable(
        made["direction"], made["mode"], currency, own, goods, freight, insurance, discount
    ), body


RULES = load()
IMPORTS = [name for name in SAMPLES if submission(name, 1, seed=1)["direction"] == "import"]


@pytest.mark.parametrize("sample", IMPORTS)
def test_the_authority_finds_what_tax_assesses(sample: str) -> None:
    for number in range(1, 8):
        made = submission(sample, number, seed=7)
        order, body = assessable(made)
        found = assess(order, datetime(2026, 11, 23, tzinfo=UTC).date(), Money.zero("CNY"), RULES)
        if isinstance(found, Assessment):
            lines = taxes_of(body)
            assert [(x.duty, x.consumption, x.vat) for x in lines] == [
                (x.duty, x.consumption_tax, x.vat) for x in found.lines
            ]


@pytest.mark.parametrize("value", ["0.01", "0.05", "33.33", "99.99", "4999.99"])
@pytest.mark.parametrize("content", ["1", "20", "1000"])
@pytest.mark.parametrize(
    "code", ["0809290000", "3304990029", "2204210000", "9102110000", "1901101090"]
)
def test_two_readings_of_the_law_agree_to_the_fen(code: str, value: str, content: str) -> None:
    total = Money.of(value, "CNY")
    line = AssessableLine(
        1, code, Decimal(1), total, NetContent(value=Decimal(content), unit="ml"), Decimal(1)
    )
    none = Money.zero("CNY")
    order = Assessable(
        direction="import", mode="9610", currency="CNY", lines=(line,), goods_value=total, freight=Money.of("0.07", "CNY"),
        insurance=none, discount=none,
    )  # fmt: skip
    found = assess(order, datetime(2026, 11, 23, tzinfo=UTC).date(), Money.zero("CNY"), RULES)
    assert isinstance(found, Assessment)
    told_line = {
        "number": 1,
        "code": code,
        "quantity": "1",
        "total": value,
        "model": f"Acme|{content}ml",
    }
    (own,) = taxes_of({"freight": "0.07", "insured": "0", "lines": [told_line]})
    assert own.total == found.total.minor


def test_goods_without_a_rate_are_not_billed_by_a_guess() -> None:
    line = {"number": 1, "code": "9999000000", "quantity": "1", "total": "10.00", "model": ""}
    with pytest.raises(NoRate):
        taxes_of({"freight": "0", "insured": "0", "lines": [line]})
