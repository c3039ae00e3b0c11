"""Who wrote a record: a bound party's signature, and nobody else's."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import SecretStr

from deploy import secrets
from deploy.samples import submission
from services.cli.connect import RunningStack
from services.customs import waybill
from services.orders import handlers
from services.orders.intake.decoding import read_submission
from shared import topics
from shared.access import Operation, grants
from shared.decoding import PartlyReadable
from shared.envelope import Record
from shared.errors import Misconfigured, Unprocessable
from shared.handler import Handler
from shared.parties import (
    SIGNATURE_HEADER,
    SIGNATURES_MAX,
    Parties,
    key_of,
    once,
    sign,
    signed_headers,
)
from shared.settings import Settings
from tests.unit.orders.test_reading import HEAD, LINE, message

MINE, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
CANCEL = b"order.cancel-requested.v1"
VALUE = b'{"platform": {"code": "1105910159"}}'


class Rows:
    """A database with these keys."""

    def __init__(self, *rows: tuple[str, Ed25519PrivateKey, bool]) -> None:
        self._rows = [
            {"code": c, "public_key": key.public_key().public_bytes_raw(), "valid": valid}
            for c, key, valid in rows
        ]

    async def fetch(self, _sql: str) -> list[Any]:
        return self._rows


async def parties(*rows: tuple[str, Ed25519PrivateKey, bool], all_bound: bool = False) -> Parties:
    made = Parties(all_bound=all_bound)
    await made.load(Rows(*rows))
    return made


def record(*headers: tuple[str, bytes], value: bytes = VALUE, kind: bytes = CANCEL) -> Record:
    return Record("orders.submissions", 0, 0, 0, None, value, (("ce_type", kind), *headers))


async def test_only_the_key_of_the_party_signs_for_it() -> None:
    known = await parties(("A", MINE, True), ("B", OTHER, True))
    assert known.require(record(sign(MINE, CANCEL, VALUE)), {"A"})
    assert not known.require(record(), {"C"}), (
        "nobody signed, so nothing is bound to what was signed"
    )
    with pytest.raises(Unprocessable, match="sign the record with the key of A"):
        known.require(record(sign(OTHER, CANCEL, VALUE)), {"A"})
    with pytest.raises(Unprocessable, match="sign the record with the key of B"):
        known.require(record(sign(MINE, CANCEL, VALUE)), {"A", "B"})
    known.require(record(sign(MINE, CANCEL, VALUE), sign(OTHER, CANCEL, VALUE)), {"A", "B"})


@pytest.mark.parametrize("found", [
    record(), record(sign(MINE, b"return.requested.v1", VALUE)), record(sign(MINE, CANCEL, VALUE), value=VALUE + b" "),
    record(sign(MINE, CANCEL, VALUE), kind=b"return.requested.v1"), record((SIGNATURE_HEADER, b"")),
    record((SIGNATURE_HEADER, b"not base64!")), record((SIGNATURE_HEADER, base64.b64encode(b"x" * 64))),
    record((SIGNATURE_HEADER, base64.b64encode(b"short"))), record((SIGNATURE_HEADER, "é".encode())),
    record(*[(SIGNATURE_HEADER, b"AAAA")] * SIGNATURES_MAX, sign(MINE, CANCEL, VALUE)),
])  # fmt: skip
async def test_a_signature_of_something_else_is_none(found: Record) -> None:
    known = await parties(("A", MINE, True))
    with pytest.raises(Unprocessable) as refused:
        known.require(found, {"A"})
    assert refused.value.reason == "signature"


async def test_a_party_changes_keys_without_a_pause_and_is_never_unbound() -> None:
    both = await parties(("A", MINE, True), ("A", OTHER, True))
    for key in (MINE, OTHER):
        both.require(record(sign(key, CANCEL, VALUE)), {"A"})
    changed = await parties(("A", MINE, False), ("A", OTHER, True))
    changed.require(record(sign(OTHER, CANCEL, VALUE)), {"A"})
    with pytest.raises(Unprocessable):
        changed.require(record(sign(MINE, CANCEL, VALUE)), {"A"})
    gone = await parties(("A", MINE, False))
    with pytest.raises(Unprocessable, match="give A a key"):
        gone.require(record(sign(MINE, CANCEL, VALUE)), {"A"})


@pytest.mark.parametrize(("protocol", "more", "said", "all_bound"), [
    ("PLAINTEXT", {}, None, False), ("PLAINTEXT", {}, "all", True), ("SSL", {}, None, False),
    ("SSL", {"kafka_certificate": "client.crt", "kafka_key": "client.key"}, None, True),
    ("SASL_PLAINTEXT", {}, None, True), ("SASL_SSL", {}, None, True), ("SASL_SSL", {}, "registered", False),
])  # fmt: skip
def test_every_party_is_bound_where_the_broker_tells_its_users_apart(
    protocol: str, more: dict[str, str], said: str | None, all_bound: bool
) -> None:
    login = {"kafka_user": "orders", "kafka_password": "x"} if protocol.startswith("SASL") else {}
    bound = {"parties_bound": said} if said else {}
    given = {"kafka_security_protocol": protocol, **login, **more, **bound}
    assert Settings.model_validate(given).all_parties_bound is all_bound


def test_the_key_that_make_secrets_makes_signs_and_shows_in_no_text(tmp_path: Path) -> None:
    secrets.make(tmp_path)
    settings = Settings(party_key_file=tmp_path / "party_shops")
    assert settings.party_pem
    key = key_of(settings.party_pem)
    headers = (("ce_type", CANCEL),)
    (*_, (name, signature)) = signed_headers(key, headers, VALUE)
    assert name == SIGNATURE_HEADER
    key.public_key().verify(base64.b64decode(signature), CANCEL + b"\n" + VALUE)
    assert signed_headers(key, ((SIGNATURE_HEADER, b"mine"), *headers), VALUE) == (
        (SIGNATURE_HEADER, b"mine"),
        *headers,
    )
    assert signed_headers(None, headers, VALUE) == headers
    inner = settings.party_pem.splitlines()[1].decode()
    for shown in (
        Settings(party_key=SecretStr(settings.party_pem.decode())),
        RunningStack("", "", "", tmp_path, party_pem=settings.party_pem),
    ):
        assert inner not in repr(shown)
    with pytest.raises(Misconfigured, match="CROSSBORDER_PARTY_KEY_FILE") as refused:
        key_of(b"-----BEGIN PRIVATE KEY-----\nsecret")
    assert "secret" not in str(refused.value)


def test_a_shop_writes_orders_and_a_carrier_waybills_and_neither_anything_else() -> None:
    written = {
        who: {g.name for g in grants() if g.principal == who and g.operation == Operation.WRITE}
        for who in ("shops", topics.CARRIERS, topics.PROBER)
    }
    assert written == {
        "shops": {topics.SUBMISSIONS}, topics.CARRIERS: {topics.WAYBILLS}, topics.PROBER: {topics.SUBMISSIONS},
    }  # fmt: skip


async def test_a_signed_record_says_the_same_on_no_other_topic() -> None:
    """One key for a platform and a carrier: what was signed for one topic is nothing on the other."""
    order = submission("cherries", 1, seed=7)
    value = json.dumps(
        order
        | {
            "logistics_code": "A",
            "logistics_name": "A",
            "logistics_no": "1",
            "gross_weight_kg": "1",
        }
    ).encode()
    for kind in (b"order.submitted.v1", CANCEL, b"return.requested.v1"):
        sent = record(sign(MINE, kind, value), value=value, kind=kind)
        assert waybill.decode(replace(sent, topic="logistics.waybills")) == ()
    issued = record(sign(MINE, b"waybill.issued.v1", value), value=value, kind=b"waybill.issued.v1")
    with pytest.raises(Unprocessable, match="ce_type must be"):
        read_submission(issued.value, issued.headers)


async def test_where_all_are_bound_a_stranger_says_nothing() -> None:
    known = await parties(("A", MINE, True), all_bound=True)
    with pytest.raises(Unprocessable, match="give C a key"):
        known.require(record(), {"C"})
    known.require(record(), set())


async def test_an_entry_that_cannot_be_read_is_not_lost_for_a_signature_and_moves_no_id() -> None:
    heads = [{**HEAD, "appType": "3", "orderNo": f"XML-{n}"} for n in range(1, 4)]
    heads[1]["orderNo"] = "XML-\u200b2"
    handler = Handler("orders", topics.ORDERS, handlers.SUBSCRIPTIONS, None, None, sealing=None)
    await handler.parties.load(Rows(("1105910159", MINE, True)))
    value = message(*((head, LINE) for head in heads))
    found = handler.decode(record(sign(MINE, b"", value), value=value, kind=b""))
    assert isinstance(found, PartlyReadable)
    assert [(entry, why.reason) for entry, why in found.unreadable] == [(2, "invalid_value")]
    assert [(m.event.order_no, m.once) for m in found] == [("XML-1", True), ("XML-3", True)]
    all_read = [m._replace(entry=n) for n, m in enumerate([found[0], found[0], found[1]], 1)]
    ids = [m.event_id for m in once(record(value=value), all_read, for_good=True)]
    assert [
        m.event_id for m in once(record(value=value), [all_read[0], all_read[2]], for_good=True)
    ] == [ids[0], ids[2]]
