"""Receipts as the authority might write them, and orders that wait for one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

from deploy.samples import submission
from shared import topics
from shared.envelope import Outgoing, headers_of
from tests.integration.test_reactions import SUBMITTED, shop_record
from tests.integration.world import World

CEB: Final = "http://www.chinaport.gov.cn/ceb"
AT: Final = datetime.now(UTC) - timedelta(hours=2)
TIME: Final = "20261123120000000"


async def placed(
    world: World, number: int = 1, *, sample: str = "cherries", marker: str = "silent"
) -> dict[str, Any]:
    """An order whose list is lodged, as customs' table has it; the authority is silent unless told otherwise."""
    made = submission(
        sample, number, seed=7, token="tok_ok", marker=marker, prefix="HEAR", at=AT, person=number
    )
    world.publish(topics.SUBMISSIONS, [shop_record(made["order_no"], made, SUBMITTED)])
    await world.settle_down()
    row = await world.admin.fetchrow(
        "SELECT d.* FROM customs.declaration d JOIN orders.orders o USING (order_id) WHERE o.order_no = $1",
        made["order_no"],
    )
    return {**dict(row), "order_no": made["order_no"], "submission": made}


async def declared(world: World, order_id: Any) -> dict[str, Any]:
    return dict(
        await world.admin.fetchrow(
            "SELECT * FROM customs.declaration WHERE order_id = $1", order_id
        )
    )


def row_of(cop_no: str, status: str, **more: str) -> dict[str, str]:
    """An entry of a receipt of a list."""
    told = {
        "guid": str(uuid4()).upper(),
        "customsCode": "2244",
        "copNo": cop_no,
        "preNo": "B20261123000000001",
    }
    return told | {"returnStatus": status, "returnTime": TIME, "returnInfo": "x"} | more


def receipt(message: str, entry: str, *rows: Mapping[str, str] | str) -> Outgoing:
    """A message of the authority on the wire; a row is fields, or the entry's inside as it is."""
    told = "".join(
        f"<{entry}>{row if isinstance(row, str) else ''.join(f'<{k}>{v}</{k}>' for k, v in row.items())}</{entry}>"
        for row in rows
    )
    xml = (
        f'<?xml version="1.0" encoding="UTF-8"?><{message}Message xmlns="{CEB}" guid="{str(uuid4()).upper()}" version="1.0">'
        f"{told}</{message}Message>"
    )
    headers = headers_of(
        event_id=uuid4(), event_type=f"{message}Message.v1", source="test", at=datetime.now(UTC)
    )
    return Outgoing(topics.RECEIPTS, b"k", xml.encode(), headers)


async def hear(world: World, *said: Outgoing) -> None:
    """Let customs hear these, and all others what follows."""
    world.publish(topics.RECEIPTS, said)
    await world.settle_down()
