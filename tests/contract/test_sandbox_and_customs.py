"""What customs writes the sandbox authority reads, and the other way round; the official schema is the judge of both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.authority.party import Authority
from sandbox.authority.signature import Declarants
from sandbox.documents import SubmittedOrder, WaybillDocument
from sandbox.storage import pending_outbox
from services.customs.ceb.build import (
    build_cancellations,
    build_export_lists,
    build_import_lists,
    build_returns,
)
from services.customs.ceb.parse import parse_receipts
from services.customs.ceb.receipts import Receipt
from services.customs.ceb.sign import CERTIFICATE_FILE, Signer, ensure_keys
from services.customs.ceb.validate import validate
from tests.contract.ceb.samples import (
    CARRIER,
    PLATFORM,
    SCHEMAS,
    TRANSFER,
    cancellation,
    export_list,
    import_list,
    needs_schemas,
    return_request,
)
from tests.unit.sandbox.papers import NOW, guid, payment_of, read, submission


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    ensure_keys(folder)
    return folder


@pytest.fixture
def authority(keys: Path) -> Authority:
    return Authority("receipts", Declarants(keys / CERTIFICATE_FILE))


@pytest.fixture(scope="session")
def declarant(keys: Path) -> Signer:
    return Signer.from_dir(keys)


def placed(authority: Authority, order_no: str, direction: str) -> SubmittedOrder:
    """The order of the customs samples, with its payment and waybill pushed to the authority."""
    order = read(
        submission(
            order_no, direction=direction, platform={"code": PLATFORM.code, "name": PLATFORM.name}
        )
    )
    line = replace(order.lines[0], name="车厘子")
    order = replace(order, lines=(line,))
    to = order.consignee
    bill = WaybillDocument(
        str(order.order_id), CARRIER.code, "EX000000001", to.name, to.phone, to.address
    )
    authority.record_orders([order], NOW)
    authority.record_documents([payment_of(order)], [bill], NOW)
    return order


def answers(authority: Authority) -> tuple[list[bytes], list[Receipt]]:
    """What lies in the authority's outbox: the messages, and their entries as customs reads them."""
    messages = [record.value for _, record in pending_outbox(authority.register.file, 100)]
    return messages, [entry for message in messages for entry in parse_receipts(message)]


def judged(messages: list[bytes]) -> None:
    if SCHEMAS.is_dir():
        assert [validate(message, SCHEMAS) for message in messages] == [[]] * len(messages)


def test_an_import_list_of_customs_is_accepted_released_and_taken_back(
    authority: Authority, declarant: Signer
) -> None:
    placed(authority, "SHOP1-000001", "import")
    authority.receive(
        [declarant.sign(build_import_lists(guid(), TRANSFER, [import_list(guid=guid())]))], NOW
    )
    messages, entries = answers(authority)
    assert [(e.message_type, e.status) for e in entries] == [
        ("CEB622", "2"),
        ("CEB622", "120"),
        ("CEB622", "800"),
    ]
    number = entries[-1].invt_no
    assert number
    assert {e.cop_no for e in entries} == {import_list().cop_no}
    back = return_request(guid=guid(), invt_no=number)
    authority.receive([declarant.sign(build_returns(guid(), TRANSFER, [back], "import"))], NOW)
    messages, entries = answers(authority)
    assert [(e.message_type, e.status) for e in entries[3:]] == [("CEB626", "399")]
    judged(messages)


def test_an_import_list_that_waits_is_cancelled(authority: Authority, declarant: Signer) -> None:
    authority.receive(
        [declarant.sign(build_import_lists(guid(), TRANSFER, [import_list(guid=guid())]))], NOW
    )
    asked = build_cancellations(guid(), TRANSFER, [cancellation(guid=guid())], "import")
    authority.receive([declarant.sign(asked)], NOW)
    messages, entries = answers(authority)
    assert [(e.message_type, e.status) for e in entries] == [("CEB622", "2"), ("CEB624", "399")]
    judged(messages)


def test_an_export_list_of_customs_is_accepted_closed_and_taken_back(
    authority: Authority, declarant: Signer
) -> None:
    placed(authority, "SHOP2-000001", "export")
    authority.receive(
        [declarant.sign(build_export_lists(guid(), TRANSFER, [export_list(guid=guid())]))], NOW
    )
    authority.fall_due(NOW + 1)
    entries = answers(authority)[1]
    assert [(e.message_type, e.status) for e in entries] == [
        ("CEB604", s) for s in ("2", "120", "800", "899")
    ]
    refused = cancellation(
        guid=guid(), invt_no=entries[-1].invt_no, order_no=None, platform=None, logistics=None
    )
    authority.receive(
        [declarant.sign(build_cancellations(guid(), TRANSFER, [refused], "export"))], NOW
    )
    back = return_request(guid=guid(), invt_no=entries[-1].invt_no)
    authority.receive([declarant.sign(build_returns(guid(), TRANSFER, [back], "export"))], NOW)
    messages, entries = answers(authority)
    assert [(e.message_type, e.status, e.inner_code) for e in entries[4:]] == [
        ("CEB606", "100", "623005"),
        ("CEB214", "399", "2300"),
    ]
    judged(messages)


def test_customs_learns_from_a_900_which_message_was_refused(
    authority: Authority, declarant: Signer
) -> None:
    named = guid()
    message = declarant.sign(build_import_lists(named, TRANSFER, [import_list(guid=guid())]))
    authority.receive([message.replace(b"<customsCode>2244", b"<customsCode>22")], NOW)
    messages, (entry,) = answers(authority)
    assert (entry.message_type, entry.status, entry.inner_code) == ("CEB900", "-2", "0002")
    assert (entry.original_id, entry.original_guid, entry.original_type) == (
        named,
        named,
        "CEB621Message",
    )
    judged(messages)


@needs_schemas
def test_a_wrongly_signed_list_is_refused_in_the_schemas_form(
    authority: Authority, declarant: Signer
) -> None:
    message = declarant.sign(build_import_lists(guid(), TRANSFER, [import_list(guid=guid())]))
    authority.receive([message.replace(b">86", b">68")], NOW)
    messages, (entry,) = answers(authority)
    assert entry.status == "-621028"
    judged(messages)
