"""A summary request as customs writes it and the sandbox authority reads it, and what that says back; the schema judges both."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sandbox.authority.party import Authority
from sandbox.authority.signature import Declarants
from sandbox.language import SUMMARIES, Phrase
from sandbox.storage import drop_outbox, pending_outbox
from services.customs.ceb.build import build_export_lists, build_summary_requests
from services.customs.ceb.documents import SummaryRequest
from services.customs.ceb.elements import NotDeclarable
from services.customs.ceb.parse import parse_entries
from services.customs.ceb.sign import CERTIFICATE_FILE, Signer, ensure_keys
from services.customs.ceb.summaries import SummaryReceipt, SummaryResult
from services.customs.ceb.validate import validate
from shared.xml import XmlRefused
from tests.contract.ceb.samples import (
    AGENT,
    AT,
    CARRIER,
    GUID,
    MERCHANT,
    PLATFORM,
    SCHEMAS,
    TRANSFER,
    elements,
    export_list,
    line,
    needs_schemas,
    receipt,
)
from tests.unit.sandbox.papers import NOW, guid, payment_of, read, submission, waybill_of


def request(*invt_nos: str, **changed: Any) -> SummaryRequest:
    made: dict[str, Any] = {
        "guid": guid(), "cop_no": "S1", "app_time": AT, "customs_code": "2244", "agent": AGENT, "merchant": MERCHANT, "broker": AGENT,
        "summary_flag": "2", "item_name_flag": "0", "invt_nos": invt_nos,
    }  # fmt: skip
    return SummaryRequest(**made | changed)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    ensure_keys(folder)
    return folder


@pytest.fixture(scope="module")
def declarant(keys: Path) -> Signer:
    return Signer.from_dir(keys)


@pytest.fixture
def authority(keys: Path) -> Iterator[Authority]:
    made = Authority("receipts", Declarants(keys / CERTIFICATE_FILE))
    yield made
    made.register.file.close()


def listed(
    authority: Authority,
    declarant: Signer,
    words: str = "",
    number: int = 1,
    *,
    closed: bool = True,
    **changed: Any,
) -> str:
    """An export list that is closed by then; returns its number."""
    order_no = f"SHOP2-{number:06d}~{words}" if words else f"SHOP2-{number:06d}"
    order = read(
        submission(
            order_no, direction="export", platform={"code": PLATFORM.code, "name": PLATFORM.name}
        )
    )
    order = replace(order, lines=(replace(order.lines[0], name="车厘子"),))
    authority.record_orders([order], NOW)
    waybill = replace(
        waybill_of(order), logistics_code=CARRIER.code, logistics_no=f"EX{number:09d}"
    )
    authority.record_documents([payment_of(order)], [waybill], NOW)
    made = export_list(number, guid=guid(), order_no=order_no, **changed)
    given = authority.receive([declarant.sign(build_export_lists(guid(), TRANSFER, [made]))], NOW)
    if closed:
        authority.fall_due(NOW + 0.6)
    drop_outbox(
        authority.register.file, [n for n, _ in pending_outbox(authority.register.file, 1000)]
    )
    found = re.search("<invtNo>([^<]+)</invtNo>", given[-1].xml)
    assert found
    return found[1]


def asked(
    authority: Authority, declarant: Signer, *requests: SummaryRequest, at: float = NOW + 1
) -> list[Any]:
    """What the authority says to requests, each in a message of its own, in the end: entries as customs reads them."""
    authority.receive(
        [declarant.sign(build_summary_requests(guid(), TRANSFER, [each])) for each in requests], at
    )
    for tenth in range(50):
        authority.fall_due(at + tenth / 10)
    sent = pending_outbox(authority.register.file, 1000)
    drop_outbox(authority.register.file, [n for n, _ in sent])
    if SCHEMAS.is_dir():
        assert [validate(record.value, SCHEMAS) for _, record in sent] == [[]] * len(sent)
    found = [entry for _, record in sent for entry in parse_entries(record.value)]
    return [entry for entry in found if isinstance(entry, SummaryReceipt | SummaryResult)]


def brief(entries: list[Any]) -> tuple[str, ...]:
    return tuple(f"{entry.message_type.removeprefix('CEB')}:{entry.status}" for entry in entries)


@needs_schemas
def test_a_signed_request_is_valid_by_the_authoritys_schema(declarant: Signer) -> None:
    many = tuple(f"22442026E{n:09}" for n in range(2000))
    for each in (
        request("22442026E000000001"),
        request(*many, count=3, seq=2, site_code="2244A", note="n", item_name_flag="1"),
    ):
        signed = declarant.sign(build_summary_requests(GUID, TRANSFER, [each]))
        assert validate(signed, SCHEMAS) == []


def test_a_request_names_at_least_one_list() -> None:
    with pytest.raises(NotDeclarable, match="at least one list"):
        build_summary_requests(GUID, TRANSFER, [request()])


@pytest.mark.parametrize("row", SUMMARIES, ids=lambda row: row.word or "none")
def test_the_authority_consolidates_as_its_language_says(
    authority: Authority, declarant: Signer, row: Phrase
) -> None:
    number = listed(authority, declarant, row.word)
    found = asked(authority, declarant, request(number))
    assert sorted(brief(found)) == sorted(row.does)
    if row.word != "sum_dup":  # messages of one kind leave together
        assert brief(found) == row.does
    if row.word == "sum_refused":
        assert found[0].named == (number,)
        assert number in found[0].public_info
    if row.word == "sum_wait":
        assert (
            brief(asked(authority, declarant, request(number, cop_no="S2"), at=NOW + 10))[0]
            == "702:399"
        )


def test_declarations_are_the_authoritys_own_grouping_and_tell_every_line(
    authority: Authority, declarant: Signer
) -> None:
    numbers = [listed(authority, declarant, number=n) for n in (1, 2)]
    abroad = line(origin="DE", total=line().total, gtin=None)
    numbers.append(
        listed(
            authority, declarant, number=3, country="DE", destination_port="304", lines=(abroad,)
        )
    )
    found = asked(authority, declarant, request(*numbers))
    results = [entry for entry in found if isinstance(entry, SummaryResult)]
    first = [entry for entry in results if entry.lines]
    assert sorted(sorted(each.invt_no for each in entry.lines) for entry in first) == [
        numbers[:2],
        numbers[2:],
    ]
    assert [{each.declared_line for each in entry.lines} for entry in first] == [{1}, {1}]
    (receipt_,) = [entry for entry in found if isinstance(entry, SummaryReceipt)]
    assert {entry.sum_no for entry in results} == {receipt_.sum_no}
    numbered = {entry.decl_seq_no: entry.entry_id for entry in results if entry.entry_id}
    assert len(set(numbered.values())) == 2
    assert all(re.fullmatch("22442026[0-9]{10}", entry_id) for entry_id in numbered.values())


def test_a_request_in_several_messages_is_decided_with_the_last(
    authority: Authority, declarant: Signer
) -> None:
    numbers = [listed(authority, declarant, number=n) for n in (1, 2)]
    assert asked(authority, declarant, request(numbers[1], count=2, seq=2)) == []
    found = asked(authority, declarant, request(numbers[0], count=2, seq=1))
    assert [entry.seq for entry in found if isinstance(entry, SummaryReceipt)] == [1, 2]
    assert {
        each.invt_no for entry in found if isinstance(entry, SummaryResult) for each in entry.lines
    } == set(numbers)


@pytest.mark.parametrize(
    ("changed", "ask", "code"),
    [
        ({"statistics_flag": "A"}, {}, "701005"),
        ({"closed": False}, {}, "701005"),
        ({}, {"customs_code": "2233"}, "701002"),
        ({}, {"merchant": CARRIER}, "701002"),
    ],
)
def test_a_list_that_may_not_be_consolidated_is_named(
    authority: Authority, declarant: Signer, changed: dict[str, Any], ask: dict[str, Any], code: str
) -> None:
    number = listed(authority, declarant, **changed)
    (refused,) = asked(authority, declarant, request(number, **ask), at=NOW + 0.1)
    assert (refused.status, refused.code, refused.named) == ("100", code, (number,))


def test_a_list_is_consolidated_once(authority: Authority, declarant: Signer) -> None:
    number = listed(authority, declarant)
    asked(authority, declarant, request(number))
    (refused,) = asked(authority, declarant, request(number, cop_no="S2"), at=NOW + 10)
    assert (refused.status, refused.code) == ("100", "701005")
    (unknown,) = asked(
        authority, declarant, request("22442026E999999999", cop_no="S3"), at=NOW + 20
    )
    assert unknown.code == "701002"


# --- what cannot be read

RECEIPT = {"guid": GUID, "agentCode": "A", "ebcCode": "B", "copNo": "S1", "preNo": "B20261123000000001", "msgSeqNo": "1",
           "returnStatus": "399", "returnTime": "20261123090203456", "returnInfo": "x"}  # fmt: skip
HEAD = {"guid": GUID, "customsCode": "2244", "sumNo": "S20261201000000001", "opDate": "20261201090203456",
        "declSeqNo": "S20261201000000002", "decState": "1", "msgCount": "1", "msgSeqNo": "1"}  # fmt: skip
LINE = {
    "invtNo": "22442026E000000001",
    "logisticsNo": "EX1",
    "gseqno": "1",
    "gnum": "1",
    "gcode": "6109100021",
}


def result(head: dict[str, str], *lines: dict[str, str]) -> bytes:
    inside = f"<ceb:SummaryResultHead>{elements(**head)}</ceb:SummaryResultHead>"
    inside += "".join(
        f"<ceb:SummaryResultList>{elements(**each)}</ceb:SummaryResultList>" for each in lines
    )
    return receipt("CEB792", "SummaryResult", inside)


def without(fields: dict[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in fields.items() if key != name}


def test_a_result_may_come_without_lines_and_a_receipt_without_a_number() -> None:
    (found,) = parse_entries(result(HEAD))
    assert isinstance(found, SummaryResult)
    assert (found.lines, found.entry_id, found.count) == ((), None, 1)
    (told,) = parse_entries(
        receipt("CEB702", "SummaryReturn", elements(**without(RECEIPT, "msgSeqNo")))
    )
    assert isinstance(told, SummaryReceipt)
    assert (told.cop_no, told.seq, told.sum_no, told.named) == ("S1", 1, None, ())


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (receipt("CEB702", "Other", ""), "holds no SummaryReturn"),
        (
            receipt("CEB702", "SummaryReturn", elements(**without(RECEIPT, "copNo"))),
            "CEB702 lacks copNo",
        ),
        (
            receipt("CEB702", "SummaryReturn", elements(**RECEIPT | {"returnStatus": "18"})),
            "returnStatus '18'",
        ),
        (
            receipt("CEB702", "SummaryReturn", elements(**RECEIPT | {"msgSeqNo": "x"})),
            "msgSeqNo must be a number",
        ),
        (receipt("CEB792", "Other", ""), "holds no SummaryResult"),
        (receipt("CEB792", "SummaryResult", ""), "has no SummaryResultHead"),
        (result(without(HEAD, "declSeqNo")), "CEB792 lacks declSeqNo"),
        (result(HEAD | {"opDate": "2026"}), "returnTime must be 17 digits"),
        (result(HEAD | {"msgSeqNo": "2"}), "beyond msgCount"),
        (result(HEAD, without(LINE, "gseqno")), "CEB792 lacks gseqno"),
        (result(HEAD, LINE, LINE), "is there twice"),
    ],
)
def test_what_cannot_be_read_says_why(data: bytes, says: str) -> None:
    with pytest.raises(XmlRefused, match=says):
        parse_entries(data)
