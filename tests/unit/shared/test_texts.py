"""One encoding, one spelling of a number, and one judgement of what is the same name or address."""

from __future__ import annotations

import json
import timeit

import pytest

from shared.errors import Unprocessable
from shared.texts import address_forms, hidden_in, identifier, normal, other_spelling_in, utf8


@pytest.mark.parametrize(
    "before", [b"", b"\xef\xbb\xbf", b"\n \t", b"\xef\xbb\xbf\r\n", b" \xef\xbb\xbf\xef\xbb\xbf\n"]
)
def test_a_byte_order_mark_and_blanks_are_no_part_of_a_value(before: bytes) -> None:
    assert utf8(before + b'{"a": 1}') == b'{"a": 1}'
    assert utf8(before) == b""


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
def test_another_encoding_is_named(encoding: str) -> None:
    with pytest.raises(Unprocessable, match=f"the value is {encoding[:6].upper()}"):
        utf8('{"order_no": "1"}'.encode(encoding))


@pytest.mark.parametrize("value", ["中文", '"中"', "<中>", "{}", "1"])
def test_no_text_in_utf8_is_taken_for_another_encoding(value: str) -> None:
    assert utf8(value.encode()) == value.encode()
    assert utf8(json.dumps(value).encode()) == json.dumps(value).encode()


@pytest.mark.parametrize(
    "c",
    ["\ufe0f", "\u034f", "\u2800", "\u3164", "\u115f", "\u17b4", "\U000e0100", "\u200b", "\u00ad"],
)
def test_what_a_screen_shows_nothing_for_is_hidden(c: str) -> None:
    assert hidden_in(f"A{c}1") == f"U+{ord(c):04X} at character 2"


def test_a_number_has_one_spelling() -> None:
    assert identifier(" \u3000Cafe\u0301-1\n") == "Caf\u00e9-1"
    assert (hidden_in("A1"), hidden_in("A\u200b1"), hidden_in("中-1")) == (
        None,
        "U+200B at character 2",
        None,
    )
    assert (other_spelling_in("A1中"), other_spelling_in("A\uff11")) == (
        None,
        "U+FF11 at character 2",
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Jos\u00e9 N\u00fa\u00f1ez-\u2163", "Jose\u0301 Nu\u0301n\u0303ez-\u2163"),
        ("Jos\u00e9 N\u00fa\u00f1ez-\u2163", "JOS\u00c9  N\u00da\u00d1EZ-IV "),
        ("买买提\u00b7阿卜杜拉", "买买提\u2022阿卜杜拉"),
        ("买买提\u00b7阿卜杜拉", "买买提\u30fb阿卜杜拉"),
        ("买买提\u00b7阿卜杜拉", "买买提\uff65阿卜杜拉"),
        ("李雷", "李\u200b雷\ufeff"),
        ("葛雷", "葛\U000e0100\ufe0f\u034f雷\u2061\u3164"),
        ("Stra\u00dfe 5\uff0c2", "STRASSE 5,2"),
        ("\uff2c\uff29 \uff2c\uff25\uff29", "Li Lei"),
    ],
)
def test_what_two_people_write_of_one_name_is_alike(one: str, other: str) -> None:
    assert normal(one) == normal(other)


def test_another_letter_is_another_name() -> None:
    assert (
        len({normal(name) for name in ("Jos\u00e9", "Jose", "李雷", "李雷雷", "Li-Lei", "Li Lei")})
        == 6
    )


SAME = [
    (("Shanghai", "Shanghai", "Road 60"), ("Shanghai", "Shanghai", "Shanghai Shanghai Road 60")),
    (("Shanghai", "Shanghai", "Road 60"), (None, None, "Shanghai, Shanghai, Road 60")),
    (("Guangdong", "Shenzhen", "科技路1号"), (None, None, "Guangdong Shenzhen 科技路1号")),
    (("Guangdong", "Shenzhen", "科技路1号"), (None, "Shenzhen", "科技路1号")),
    (("广东省", "深圳市", "科技路1号"), (None, None, "广东省深圳市科技路1号")),
    (("广东", "深圳", "科技路1号"), (None, None, "广东省深圳市科技路1号")),
    (("广东", "深圳", "科技路1号"), ("广东省", "深圳市", "广东省深圳市 科技路1号")),
    (("上海市", "上海市", "样本路60号"), (None, None, "上海市样本路60号")),
    ((None, None, "广东省深圳市科技路1号"), ("广东", "深圳", "科技路1号")),
    (("Shanghai", "Shanghai", "Shanghai Road 5"), (None, None, "SHANGHAI ROAD 5")),
    ((None, None, "Main St\u200b 5"), (None, None, "Main St 5")),
    ((None, None, "Stra\u00dfe 5\uff0c2号楼"), ("Guangdong", "Guangzhou", "STRASSE 5,2号楼")),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SAME)
def test_an_address_is_the_same_with_region_and_city_before_the_street(
    one: tuple[str | None, str | None, str], other: tuple[str | None, str | None, str]
) -> None:
    assert set(address_forms(*one)) & set(address_forms(*other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("Shanghai", "Shanghai", "Road 60"), ("Shanghai", "Shanghai", "Road 6 0")),
        (("Shanghai", "Shanghai", "Road 12"), (None, None, "Road 1-2")),
        (
            ("Ile-de-France", "Paris", "Parisian Street 1"),
            ("Ile-de-France", "Paris", "ian Street 1"),
        ),
        (("Guangdong", "Shenzhen", "Road 1"), (None, None, "Guangdong Guangzhou Road 1")),
        (("Shanghai", "Shanghai", "Shanghai"), ("Beijing", "Beijing", "Beijing")),
    ],
)
def test_another_street_is_another_address(
    one: tuple[str, str, str], other: tuple[str, str, str]
) -> None:
    assert not set(address_forms(*one)) & set(address_forms(*other))


def test_an_address_costs_little() -> None:
    took = min(
        timeit.repeat(
            lambda: address_forms("Shanghai", "Shanghai", "样本路60号"), number=1000, repeat=5
        )
    )
    assert took < 0.1  # 100 microseconds each, on any machine
