"""What outsiders may write to the topic: read, or refused in one sentence, and never a crash."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.samples import submission
from services.orders.intake.decoding import IntakeItem, read_submission, with_only_order
from services.orders.intake.fingerprint import fingerprint
from services.orders.intake.strict_json import JSON_BYTES_MAX
from services.orders.intake.submission import CancelRequested, ReturnRequested, Submitted
from services.orders.intake.validation import validate
from services.orders.records import decode
from shared.decoding import PartlyReadable
from shared.envelope import Record
from shared.errors import Unprocessable
from shared.events.base import Fault

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
CEB = "http://www.chinaport.gov.cn/ceb"
SUBMITTED = (("ce_type", b"order.submitted.v1"),)


def one(value: bytes, headers: Any = ()) -> IntakeItem:
    (found,) = read_submission(value, headers)
    return found


def faults(found: IntakeItem) -> tuple[Fault, ...]:
    assert isinstance(found, Submitted)
    return validate(found, NOW)


@pytest.mark.parametrize(
    "prefix",
    [b"", b"\xef\xbb\xbf", b" \n\t", b"\xef\xbb\xbf\n ", b" \n\xef\xbb\xbf", b"\xef\xbb\xbf" * 2],
)
@pytest.mark.parametrize("headers", [(), SUBMITTED, (("traceparent", b"00-1-2-01"),)])
def test_a_submission_is_read_with_and_without_headers(
    order: dict[str, Any], prefix: bytes, headers: Any
) -> None:
    assert faults(one(prefix + json.dumps(order).encode(), headers)) == ()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "malformed"),
        (b"   ", "malformed"),
        (b"{", "malformed"),
        (b"\xff\xfe{}", "malformed"),
        ("{}".encode("utf-16"), "malformed"),
        (b'{"a": "\xff"}', "malformed"),
        (b"[]", "unknown_shape"),
        (b"null", "unknown_shape"),
        (b"1", "unknown_shape"),
        (b"{}", "invalid_value"),
        (b'{"order_no": "1"}', "invalid_value"),
        (b'{"order_no": 1, "platform": {"code": "1105910159"}}', "invalid_value"),
        (b'{"order_no": "1", "platform": "1105910159"}', "invalid_value"),
        (b'{"order_no": "1\\n2", "platform": {"code": "1105910159"}}', "invalid_value"),
        (b'{"order_no": " \\u3000", "platform": {"code": "1105910159"}}', "invalid_value"),
        (
            b'{"order_no": "' + b"1" * 201 + b'", "platform": {"code": "1105910159"}}',
            "invalid_value",
        ),
        (b'{"order_no": "\\ud800", "platform": {"code": "1105910159"}}', "malformed"),
        (b'{"order_no": "1", "order_no": "2", "platform": {"code": "1105910159"}}', "malformed"),
        (b'{"a": NaN}', "malformed"),
        (b'{"a": -Infinity}', "malformed"),
        (b'{"a": ' + b"9" * 5000 + b"}", "malformed"),
        (b'{"a":' * 100_000, "too_large"),
        (b'{"a":' * 17 + b"1" + b"}" * 17, "malformed"),
        (b"[" * 100_000, "malformed"),
        (b'{"a": "' + b"x" * JSON_BYTES_MAX + b'"}', "too_large"),
        (b"{" + b" " * 10 * 1024 * 1024 + b"}", "too_large"),
    ],
    ids=lambda v: repr(v)[:30],
)
def test_what_names_no_order_is_unprocessable(value: bytes, reason: str) -> None:
    with pytest.raises(Unprocessable) as refused:
        read_submission(value, ())
    assert refused.value.reason == reason


def test_sixteen_levels_are_read(order: dict[str, Any]) -> None:
    deep: Any = 1
    for _ in range(15):
        deep = [deep]
    assert faults(one(json.dumps({**order, "more": deep}).encode())) == ()


def test_text_is_compared_in_one_spelling(order: dict[str, Any]) -> None:
    order["platform"]["name"] = "Cafe\u0301"
    for escaped in (True, False):
        found = one(json.dumps(order, ensure_ascii=escaped).encode())
        assert isinstance(found, Submitted)
        assert found.submission.platform.name == "Caf\u00e9"


def test_a_number_that_is_too_long_still_names_the_order_that_is_refused(
    order: dict[str, Any],
) -> None:
    found = one(json.dumps({**order, "order_no": "x" * 200}).encode())
    assert isinstance(found, Submitted)
    assert (found.order_no, [f.field for f in faults(found)]) == ("x" * 200, ["order_no"])


def test_commands_name_their_order(order: dict[str, Any]) -> None:
    asked = {
        "order_no": order["order_no"],
        "platform": order["platform"],
        "reason": "Wang Xiaoming, passport E12345678",
    }
    submitted = one(json.dumps(order).encode())
    for wire_type, kind in (
        ("order.cancel-requested.v1", CancelRequested),
        ("return.requested.v1", ReturnRequested),
    ):
        found = one(json.dumps(asked).encode(), (("ce_type", wire_type.encode()),))
        assert isinstance(found, kind)
        assert found.order_id == submitted.order_id
        assert found.reason == "33 characters"
        for nothing in (None, ""):
            (found,) = read_submission(
                json.dumps({**asked, "reason": nothing}).encode(),
                (("ce_type", wire_type.encode()),),
            )
            assert isinstance(found, kind)
            assert found.reason == "not given"
        (found,) = read_submission(
            json.dumps({**asked, "reason": "out_of_stock"}).encode(),
            (("ce_type", wire_type.encode()),),
        )
        assert isinstance(found, kind)
        assert found.reason == "out_of_stock"


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("Zu klein.\nBitte stornieren, danke!", "34 characters"),
        ("不想要了\u3000谢谢", "7 characters"),
        ("a gift for \U0001f468\u200d\U0001f469\u200d\U0001f467 instead", "24 characters"),
        ("x" * 300, "300 characters"),
        ("\x00\u202e\uffff", "3 characters"),
        ("cut in the middle of \ud83d", "22 characters"),
        (7, "not a text"),
        (False, "not a text"),
        ([["a", None], {"b": "\ud800"}], "not a text"),
    ],
)
@pytest.mark.parametrize("wire_type", ["order.cancel-requested.v1", "return.requested.v1"])
def test_free_text_never_vetoes_a_command(
    order: dict[str, Any], wire_type: str, reason: Any, shown: str
) -> None:
    asked = {"order_no": order["order_no"], "platform": order["platform"], "reason": reason}
    found = one(json.dumps(asked).encode(), (("ce_type", wire_type.encode()),))
    assert isinstance(found, CancelRequested | ReturnRequested)
    assert (found.order_no, found.reason) == (order["order_no"], shown)


BESIDE = {
    "not UTF-8": (b'"reason": "\xcc\xab\xd0\xa1\xc1\xcb"', "4 characters"),
    "a bare line break": (b'"reason": "Zu klein.\nBitte\tstornieren"', "26 characters"),
    "NaN": (b'"reason": NaN', "not a text"),
    "a number too long": (b'"reason": ' + b"9" * 5000, "not a text"),
    "a name twice in it": (b'"reason": {"a": 1, "a": 2}', "not a text"),
    "said twice": (b'"reason": "a", "reason": "bc"', "2 characters"),
    "10 KB": (b'"reason": "' + "太小了".encode() * 3400 + b'"', "10200 characters"),
    "blanks around a word": (b'"reason": " out_of_stock\n"', "out_of_stock"),
    "a note that nobody reads": (
        b'"reason": "operator", "note": "\xff\\ud800", "sum": -Infinity',
        "operator",
    ),
    "a deep note": (b'"reason": "operator", "note": ' + b"[" * 30 + b"]" * 30, "operator"),
}


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("wire_type", ["order.cancel-requested.v1", "return.requested.v1"])
def test_nothing_beside_the_order_it_names_vetoes_a_command(wire_type: str, beside: str) -> None:
    text, shown = BESIDE[beside]
    asked = (
        b'{"order_no": "N-1", "platform": {"code": "1105910159", "name": "\xff"}, ' + text + b"}"
    )
    found = one(asked, (("ce_type", wire_type.encode()),))
    assert isinstance(found, CancelRequested | ReturnRequested)
    assert (found.order_no, found.platform_code, found.reason) == ("N-1", "1105910159", shown)


@pytest.mark.parametrize(
    "asked",
    [
        b'{"order_no": "N-\xff", "platform": {"code": "1105910159"}}',
        b'{"order_no": "N-\n1", "platform": {"code": "1105910159"}}',
        b'{"order_no": "N-1", "order_no": "N-2", "platform": {"code": "1105910159"}}',
        b'{"order_no": "N-1", "platform": {"code": "1105910159", "code": "46016602EV"}}',
        b'{"order_no": "N-1", "platform": {"code": "1105910159"}, "platform": {"code": "46016602EV"}}',
        b'{"order_no": NaN, "platform": {"code": "1105910159"}}',
        b'{"order_no": "N-1", "platform": {"code": "1105910159"}, "lines": [{"line_no": NaN}]}',
    ],
)
def test_a_command_whose_order_or_lines_are_not_clear_is_unprocessable(asked: bytes) -> None:
    with pytest.raises(Unprocessable):
        one(asked, (("ce_type", b"return.requested.v1"),))


def test_another_type_is_unprocessable(order: dict[str, Any]) -> None:
    with pytest.raises(Unprocessable) as refused:
        one(json.dumps(order).encode(), (("ce_type", b"order.placed.v1"),))
    assert refused.value.reason == "unknown_shape"


# --- CEB311

HEAD = {
    "guid": "11111111-2222-3333-4444-555555555555",
    "appType": "1",
    "appTime": "20261123090000",
    "appStatus": "2",
    "orderType": "I",
    "orderNo": "XML-1",
    "ebpCode": "1105910159",
    "ebpName": "Example Platform",
    "ebcCode": "46016602EV",
    "ebcName": "Example Ltd",
    "goodsValue": "172.00000",
    "freight": "20",
    "discount": "0",
    "taxTotal": "12.1",
    "acturalPaid": "204.1",
    "currency": "142",
    "buyerRegNo": "u1",
    "buyerName": "王小明",
    "buyerTelephone": "10012345678",
    "buyerIdType": "1",
    "buyerIdNumber": "",
    "payCode": "4403180001",
    "payTransactionId": "tok_ok",
    "consignee": "王小明",
    "consigneeTelephone": "10012345678",
    "consigneeAddress": "样本路1号",
}
LINE = {
    "gnum": "1",
    "itemNo": "CHERRY-US-1KG",
    "itemName": "Sweet cherries",
    "gmodel": "fresh",
    "unit": "035",
    "qty": "2",
    "price": "86",
    "itemDescribe": "the best; HS:0809290000;NET:2.000 ;BRAND:None;CONTENT:50 ml",
    "totalPrice": "172",
    "currency": "142",
    "country": "502",
}


def fields(values: dict[str, str]) -> str:
    return "".join(f"<{name}>{value}</{name}>" for name, value in values.items() if value)


def message(*orders: tuple[dict[str, str], dict[str, str]], before: str = "") -> bytes:
    identity = submission("cherries", 1, seed=1)["buyer"]["id_number"]
    body = "".join(
        f"<Order><OrderHead>{fields({'buyerIdNumber': identity, **{k: v for k, v in h.items() if v}})}</OrderHead>"
        f"<OrderList>{fields(line)}</OrderList></Order>"
        for h, line in orders
    )
    return f'{before}<CEB311Message xmlns="{CEB}" guid="x" version="1.0">{body}</CEB311Message>'.encode()


def test_a_ceb311_message_is_a_submission() -> None:
    found = one(message((HEAD, LINE)))
    assert isinstance(found, Submitted)
    assert faults(found) == ()
    s, line = found.submission, found.submission.lines[0]
    assert (s.direction, s.mode, s.currency, s.placed_at.isoformat()) == (
        "import",
        "9610",
        "CNY",
        "2026-11-23T09:00:00+08:00",
    )
    assert (line.hs_code, line.unit, line.origin, str(line.net_weight_kg), line.brand) == (
        "0809290000",
        "kg",
        "US",
        "2.000",
        "None",
    )
    assert line.net_content is not None
    assert (str(line.net_content.value), line.net_content.unit) == ("50", "ml")
    assert s.payment.payer.id_number == s.buyer.id_number


def test_a_number_names_one_order_in_xml_and_in_json_however_its_letters_are_composed(
    order: dict[str, Any],
) -> None:
    for number in ("Caf\u00e9-1", "Cafe\u0301-1"):
        xml, plain = (
            one(message(({**HEAD, "orderNo": number}, LINE))),
            one(json.dumps({**order, "order_no": number}).encode()),
        )
        deleted = one(message(({**HEAD, "appType": "3", "orderNo": number}, LINE)))
        assert {xml.order_no, plain.order_no, deleted.order_no} == {"Caf\u00e9-1"}
        assert xml.order_id == plain.order_id == deleted.order_id


BLANKS = ("", " ", "\t", "\n", "\u00a0", "\u3000", "\u2009 ")


@pytest.mark.parametrize("before", BLANKS)
@pytest.mark.parametrize("after", BLANKS)
def test_blanks_around_a_text_are_no_part_of_it_in_xml_and_in_json(
    order: dict[str, Any], before: str, after: str
) -> None:
    """One order number is one order, and the same order again is the same."""
    texts = {"orderNo": "N-1", "ebpCode": HEAD["ebpCode"], "payTransactionId": "tok_ok"}
    xml = one(
        message(({**HEAD, **{name: before + text + after for name, text in texts.items()}}, LINE))
    )
    spaced = json.loads(json.dumps(order))
    for place, name in ((spaced, "order_no"), (spaced["platform"], "code"), (spaced["buyer"], "id_number"),
                        (spaced["payment"], "token"), (spaced["consignee"], "phone"), (spaced["lines"][0], "sku"),
                        (spaced["merchant"], "name"), (spaced, "freight"), (spaced, "currency"), (spaced, "placed_at")):  # fmt: skip
        place[name] = before + place[name] + after
    spaced["order_no"] = f"{before}N-1{after}"
    plain, cancelled = (
        one(json.dumps({**order, "order_no": "N-1"}).encode()),
        one(
            json.dumps({"order_no": spaced["order_no"], "platform": spaced["platform"]}).encode(),
            (("ce_type", b"order.cancel-requested.v1"),),
        ),
    )
    found = one(json.dumps(spaced).encode())
    assert isinstance(found, Submitted)
    assert isinstance(plain, Submitted)
    assert isinstance(xml, Submitted)
    assert faults(found) == faults(xml) == ()
    assert found.submission == plain.submission
    assert (found.order_no, xml.order_no, cancelled.order_no) == ("N-1", "N-1", "N-1")
    # Same platform, so same id, in whichever form it came.
    assert plain.order_id == found.order_id == cancelled.order_id
    other = one(message(({**HEAD, "orderNo": "N-1"}, LINE)))
    assert xml.order_id == other.order_id


@pytest.mark.parametrize("c", ["\u200b", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u200f", "\ue000",
                               "\ufe0f", "\u034f", "\u2800", "\u3164", "\U000e0100"])  # fmt: skip
def test_a_number_with_a_character_that_nobody_sees_is_refused_by_name_in_xml_and_in_json(
    order: dict[str, Any], c: str
) -> None:
    for value in (
        json.dumps({**order, "order_no": f"A{c}1"}).encode(),
        message(({**HEAD, "orderNo": f"A{c}1"}, LINE)),
        json.dumps({**order, "order_no": f"A1{c}"}).encode(),
        message(({**HEAD, "appType": "3", "orderNo": f"A1{c}"}, LINE)),
    ):
        with pytest.raises(
            Unprocessable,
            match=f"order_no: send it without .* found U\\+{ord(c):04X} at character [23]$",
        ):
            one(value)


@pytest.mark.parametrize("number", ["\uff21-1", "A-\uff11", "\u2163-1", "\u2460", "\ufb01-1"])
def test_a_number_that_could_be_written_plainer_is_refused_by_name_in_xml_and_in_json(
    order: dict[str, Any], number: str
) -> None:
    for value in (
        json.dumps({**order, "order_no": number}).encode(),
        message(({**HEAD, "orderNo": number}, LINE)),
    ):
        assert [(f.field, f.rule) for f in faults(one(value))] == [("order_no", "is_one_spelling")]


@pytest.mark.parametrize(
    ("path", "number", "rule"),
    [
        (("buyer", "id_number"), "E\uff11234567", "is_one_spelling"),
        (("payment", "payer", "id_number"), "E1234567\u200b", "is_seen"),
        (("payment", "token"), "tok\u200b_ok", "is_seen"),
        (("lines", 0, "sku"), "\uff33KU", "is_one_spelling"),
    ],
)
def test_no_number_of_a_person_or_of_goods_has_two_spellings(
    path: tuple[str | int, ...], number: str, rule: str
) -> None:
    order = submission("garments_de", 1, seed=1)
    place: Any = order
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = number
    assert rule in [f.rule for f in faults(one(json.dumps(order).encode()))]


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
@pytest.mark.parametrize("form", ["json", "xml", "cancel"])
def test_another_encoding_is_named(order: dict[str, Any], encoding: str, form: str) -> None:
    text = message((HEAD, LINE)).decode() if form == "xml" else json.dumps(order)
    headers = (("ce_type", b"order.cancel-requested.v1"),) if form == "cancel" else ()
    with pytest.raises(Unprocessable, match=f"send UTF-8: the value is {encoding[:6].upper()}"):
        one(text.encode(encoding), headers)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            {"specversion": "1.0", "type": "order.submitted.v1", "data": {"order_no": "1"}},
            "send what stands in data as the value",
        ),
        (
            {"schema": {"type": "struct"}, "payload": {"order_no": "1"}},
            "send what stands in payload as the value",
        ),
        ([{"order_no": "1"}], "found a list, send each of its orders as a record of its own"),
        (json.dumps({"order_no": "1"}), "found a text, send the object without quotes around it"),
        (
            {"order_no": 7, "platform": {"code": "1105910159"}},
            "order_no must be a text of 1 to 200 characters.*: found a number, 7",
        ),
    ],
)
def test_what_stands_around_or_instead_of_an_order_is_named(value: Any, said: str) -> None:
    with pytest.raises(Unprocessable, match=said):
        one(json.dumps(value).encode())


@pytest.mark.parametrize(
    ("time", "read"),
    [
        ("2026-11-23T09:00:00.123+08:00", "2026-11-23T09:00:00.123000+08:00"),
        ("2026-11-23T09:00:00.1234567+08:00", "2026-11-23T09:00:00.123456+08:00"),
        ("2026-11-23T01:00:00.123456789Z", "2026-11-23T01:00:00.123456+00:00"),
        ("2026-11-23t01:00:00." + "9" * 60 + "z", "2026-11-23T01:00:00.999999+00:00"),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.999999+00:00"),
        ("2017-01-01T07:59:60.5+08:00", "2016-12-31T23:59:59.999999+00:00"),
        ("2026-11-23 09:00:00-00:30", "2026-11-23T09:00:00-00:30"),
    ],
)
def test_rfc_3339_has_any_number_of_fraction_digits(
    order: dict[str, Any], time: str, read: str
) -> None:
    found = one(json.dumps({**order, "placed_at": time}).encode())
    assert isinstance(found, Submitted)
    assert faults(found) == ()
    assert found.submission.placed_at.isoformat() == read


@pytest.mark.parametrize(
    "time",
    ["2026-11-23T09:00:60Z", "2026-11-23T09:00:00.Z", "2026-11-23T09:00:00,5Z", "2026-02-30T09:00:00Z", "0000-01-01T00:00:00Z",
     "2026-11-23T24:00:00Z", "2026-11-23T09:00:00+24:00", "2026-11-23T09:00:00+08:60", "2026-11-23T09:00:00", "20261123T090000Z",
     "9999-12-31T23:59:60-12:00", "0001-01-01T07:59:60+08:00", "0001-01-01T00:00:60+23:59"],
)  # fmt: skip
def test_a_time_that_is_none_is_refused_by_name(order: dict[str, Any], time: str) -> None:
    found = faults(one(json.dumps({**order, "placed_at": time}).encode()))
    assert [(f.field, f.rule) for f in found] == [("placed_at", "is_time")]


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_a_time_at_the_end_of_the_calendar_is_refused_like_any_other(
    order: dict[str, Any], time: str
) -> None:
    found = faults(one(json.dumps({**order, "placed_at": time}).encode()))
    assert [f.field for f in found] == ["placed_at"]


def test_there_is_one_zero(order: dict[str, Any]) -> None:
    plain, signed = (
        one(json.dumps({**order, "discount": zero}).encode()) for zero in ("0.00", "-0.00")
    )
    assert isinstance(plain, Submitted)
    assert isinstance(signed, Submitted)
    assert faults(signed) == ()
    assert str(signed.submission.discount) == "0.00"
    assert fingerprint(plain, str) == fingerprint(signed, str)


def test_a_hundred_orders_are_a_hundred_submissions_and_more_are_refused() -> None:
    orders = [({**HEAD, "orderNo": f"XML-{n}"}, LINE) for n in range(101)]
    found = read_submission(message(*orders[:100]), ())
    assert len({f.order_id for f in found}) == 100
    with pytest.raises(Unprocessable):
        read_submission(message(*orders), ())


UNNAMED: Final = {
    "no number": {**HEAD, "orderNo": ""},
    "a hidden character": {**HEAD, "orderNo": "XML-1\u200b"},
    "no platform": {**HEAD, "ebpCode": ""},
    "an element twice": {**HEAD, "note": "</note><note>"},
    "an element in a text": {**HEAD, "note": "<b>x</b>"},
    "deleted and not named": {**HEAD, "appType": "3", "orderNo": "\u3164\u2800"},
}


@pytest.mark.parametrize("place", [1, 50, 100])
@pytest.mark.parametrize("kind", UNNAMED)
def test_an_order_of_a_ceb311_message_that_cannot_be_read_costs_itself_only(
    kind: str, place: int
) -> None:
    good = [({**HEAD, "orderNo": f"XML-{n}"}, LINE) for n in range(1, 101)]
    mixed = [*good[: place - 1], (UNNAMED[kind], LINE), *good[place:]]
    found, all_good = (
        decode(Record("s", 0, 0, NOW_MS, b"k", message(*each), ())) for each in (mixed, good)
    )
    assert isinstance(found, PartlyReadable)
    ((entry, refused),) = found.unreadable
    assert (entry, refused.reason in ("invalid_value", "unknown_shape")) == (place, True)
    assert [(m.order_id, m.entry) for m in found] == [
        (m.order_id, m.entry) for m in all_good if m.entry != place
    ]
    assert len({m.event_id for m in found}) == 99
    with pytest.raises(Unprocessable, match=re.escape(str(refused))):
        decode(Record("s", 0, 0, NOW_MS, b"k", with_only_order(message(*mixed), place), ()))


def test_an_order_set_aside_alone_is_the_order() -> None:
    orders = [({**HEAD, "orderNo": f"XML-{n}"}, LINE) for n in range(3)]
    (found,) = read_submission(with_only_order(b"\xef\xbb\xbf" + message(*orders), 2), ())
    assert (found.order_no, faults(found)) == ("XML-1", ())


def test_a_message_with_nothing_that_can_be_read_is_one_dead_letter() -> None:
    with pytest.raises(Unprocessable, match="order_no"):
        decode(Record("s", 0, 0, NOW_MS, b"k", message((UNNAMED["no number"], LINE)), ()))
    with pytest.raises(Unprocessable, match="order_no"):
        read_submission(message((HEAD, LINE), (UNNAMED["no number"], LINE)), ())


def test_what_a_ceb311_message_leaves_out_or_cannot_say_is_listed() -> None:
    head = {**HEAD, "payCode": "", "payTransactionId": "", "appStatus": "1", "currency": "502"}
    found = faults(
        one(
            message(
                (head, {**LINE, "itemDescribe": "", "unit": "999", "country": "998", "qty": "+2"})
            )
        )
    )
    assert {(f.field, f.rule, f.found) for f in found} == {
        ("mode", "is_declared", "1"),
        ("currency", "currency_of_import", "USD"),
        ("payment.enterprise_code", "required", "nothing"),
        ("payment.token", "required", "nothing"),
        ("lines[0].hs_code", "required", "nothing"),
        ("lines[0].net_weight_kg", "required", "nothing"),
        ("lines[0].unit", "is_unit", "999"),
        ("lines[0].origin", "is_country", "998"),
        ("lines[0].quantity", "is_decimal", "+2"),
    }


def test_an_order_deleted_is_a_cancellation() -> None:
    assert isinstance(one(message(({**HEAD, "appType": "3"}, LINE))), CancelRequested)


BOMB = '<!DOCTYPE b [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;">]>'
XXE = '<!DOCTYPE b [<!ENTITY c SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(
    "value",
    [
        message(({**HEAD, "ebpName": "&c;"}, LINE), before=BOMB),
        message(({**HEAD, "ebpName": "&c;"}, LINE), before=XXE),
        message((HEAD, LINE), before='<!DOCTYPE b SYSTEM "http://localhost/x.dtd">'),
        message(({**HEAD, "ebpName": "&c;"}, LINE)),
        message((HEAD, LINE))[:-5],
        message((HEAD, LINE)).replace(CEB.encode(), b"urn:other"),
        message((HEAD, LINE)).replace(b"CEB311Message", b"CEB303Message"),
        message(),
        message(({**HEAD, "orderNo": ""}, LINE)),
        message((HEAD, LINE), ({**HEAD, "ebpCode": ""}, LINE)),
        message((HEAD, LINE)).replace(b"<freight>", b"<freight>1</freight><freight>"),
        message(({**HEAD, "note": "x" * 1024 * 1024}, LINE)),
        b"<" * 100_000,
        b"<a>" * 10_000,
        '<?xml version="1.0" encoding="utf-16"?><a/>'.encode("utf-16"),
        b'<?xml version="1.0" encoding="gb2312"?><a/>',
    ],
    ids=range(16),
)
def test_hostile_or_unreadable_xml_is_unprocessable(value: bytes) -> None:
    with pytest.raises(Unprocessable) as refused:
        read_submission(value, ())
    assert "root:" not in str(refused.value)


# --- whatever comes


def survives(value: bytes, headers: Any = ()) -> None:
    try:
        found = read_submission(value, headers)
    except Unprocessable as refused:
        str(refused).encode()
        return
    for each in found:
        if isinstance(each, Submitted):
            validate(each, NOW)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["1", "-0", "CNY", "CN", "2026-01-01T00:00:00Z"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.binary(max_size=200), st.sampled_from([b"", b"<", b"{", b'{"order_no":']))
def test_no_bytes_crash_the_reader(value: bytes, before: bytes) -> None:
    survives(before + value)


@settings(max_examples=300)
@given(st.data())
def test_no_value_anywhere_crashes_reader_or_rules(data: st.DataObject) -> None:
    document: Any = submission("basket", 3, seed=2)
    for _ in range(data.draw(st.integers(1, 4))):
        place, steps = document, 0
        while isinstance(place, dict | list) and place and steps < 4:
            keys: list[Any] = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = data.draw(st.sampled_from(keys))
            if data.draw(st.booleans()) or not isinstance(place[key], dict | list):
                place[key] = data.draw(JSON)
                break
            place, steps = place[key], steps + 1
    survives(json.dumps(document).encode())


@settings(max_examples=200)
@given(
    st.dictionaries(st.sampled_from([*HEAD]), st.text(max_size=12), max_size=4),
    st.dictionaries(st.sampled_from([*LINE]), st.text(max_size=12)),
)
def test_no_xml_value_crashes_reader_or_rules(head: dict[str, str], line: dict[str, str]) -> None:
    survives(message(({**HEAD, **head}, {**LINE, **line})))
