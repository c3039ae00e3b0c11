"""docs/states.md: every state machine, drawn from its table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from services.customs.consolidation import domain as consolidation
from services.customs.consolidation import summary_declaration
from services.customs.domain import declaration
from services.orders.domain import external_states
from services.orders.domain import stages as orders
from services.payments.customs_debt import tax_due
from services.payments.domain import payment_states
from services.tax.bills import domain as bills
from services.tax.domain import case
from shared.transitions import Transitions

HEAD: Final = """# State machines

Written by `python -m deploy.docs` from the tables by which the services decide. A pair of state
and event outside its table is refused (`IllegalTransition`, a dead letter of its own) and never
guessed at. The function named beside each table has the other effects of an event: new events
and commands.
"""


@dataclass(frozen=True)
class Machine:
    """One table to draw.

    `says` is what a diagram cannot show; `begin` and `end` are first and last states.
    """

    title: str
    source: str
    says: str
    table: Transitions[Any]
    begin: Sequence[str] = ()
    end: Sequence[str] = ()


MACHINES: Final = (
    Machine(
        "An order",
        "services/orders/domain/stages.py",
        "`STAGE`, applied by `emit`. An order begins placed, refused at intake (rejected at "
        "once), or as a cancellation that "
        "waits for it. Fulfilled is an end unless the goods come back.",
        orders.STAGE,
        ("awaits_order", "placed"),
        ("fulfilled", "rejected", "cancelled", "returned"),
    ),
    Machine(
        "What orders knows of the payment",
        "services/orders/domain/external_states.py",
        "`PAYMENT`. Payment, tax and border run beside one another, so each is a table of its own.",
        external_states.PAYMENT,
        ("awaited",),
    ),
    Machine(
        "What orders knows of the tax",
        "services/orders/domain/external_states.py",
        "`TAX`.",
        external_states.TAX,
        ("awaited",),
    ),
    Machine(
        "What orders knows of the border",
        "services/orders/domain/external_states.py",
        "`BORDER`.",
        external_states.BORDER,
        ("awaited",),
    ),
    Machine(
        "A payment while its order stands",
        "services/payments/domain/payment_states.py",
        "`PAYMENT`, applied by `decide`. The bank's answers (`Authorised`, `Captured` …) are "
        "events as well; "
        "unknown is no answer and changes nothing.",
        payment_states.PAYMENT,
        ("unasked",),
        ("settled", "declined", "voided"),
    ),
    Machine(
        "A payment once its order is being undone",
        "services/payments/domain/payment_states.py",
        "`UNWINDING`. An answer still under way is waited for, then let go or refunded.",
        payment_states.UNWINDING,
        (),
        ("voided", "refunded"),
    ),
    Machine(
        "A tax assessment",
        "services/tax/domain/case.py",
        "`TAX`, decided by `decide`; the first event makes the case and is in no table. Goods "
        "that came back leave it posted, "
        "until nothing is owed any more.",
        case.TAX,
        ("assessed", "refused", "voided"),
        ("voided", "posted", "restored"),
    ),
    Machine(
        "A tax bill",
        "services/tax/bills/domain.py",
        "`BILL`, decided by `decide`; the first TaxBilled makes it, settled or disputed. "
        "`CaseDecided` is a person's decision. "
        "`PaymentDue` comes from the calendar, `GoodsReturned` from the end of the assessment.",
        bills.BILL,
        ("settled", "disputed"),
        ("due", "returned", "voided"),
    ),
    Machine(
        "The payment of a tax bill",
        "services/payments/customs_debt/tax_due.py",
        "`TAX_DUE`. TaxBillSettled makes it; `Transferred` is the bank's word on the payment of a "
        "whole payment book.",
        tax_due.TAX_DUE,
        ("settled",),
        ("paid", "restored"),
    ),
    Machine(
        "A declaration list",
        "services/customs/domain/declaration.py",
        "`LIST`. A lesser word of the authority after a greater one, and any word on a decided "
        "list, is kept in "
        "`customs.receipt` with `followed = false` and changes nothing.",
        declaration.LIST,
        ("collecting",),
        ("closed", *(str(state) for state in declaration.OVER)),
    ),
    Machine(
        "A summary request",
        "services/customs/consolidation/domain.py",
        "`SUMMARY`, applied by `apply_reply`, `apply_declarations` and `free`. "
        "A request (CEB701) holds its lists until it is superseded, so a list is in "
        "one live request only. Refused, it frees its lists by policy, or when a person says so.",
        consolidation.SUMMARY,
        ("requested",),
        ("closed", "superseded"),
    ),
    Machine(
        "A consolidated declaration",
        "services/customs/consolidation/summary_declaration.py",
        "`DECLARATION`, applied by `apply_result`: what customs makes of a request (CEB792), "
        "told once and again whenever it changes. What a "
        "decState means is data (`services/customs/ceb/codes.toml`).",
        summary_declaration.DECLARATION,
        ("generated",),
        ("closed",),
    ),
)


def page() -> str:
    return "\n".join([HEAD, *(_section(machine) for machine in MACHINES)])


def _section(machine: Machine) -> str:
    lines = [
        f"## {machine.title}",
        "",
        f"[{machine.source}](../{machine.source}): {machine.says}",
        "",
        "```mermaid",
    ]
    lines += [machine.table.mermaid(), *(f"    [*] --> {state}" for state in machine.begin)]
    lines += [*(f"    {state} --> [*]" for state in machine.end), "```", ""]
    quiet = _quiet(machine.table)
    if quiet:
        lines += ["Handled without a change: " + "; ".join(quiet) + ".", ""]
    return "\n".join(lines)


def _quiet(table: Transitions[Any]) -> list[str]:
    states_of: dict[str, list[str]] = defaultdict(list)
    for state, event, target in table:
        if state == target:
            states_of[event.__name__].append(str(state))
    return [f"`{event}` in {', '.join(states)}" for event, states in states_of.items()]
