"""What the logs write of a value is decided by its type: planted persons come through no door."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import structlog
from pydantic import BaseModel, SecretStr

from shared import logs
from shared.errors import Misconfigured, Unprocessable
from shared.money import Money
from shared.settings import Settings

NAME, ID_NUMBER, PHONE, SECRET = (
    "司马文君",
    "110101199003074557",
    "13812345678",
    "a5f0-not-to-be-seen",
)
PLANTED = (NAME, ID_NUMBER, PHONE, SECRET)


class Person(BaseModel):
    """A person in clear."""

    name: str
    id_number: str


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Gives the lines that were written since it was asked last; logging is as it was afterwards."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)

    def lines() -> str:
        text = stream.getvalue()
        stream.seek(0)
        stream.truncate()
        return text

    made: dict[str, Any] = {}
    # The root logger is pytest's; the library of the test gets what the root would.
    monkeypatch.setattr(logging, "basicConfig", lambda **given: made.update(given))
    logs.configure("test")
    library = logging.getLogger("aiokafka.something")
    library.handlers, library.propagate = made["handlers"], False
    library.setLevel(made["level"])
    yield lines
    library.handlers, library.propagate = [], True
    library.setLevel(logging.NOTSET)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.mark.parametrize("value", [
    Person(name=NAME, id_number=ID_NUMBER), {"buyer": NAME}, {NAME: 1}, NAME.encode(), [Person(name=NAME, id_number=ID_NUMBER)],
    ({"x": {"y": NAME}},), {Person: NAME}, SecretStr(SECRET), Settings(kafka_password=SecretStr(SECRET), postgres_password=SECRET),
    KeyError(NAME), ValueError(f"could not convert {NAME}"), f"{ID_NUMBER} asked", [f"call {PHONE}"],
])  # fmt: skip
def test_no_type_that_may_carry_a_person_or_a_secret_is_written_out(
    value: Any, written: Any
) -> None:
    log = structlog.get_logger("t")
    log.info("something", value=value)
    line = written()
    assert json.loads(line)["event"] == "something"
    assert not [word for word in PLANTED if word in line]
    assert NAME.encode("unicode_escape").decode() not in line


def test_what_is_harmless_is_written_as_it_is(written: Any) -> None:
    order = UUID(int=7)
    structlog.get_logger("t").info(
        "done", order_id=order, count=3, ok=True, share=0.5, rate=Decimal("0.13"), at=Path("a/b"), fields=["buyer.id_number", "x"],
        amount=Money(29551, "CNY"), error=Misconfigured("set CROSSBORDER_KAFKA right"), none=None,
    )  # fmt: skip
    found = json.loads(written())
    assert found["order_id"] == str(order)
    assert (found["count"], found["ok"], found["share"], found["rate"], found["at"]) == (
        3,
        True,
        0.5,
        "0.13",
        "a/b",
    )
    assert (found["fields"], found["none"]) == (["buyer.id_number", "x"], None)
    assert found["amount"] == str(Money(29551, "CNY"))
    assert found["error"] == "Misconfigured: set CROSSBORDER_KAFKA right"


def test_an_exception_is_told_by_its_place_and_type_and_never_by_what_it_quotes(
    written: Any,
) -> None:
    def fail() -> None:
        try:
            dict[str, int]()[NAME]
        except KeyError as error:
            raise ValueError(f"bad {ID_NUMBER} of {NAME}") from error

    try:
        fail()
    except ValueError:
        structlog.get_logger("t").exception("it failed")
    line = written()
    assert not [word for word in PLANTED if word in line]
    text = json.loads(line)["exception"]
    assert "in fail" in text
    assert text.count("KeyError") == 1
    assert "ValueError" in text
    try:
        raise Unprocessable("invalid_value", "the value is not an order")
    except Unprocessable:
        structlog.get_logger("t").exception("it failed")
    assert "the value is not an order" in json.loads(written())["exception"]


def test_a_pydantic_error_quotes_nothing(written: Any) -> None:
    try:
        Person.model_validate({"name": [NAME], "id_number": None})
    except ValueError:
        structlog.get_logger("t").exception("it failed")
    assert not [word for word in PLANTED if word in written()]


def test_libraries_lines_go_through_the_same_nets(written: Any) -> None:
    library = logging.getLogger("aiokafka.something")
    library.warning(
        "cannot read %s of %s", Person(name=NAME, id_number=ID_NUMBER), {"phone": PHONE}
    )
    library.warning(f"call {PHONE}, {ID_NUMBER}")
    library.warning("%d records, %.1f s", 3, 0.5)
    try:
        raise RuntimeError(NAME)
    except RuntimeError:
        library.exception("it failed")
    library.info("not written at all")
    text = written()
    assert not [word for word in PLANTED if word in text]
    assert "cannot read <Person> of <1 entries>" in text
    assert "3 records, 0.5 s" in text
    assert "RuntimeError" in text
    assert "not written" not in text
