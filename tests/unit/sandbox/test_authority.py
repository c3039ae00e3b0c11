"""The authority on paper: every word of its language, its own three-document match, requests, and
what it refuses.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from sandbox.authority.messages import UnreadableMessage, read_message
from sandbox.authority.party import Authority
from sandbox.authority.policy import DAY_S, AuthorityPolicy
from sandbox.authority.receipts import RECEIPTS_MAX, Receipt, return_time
from sandbox.authority.signature import Declarants, SignatureFault
from sandbox.documents import SubmittedOrder
from sandbox.language import LANGUAGE, RETURNS, Phrase
from sandbox.storage import pending_outbox
from sandbox.xml import CEB
from shared.envelope import first_headers
from tests.unit.sandbox.papers import (
    NOW,
    Declarant,
    cancel_623,
    list_603,
    list_621,
    payment_of,
    read,
    return_625,
    submission,
    waybill_of,
)

ROWS = [row for row in LANGUAGE if row.party == "authority"]
LONG = 10.0


def order_of(words: str = "", **changed: Any) -> SubmittedOrder:
    return read(submission(f"SHOP1-000001~{words}" if words else "SHOP1-000001", **changed))


def push(
    authority: Authority, order: SubmittedOrder, *, payment: bool = True, waybill: bool = True
) -> list[Receipt]:
    """The documents that platform, bank and carrier push."""
    heard = authority.record_orders([order], NOW)
    payments = [payment_of(order)] if payment else []
    return heard + authority.record_documents(payments, [waybill_of(order)] if waybill else [], NOW)


def statuses(receipts: list[Receipt]) -> list[str]:
    return [str(receipt.status) for receipt in receipts]


def everything(authority: Authority, first: list[Receipt], until: float = LONG) -> list[Receipt]:
    """The receipts given at once and all that fall due, in tenths of a second."""
    found = list(first)
    for tenth in range(int(until * 10) + 1):
        found += authority.fall_due(NOW + tenth / 10)
    return found


def invt_no(receipts: list[Receipt]) -> str:
    found = re.search("<invtNo>([^<]+)</invtNo>", receipts[-1].xml)
    assert found
    return found[1]


def joined(messages: list[bytes]) -> bytes:
    """The lists of several messages in one."""
    inventory = re.compile(rb"<Inventory>.*</Inventory>", re.DOTALL)
    lists = b"".join(body for message in messages for body in inventory.findall(message))
    return inventory.sub(lambda _: lists, messages[0])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.word or "none")
def test_the_authority_speaks_every_row_of_its_language(
    authority: Authority, declarant: Declarant, row: Phrase
) -> None:
    order = order_of(row.word)
    push(authority, order)
    first = authority.receive([declarant.sign(list_621(order))], NOW)
    assert statuses(everything(authority, first)) == list(row.does)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("examine.detain", ["2", "120", "500", "501"]),
        ("review.hold.examine", ["2", "120", "300", "600", "500", "800"]),
        ("slow.examine", ["2", "120", "500", "800"]),
        ("late.unheard-of", ["2", "120", "800"]),
    ],
)
def test_words_join(
    authority: Authority, declarant: Declarant, words: str, expected: list[str]
) -> None:
    order = order_of(words)
    push(authority, order)
    first = authority.receive([declarant.sign(list_621(order))], NOW)
    assert (first == []) == ("slow" in words)
    assert statuses(everything(authority, first)) == expected


def test_a_returned_list_is_accepted_once_amended(
    authority: Authority, declarant: Declarant
) -> None:
    order = order_of("return")
    push(authority, order)
    first = authority.receive([declarant.sign(list_621(order))], NOW)
    assert "Code:130126" in first[-1].text
    amended = declarant.sign(list_621(order, app_type="2", app_time="20261123090001"))
    assert statuses(authority.receive([amended], NOW)) == ["2", "120", "800"]


def test_a_return_is_said_again_of_the_list_before_once_its_amendment_comes(
    authority: Authority, declarant: Declarant
) -> None:
    order = order_of("return.again")
    push(authority, order)
    first = authority.receive([declarant.sign(list_621(order, "COP1"))], NOW)
    second = authority.receive(
        [declarant.sign(list_621(order, "COP2", app_type="2", app_time="20261123090001"))], NOW
    )
    assert [
        (r.status, f"<copNo>{n}</copNo>" in r.xml)
        for r, n in zip(second, ("COP1", *["COP2"] * 3), strict=True)
    ] == [
        (100, True),
        (2, True),
        (120, True),
        (800, True),
    ]
    assert second[0].xml != first[-1].xml


def test_a_rejected_list_is_rejected_again_when_amended(
    authority: Authority, declarant: Declarant
) -> None:
    order = order_of("reject")
    push(authority, order)
    authority.receive([declarant.sign(list_621(order))], NOW)
    again = authority.receive([declarant.sign(list_621(order, app_type="2"))], NOW)
    assert statuses(again) == ["2", "100"]
    assert "Code:99" in again[-1].text


def test_after_the_e_port_refused_it_the_list_is_taken_when_lodged_again(
    authority: Authority, declarant: Declarant
) -> None:
    order = order_of("eport")
    push(authority, order)
    assert statuses(authority.receive([declarant.sign(list_621(order))], NOW)) == ["-621041"]
    assert statuses(authority.receive([declarant.sign(list_621(order))], NOW)) == [
        "2",
        "120",
        "800",
    ]


def test_an_export_is_closed_after_its_departure_and_needs_no_funds(
    authority: Authority, declarant: Declarant
) -> None:
    order = order_of(direction="export")
    push(authority, order, payment=False)
    first = authority.receive([declarant.sign(list_603(order))], NOW)
    assert statuses(first) == ["2", "120", "800"]
    found = everything(authority, first)
    assert statuses(found) == ["2", "120", "800", "899"]
    assert {receipt.code for receipt in found} == {"604"}
    assert re.fullmatch(r"22442026E\d{9}", invt_no(found))


Pusher = Callable[[Authority, SubmittedOrder], list[Receipt]]


@pytest.mark.parametrize("missing", ["order", "payment", "waybill"])
def test_a_list_waits_for_a_missing_document_and_is_decided_when_it_comes(
    authority: Authority, declarant: Declarant, missing: str
) -> None:
    order = order_of()
    if missing != "order":
        authority.record_orders([order], NOW)
    payments, waybills = [payment_of(order)], [waybill_of(order)]
    authority.record_documents(
        payments if missing != "payment" else [], waybills if missing != "waybill" else [], NOW
    )
    first = authority.receive([declarant.sign(list_621(order))], NOW)
    assert statuses(first) == ["2"]
    assert "不存在" in first[0].text
    assert authority.fall_due(NOW + LONG) == []
    authority.record_orders([order], NOW) if missing != "order" else None
    late = (
        authority.record_orders([order], NOW)
        if missing == "order"
        else authority.record_documents(payments, waybills, NOW)
    )
    assert statuses(late) == ["120", "800"]


@pytest.mark.parametrize(
    ("order", "payment", "waybill", "head", "line", "status", "code"),
    [
        ({}, {"amount": "203.10"}, {}, {}, {}, 100, "1332"),
        ({}, {"currency": "USD"}, {}, {}, {}, 100, "1332"),
        ({}, {"enterprise": "OTHER"}, {}, {}, {}, 100, "13035"),
        ({}, {"payer_id": "440524188001010014"}, {}, {}, {}, 100, "47"),
        ({}, {}, {"consignee_name": "x"}, {}, {}, 100, "120002"),
        ({}, {}, {"consignee_phone": "x"}, {}, {}, 100, "120002"),
        ({}, {}, {"consignee_address": "x"}, {}, {}, 100, "120002"),
        ({}, {}, {}, {"buyerName": "x"}, {}, 100, "13127"),
        ({}, {}, {}, {"buyerIdNumber": "x"}, {}, 100, "13127"),
        ({}, {}, {}, {"buyerTelephone": "1"}, {}, 100, "130126"),
        ({}, {}, {}, {}, {"gnum": "2"}, 100, "1322"),
        ({}, {}, {}, {}, {"qty": "1", "totalPrice": "86"}, 100, "1322"),
        ({}, {}, {}, {}, {"totalPrice": "172.01"}, 100, "1322"),
        ({}, {}, {}, {}, {"gname": "Apples"}, 100, "1322"),
        ({}, {}, {}, {}, {"country": "142"}, 100, "1322"),
        ({}, {}, {}, {"freight": "4828.01"}, {}, -621005, "-621005"),
    ],
)
def test_each_mismatch_is_refused_with_its_code(
    authority: Authority,
    declarant: Declarant,
    order: dict[str, Any],
    payment: dict[str, Any],
    waybill: dict[str, Any],
    head: dict[str, Any],
    line: dict[str, Any],
    status: int,
    code: str,
) -> None:
    placed = order_of(**order)
    authority.record_orders([placed], NOW)
    authority.record_documents(
        [payment_of(placed, **payment)], [waybill_of(placed, **waybill)], NOW
    )
    answer = authority.receive([declarant.sign(list_621(placed, head=head, line=line))], NOW)
    assert statuses(answer) == ["2", str(status)]
    assert f"[Code:{code};" in answer[-1].text


def test_the_first_order_document_counts_also_where_two_come_together(
    authority: Authority, declarant: Declarant
) -> None:
    order = order_of()
    other = replace(order, freight=order.freight + 1, amount_paid=order.amount_paid + 1)
    authority.record_orders([order, other], NOW)
    authority.record_documents([payment_of(order)], [waybill_of(order)], NOW)
    assert statuses(authority.receive([declarant.sign(list_621(order))], NOW)) == [
        "2",
        "120",
        "800",
    ]


def test_a_list_with_fewer_lines_than_the_order_is_refused(
    authority: Authority, declarant: Declarant
) -> None:
    order = order_of()
    two = replace(
        order, lines=(order.lines[0], replace(order.lines[0], number=2)), goods_value=Decimal(344)
    )
    two = replace(two, amount_paid=Decimal("376.10"))
    authority.record_orders([two], NOW)
    authority.record_documents([payment_of(two)], [waybill_of(two)], NOW)
    answer = authority.receive([declarant.sign(list_621(order))], NOW)
    assert "[Code:1320;" in answer[-1].text


@pytest.mark.parametrize(("freight", "status"), [("4828.00", 800), ("4828.01", -621005)])
def test_exactly_the_single_limit_is_inside(
    authority: Authority, declarant: Declarant, freight: str, status: int
) -> None:
    order = order_of()
    push(authority, order)
    answer = authority.receive([declarant.sign(list_621(order, head={"freight": freight}))], NOW)
    assert answer[-1].status == status


def test_an_order_has_one_live_list(authority: Authority, declarant: Declarant) -> None:
    order = order_of()
    push(authority, order)
    authority.receive([declarant.sign(list_621(order))], NOW)
    assert statuses(authority.receive([declarant.sign(list_621(order, "COP2"))], NOW)) == [
        "-621004"
    ]
    assert statuses(authority.receive([declarant.sign(list_621(order, app_type="2"))], NOW)) == [
        "-621012"
    ]


def test_two_lists_of_one_order_in_one_message_are_one_too_many(
    authority: Authority, declarant: Declarant
) -> None:
    order = order_of()
    push(authority, order)
    answer = authority.receive([declarant.sign(list_621(order, times=2))], NOW)
    assert sorted(statuses(answer)) == sorted(["2", "120", "800", "-621004"])


def test_an_amendment_older_than_what_it_amends_is_refused(
    authority: Authority, declarant: Declarant
) -> None:
    order = order_of("return")
    push(authority, order)
    authority.receive([declarant.sign(list_621(order))], NOW)
    stale = declarant.sign(list_621(order, app_type="2", app_time="20261122090000"))
    assert statuses(authority.receive([stale], NOW)) == ["-621055"]


def test_a_message_delivered_again_is_answered_once(
    authority: Authority, declarant: Declarant
) -> None:
    order = order_of()
    push(authority, order)
    message = declarant.sign(list_621(order))
    assert len(authority.receive([message], NOW)) == 3
    assert authority.receive([message], NOW) == []


# --- requests to cancel or to return


def test_a_list_under_examination_is_cancelled_and_no_more_is_heard_of_it(
    authority: Authority, declarant: Declarant
) -> None:
    order = order_of("examine")
    push(authority, order)
    first = authority.receive([declarant.sign(list_621(order))], NOW)
    granted = authority.receive([declarant.sign(cancel_623(order, invt_no(first)))], NOW)
    assert [(r.code, r.status) for r in granted] == [("624", 399)]
    assert everything(authority, []) == []
    assert statuses(authority.receive([declarant.sign(list_621(order, "COP2"))], NOW))[:2] == [
        "2",
        "120",
    ]


def test_a_waiting_list_is_cancelled_by_the_enterprises_own_number(
    authority: Authority, declarant: Declarant
) -> None:
    order = order_of()
    authority.receive([declarant.sign(list_621(order))], NOW)
    assert statuses(authority.receive([declarant.sign(cancel_623(order, "NONE"))], NOW)) == ["399"]
    assert push(authority, order) == []


@pytest.mark.parametrize("words", ["", "detain", "shipback"])
def test_what_is_cleared_or_gone_cannot_be_cancelled(
    authority: Authority, declarant: Declarant, words: str
) -> None:
    order = order_of(words)
    push(authority, order)
    found = everything(authority, authority.receive([declarant.sign(list_621(order))], NOW))
    refused = authority.receive([declarant.sign(cancel_623(order, invt_no(found)))], NOW)
    assert statuses(refused) == ["100"]
    assert "623005" in refused[0].text


def released_list(
    authority: Authority, declarant: Declarant, words: str = ""
) -> tuple[SubmittedOrder, str]:
    order = order_of(words)
    push(authority, order)
    return order, invt_no(authority.receive([declarant.sign(list_621(order))], NOW))


def test_goods_come_back_line_by_line_and_no_more_than_is_left(
    authority: Authority, declarant: Declarant
) -> None:
    order, number = released_list(authority, declarant)
    for quantity, status in (("1", "399"), ("2", "100"), ("1", "399"), ("1", "100")):
        assert statuses(
            authority.receive([declarant.sign(return_625(order, number, quantity))], NOW)
        ) == [status]
    assert [r.status for r in authority.fall_due(NOW + 2)] == [800, 800]


@pytest.mark.parametrize("row", RETURNS, ids=lambda row: row.word or "none")
def test_the_authority_takes_back_as_its_language_says(
    authority: Authority, declarant: Declarant, row: Phrase
) -> None:
    order, number = released_list(authority, declarant, row.word)
    given = [
        *authority.receive([declarant.sign(return_625(order, number))], NOW),
        *authority.fall_due(NOW + 100),
    ]
    assert tuple(str(r.status) for r in given) == row.does
    days = {"": 0, "back_late": 46}.get(row.word)
    if days is not None:
        day = datetime.fromtimestamp(NOW + days * 86_400, UTC).astimezone(
            timezone(timedelta(hours=8))
        )
        assert f"<returnTime>{day:%Y%m%d}" in given[-1].xml


def test_released_goods_are_taken_back_once(authority: Authority, declarant: Declarant) -> None:
    order = order_of()
    push(authority, order)
    number = invt_no(authority.receive([declarant.sign(list_621(order))], NOW))
    granted = authority.receive([declarant.sign(return_625(order, number))], NOW)
    assert [(r.code, r.status) for r in granted] == [("626", 399)]
    (back,) = authority.fall_due(NOW + 2)
    assert (back.code, back.status) == ("626", 800)
    assert return_time(NOW)[:8] in back.xml
    assert re.findall("<preNo>.*</preNo>", back.xml) == re.findall(
        "<preNo>.*</preNo>", granted[0].xml
    )
    assert statuses(authority.receive([declarant.sign(return_625(order, number))], NOW)) == ["100"]


@pytest.mark.parametrize(
    ("quantity", "gnum", "days", "status"),
    [("3", "1", 0, "100"), ("1", "2", 0, "-625209"), ("1", "1", 31, "100"), ("1", "1", 29, "399")],
)
def test_a_return_must_be_of_the_list_and_in_time(
    authority: Authority, declarant: Declarant, quantity: str, gnum: str, days: int, status: str
) -> None:
    order = order_of()
    push(authority, order)
    number = invt_no(authority.receive([declarant.sign(list_621(order))], NOW))
    asked = declarant.sign(return_625(order, number, quantity, gnum))
    assert statuses(authority.receive([asked], NOW + days * DAY_S)) == [status]


def test_a_list_not_released_cannot_come_back(authority: Authority, declarant: Declarant) -> None:
    order = order_of("examine")
    push(authority, order)
    number = invt_no(authority.receive([declarant.sign(list_621(order))], NOW))
    assert statuses(authority.receive([declarant.sign(return_625(order, number))], NOW)) == ["100"]


# --- messages


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda _: b"{}", "0001"),
        (lambda xml: xml[:-20], "0001"),
        (lambda xml: b'<!DOCTYPE x [<!ENTITY a "b">]>' + xml, "0001"),
        (lambda xml: xml.replace(b"CEB621Message", b"CEB999Message"), "0002"),
        (lambda xml: re.sub(rb"<orderNo>[^<]*</orderNo>", b"", xml), "0002"),
        (lambda xml: re.sub(rb"<customsCode>2244", b"<customsCode>22", xml), "0002"),
        (lambda xml: re.sub(rb"<price>[^<]*", b"<price>1e3", xml), "0002"),
        (lambda xml: re.sub(rb"<Inventory>.*</Inventory>", b"", xml), "0002"),
        (lambda xml: re.sub(rb"<BaseTransfer>.*</BaseTransfer>", b"", xml), "0002"),
        (lambda xml: re.sub(rb'guid="[^"]*"', b'guid="x"', xml), "0002"),
    ],
)
def test_what_is_no_declaration_is_answered_with_a_900(
    authority: Authority, change: Callable[[bytes], bytes], code: str
) -> None:
    (answer,) = authority.receive([change(list_621(order_of()))], NOW)
    assert (answer.code, answer.status) == ("900", -int(code))
    assert f"[Code:{code};" in answer.text


def test_a_message_has_at_most_a_hundred_documents() -> None:
    with pytest.raises(UnreadableMessage):
        read_message(list_621(order_of(), times=101))


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda xml: xml.replace(b"86.00", b"68.00"), -621028),
        (lambda xml: re.sub(rb"<ds:SignatureValue>....", b"<ds:SignatureValue>AAAA", xml), -621029),
        (
            lambda xml: re.sub(rb"<ds:Signature .*</ds:Signature>", b"", xml, flags=re.DOTALL),
            -621029,
        ),
        (lambda xml: xml.replace(b"xmldsig-more#rsa-sha256", b"xmldsig-more#rsa-md5"), -621029),
    ],
)
def test_a_wrong_signature_refuses_every_list(
    authority: Authority, declarant: Declarant, change: Callable[[bytes], bytes], status: int
) -> None:
    order = order_of()
    push(authority, order)
    changed = change(declarant.sign(list_621(order)))
    assert statuses(authority.receive([changed], NOW)) == [str(status)]


def test_another_key_or_no_certificate_on_file_is_no_signature(
    declarant: Declarant, tmp_path: Path
) -> None:
    message = read_message(Declarant.new().sign(list_621(order_of())))
    with pytest.raises(SignatureFault, match="not the declarant's"):
        Declarants(declarant.file(tmp_path)).check(message.root)
    with pytest.raises(SignatureFault, match="no readable certificate"):
        Declarants(tmp_path / "none").check(message.root)


def test_receipts_come_a_hundred_in_a_message_and_answers_to_one_message_under_one_key(
    authority: Authority, declarant: Declarant
) -> None:
    orders = [read(submission(f"SHOP1-{n}")) for n in range(60)]
    authority.record_orders(orders, NOW)
    waybills = [waybill_of(order, logistics_no=f"YT{n}") for n, order in enumerate(orders)]
    authority.record_documents([payment_of(order) for order in orders], waybills, NOW)
    single = [
        list_621(order, f"C{n}", head={"logisticsNo": f"YT{n}"}) for n, order in enumerate(orders)
    ]
    message = declarant.sign(joined(single))
    assert len(authority.receive([message], NOW)) == 180
    records = [record for _, record in pending_outbox(authority.register.file, 100)]
    assert {record.key for record in records} == {read_message(message).guid.encode()}
    roots = [etree.fromstring(record.value) for record in records]
    assert [len(root) for root in roots] == [RECEIPTS_MAX, 80]
    assert {root.tag for root in roots} == {f"{{{CEB}}}CEB622Message"}
    headers = first_headers(records[0].headers)
    assert headers["ce_type"] == b"authority.ceb622.v1"
    assert headers["ce_id"].decode().upper() == roots[0].get("guid")


def test_another_orders_waybill_does_not_serve(authority: Authority, declarant: Declarant) -> None:
    mine, other = order_of(), read(submission("SHOP1-2"))
    push(authority, mine, waybill=False)
    push(authority, other)
    answer = authority.receive(
        [declarant.sign(joined([list_621(other), list_621(mine, "COP2")]))], NOW
    )
    assert statuses(answer) == ["2", "120", "800", "2"]


def test_numbers_have_the_official_form_and_times_rise(
    authority: Authority, declarant: Declarant
) -> None:
    order = order_of()
    push(authority, order)
    found = authority.receive([declarant.sign(list_621(order))], NOW)
    assert re.fullmatch(r"22442026I\d{9}", invt_no(found))
    assert all(re.search(r"<preNo>B20261123\d{9}</preNo>", receipt.xml) for receipt in found)
    times = [etree.fromstring(receipt.xml).findtext("returnTime") for receipt in found]
    assert times == sorted(set(filter(None, times)))
    assert all(re.fullmatch(r"\d{17}", text or "") for text in times)


def test_random_examination_draws_the_same_lists_again_at_about_its_rate() -> None:
    policy = AuthorityPolicy(examination_rate=0.055)
    drawn = [policy.draws(f"list-{n}") for n in range(20_000)]
    assert drawn == [policy.draws(f"list-{n}") for n in range(20_000)]
    assert 0.045 < sum(drawn) / len(drawn) < 0.065
    assert not any(AuthorityPolicy().draws(f"list-{n}") for n in range(1000))


def test_the_register_keeps_no_particulars_in_clear(
    authority: Authority, declarant: Declarant, tmp_path: Path
) -> None:
    path = tmp_path / "authority.db"
    kept = Authority("receipts", Declarants(declarant.file(tmp_path)), path)
    order = order_of("examine")
    push(kept, order)
    kept.receive([declarant.sign(list_621(order))], NOW)
    kept.register.file.close()
    content = b"".join(file.read_bytes() for file in tmp_path.glob("authority.db*"))
    for secret in (
        order.buyer_id,
        order.buyer_name,
        order.buyer_phone,
        order.consignee.name,
        order.consignee.phone,
    ):
        assert secret
        assert secret.encode() not in content


def test_a_killed_authority_gives_what_is_due_after_its_restart(
    declarant: Declarant, tmp_path: Path
) -> None:
    certificate = Declarants(declarant.file(tmp_path))
    order = order_of("examine")
    before = Authority("receipts", certificate, tmp_path / "a.db")
    push(before, order)
    before.receive([declarant.sign(list_621(order))], NOW)
    after = Authority("receipts", certificate, tmp_path / "a.db")
    assert statuses(after.fall_due(NOW + LONG)) == ["800"]
    before.register.file.close()
    after.register.file.close()
