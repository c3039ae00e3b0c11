"""No message is larger than it may be as sent, whatever its documents: lists, cancellations, returns, summary requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.customs import policy_file
from services.customs.ceb import build
from services.customs.ceb.sign import Signer, ensure_keys
from services.customs.domain.declaration import Declaration
from services.customs.gateway import Authority, PrintedRequest
from shared import topics
from shared.envelope import Outgoing
from shared.errors import Misconfigured
from shared.outbox import fits
from shared.xml import XML_BYTES_MAX
from tests.contract.ceb.samples import (
    GUID,
    cancellation,
    export_list,
    import_list,
    line,
    return_request,
)
from tests.unit.customs.documents import ORDER_ID

BYTES_MAX = 48 * 1024
DOCUMENTS: dict[str, Any] = {
    "CEB621Message": lambda n: import_list(
        n, lines=tuple(line(k, name="车" * (n % 250 + 1)) for k in range(1, n % 99 + 2))
    ),
    "CEB603Message": export_list,
    "CEB623Message": lambda n: cancellation(reason="因&<>\r" * (n % 200 + 1)),
    "CEB605Message": lambda n: cancellation(reason="x" * (n % 1000 + 1)),
    "CEB625Message": lambda n: return_request(reason="因" * (n % 1000 + 1)),
}


@lru_cache(maxsize=1)
def signer() -> Signer:
    keys = Path(mkdtemp())
    ensure_keys(keys)
    return Signer.from_dir(keys)


def authority(**changed: Any) -> Authority:
    found = policy_file.load()
    return Authority(replace(found, batching=replace(found.batching, **changed)), signer())


@given(
    st.sampled_from(sorted(DOCUMENTS)), st.lists(st.integers(0, 20_000), min_size=1, max_size=60)
)
@settings(max_examples=60, deadline=None)
def test_every_document_is_in_one_message_and_no_message_is_too_large(
    name: str, numbers: Sequence[int]
) -> None:
    port = authority(bytes_max=BYTES_MAX)
    found = [PrintedRequest(Declaration(ORDER_ID), xml, 1) for n in numbers
             if len(xml := build.write_document(name, DOCUMENTS[name](n))) <= port.room(name)]  # fmt: skip
    parts = list(port.messages(name, found))
    assert [each for part in parts for each in part] == found
    for part in parts:
        sent = port.compose(name, GUID, [each.xml for each in part])
        assert len(sent) <= BYTES_MAX
        assert len(part) <= port.policy.batching.lists_max
    for first, second in pairwise(parts):
        size = sum(len(each.xml) for each in (*first, second[0]))
        assert size > port.room(name) or len(first) == port.policy.batching.lists_max, (
            "no message is closed early"
        )


def test_the_largest_message_is_one_that_its_topic_takes() -> None:
    assert policy_file.load().batching.bytes_max <= XML_BYTES_MAX
    assert fits(
        Outgoing(
            topics.DECLARATIONS, GUID.encode(), b"x" * XML_BYTES_MAX, (("ce_id", b"x" * 1000),)
        )
    )


def test_a_summary_request_names_as_many_lists_as_its_message_has_room_for() -> None:
    port = authority(bytes_max=BYTES_MAX)
    numbers = [f"22442026E{n:011d}" for n in range(3000)]
    bad, most = port.summary_lists("S1", [*numbers, "2" * 21])
    assert bad == ["2" * 21]
    assert 300 < most < 1000
    at = import_list().app_time
    merchant = replace(port.policy.declarant.company, name="公" * 100)
    _, xml = port.summary_request("S1", at, "2244", merchant, numbers[:most], (1, 7))
    assert len(xml) <= BYTES_MAX
    assert authority().summary_lists("S1", numbers)[1] >= port.policy.summaries.lists_max


def test_a_declarant_no_message_can_be_sent_by_is_told_at_once_and_not_looked_for_for_ever() -> (
    None
):
    found = policy_file.load()
    wrong = replace(found, declarant=replace(found.declarant, dxp_id="DXPENT" + "0" * 25))
    with pytest.raises(Misconfigured, match="dxp_id"):
        Authority(wrong, signer()).room("CEB621Message")
