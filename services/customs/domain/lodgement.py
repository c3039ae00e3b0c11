"""Requests that leave in a collective message, or that cannot be printed. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from services.customs.domain.cancellation import (
    refuse_cancellation,
)
from services.customs.domain.declaration import (
    Decision,
    Declaration,
    DeclarationPolicy,
    RequestKind,
    emit,
)
from services.customs.domain.return_decisions import (
    with_return,
)
from shared.events import Fault
from shared.events import customs as events
from shared.values import replace


@dataclass(frozen=True, slots=True)
class Lodged:
    """A collective message with this order's list, cancellation or return left for the
    authority.
    """

    kind: RequestKind
    batch_id: UUID
    message_guid: str


def record_lodging(d: Declaration, event: Lodged) -> Decision:
    d = replace(
        d,
        waiting=None,
        waiting_s=0.0,
        part=None,
        batch_id=event.batch_id,
        message_guid=event.message_guid,
    )
    if event.kind != "declare":
        return d, ()
    d = replace(d, attempt=d.attempt + 1)
    return emit(
        d,
        events.ListLodged(
            order_id=d.order_id,
            cop_no=d.cop_no,
            batch_id=event.batch_id,
            message_guid=event.message_guid,
            attempt=d.attempt,
        ),
    )


def refuse_unprintable(
    d: Declaration,
    kind: RequestKind,
    why: str,
    at: datetime,
    policy: DeclarationPolicy,
    fault: Fault | None = None,
) -> Decision:
    """Refuse a request that no message can hold (a value without a code, an erased person): waiting
    cannot help.

    `fault` names the wrong field; by default the list as a whole.
    """
    d = replace(d, waiting=None)
    if kind == "declare":
        fault = fault or Fault(
            field="declaration_list",
            rule="list_can_be_printed",
            found=why,
            expected="a declarable list",
        )
        return emit(
            d,
            events.ListRefused(
                order_id=d.order_id,
                cop_no=d.cop_no,
                status="",
                info=why,
                invt_no=d.invt_no,
                faults=(fault,),
            ),
        )
    if kind == "return":
        return emit(
            with_return(d, state="refused"),
            events.ReturnRefused(order_id=d.order_id, status="", info=why),
        )
    return refuse_cancellation(d, at, policy)


def correction_of(d: Declaration) -> Literal["1", "2"]:
    """Return appType of the next list: 2 (amend) once customs stored it, 1 (new) while only the
    e-port saw it.
    """
    return "2" if d.stored else "1"
