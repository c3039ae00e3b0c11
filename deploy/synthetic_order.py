"""Synthetic orders: valid submissions of persons who do not exist, for every partition in turn.

They have a platform, a merchant and buyers of their own. So they collide with no shop's numbers,
use no person's quota, and are left out of the sales (their corridor is `probe`).
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from aiokafka.partitioner import DefaultPartitioner

from deploy.samples.generate import resident_id, submission
from shared.identity import order_id_of

SUBMITTED: Final = "order.submitted.v1"


NOBODY: Final = ("999999",)
"""An area code that no resident identity number has: the buyers are visibly nobody."""


SAMPLES: Final = ("cherries", "phone_ru")
"""In turn: an import, which also passes tax and quota, and an export."""


ORDERS_A_PERSON: Final = 60
"""Orders of one invented buyer: half are small imports, far below a person's yearly limit."""


TRIES: Final = 2000


@dataclass(slots=True)
class SyntheticOrder:
    """One synthetic order under way."""

    order_no: str
    order_id: UUID
    partition: int
    direction: str
    trace_id: str
    published: float = field(default_factory=time.monotonic)
    outcome: str | None = None
    took_s: float = 0.0


def make_submission(
    platform: str, at: datetime, partitions: int, number: int, every_s: float = 60.0
) -> tuple[dict[str, Any], UUID, int]:
    """Return the submission of the number-th order, its id, and the partition of its events.

    The order number is drawn until the events fall into the partition whose turn it is.
    """
    wanted, choose, everywhere = number % partitions, DefaultPartitioner(), list(range(partitions))
    minute = int(at.timestamp()) // 60
    made = submission(
        SAMPLES[number % len(SAMPLES)], number % 1_000_000, seed=minute, prefix="PROBE", at=at
    )
    made["platform"] = {"code": platform, "name": "Synthetic orders"}
    made["merchant"] |= {"code": platform, "name": "Synthetic orders"}
    if made["direction"] == "import":
        id_number = resident_id(int(at.timestamp() // (ORDERS_A_PERSON * every_s)), NOBODY)
        made["buyer"]["id_number"] = made["payment"]["payer"]["id_number"] = id_number
    for _ in range(TRIES):
        order_no = f"PROBE-{at:%Y%m%dT%H%M%S}-{secrets.token_hex(6)}"
        order_id = order_id_of(platform, order_no)
        if choose(str(order_id).encode(), everywhere, everywhere) == wanted:
            break
    made["order_no"] = order_no
    return made, order_id, choose(str(order_id).encode(), everywhere, everywhere)
