"""The facts of one service by order, as its log has them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from shared.envelope import Record, first_headers, uuid_or_none

ENDS: Final = frozenset(
    {b"order.rejected.v1", b"order.cancelled.v1", b"order.returned.v1", b"order.fulfilled.v1"}
)


@dataclass
class Ledger:
    """One service's facts by order: ids at versions 1, 2, 3 …, and what is wrong with them."""

    ids: dict[UUID, list[bytes]] = field(default_factory=dict)
    holes: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    ends: dict[UUID, list[bytes]] = field(default_factory=lambda: defaultdict(list))

    def add(self, record: Record, *, begins_late: bool) -> bool:
        """Add the next record of the log; return whether it is a new fact.

        `begins_late`: the log has lost its beginning.
        """
        heads = first_headers(record.headers)
        order_id, ce_id = uuid_or_none(record.key), heads.get("ce_id", b"")
        version = int(heads.get("order_version", b"0"))
        if order_id is None or version < 1:
            self.holes.append(
                f"{record.topic}/{record.partition}/{record.offset} has no order or no "
                "order_version"
            )
            return False
        seen = self.ids.setdefault(order_id, [])
        if begins_late and not seen:
            seen += [b""] * (version - 1)
        if version <= len(seen):
            if seen[version - 1] not in (ce_id, b""):
                self.doubled.append(f"{order_id} {record.topic} version {version}")
            return False
        if version > len(seen) + 1:
            self.holes.append(
                f"{order_id} {record.topic} version {len(seen) + 1} is missing before {version}"
            )
            seen += [b""] * (version - 1 - len(seen))
        seen.append(ce_id)
        if (wire_type := heads.get("ce_type", b"")) in ENDS:
            self.ends[order_id].append(wire_type)
        return True

    def forget(self) -> None:
        self.ids.clear()
        self.ends.clear()

    def many_ends(self) -> list[str]:
        """Return orders with several ends; a fulfilled order may still be returned."""
        lawful = ([b"order.fulfilled.v1", b"order.returned.v1"],)
        return [
            str(order_id)
            for order_id, ends in self.ends.items()
            if len(ends) > 1 and ends not in lawful
        ]
