"""One seed from its plan to its end, and what must be true then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from functools import partial
from uuid import UUID

from services.customs.domain.declaration import CLEARED, OVER, DeclarationState
from services.orders.domain.external_states import Stage
from services.orders.domain.stages import ENDED
from services.orders.intake.submission import CancelRequested, ReturnRequested
from services.payments.customs_debt.tax_due import TaxDue, TaxDueState
from services.payments.domain.ledger import Account
from services.payments.domain.payment_states import PaymentState as Paid
from services.tax.bills.domain import BillState
from services.tax.domain.case import TaxState
from shared import topics
from shared.events.orders import ReturnPart
from tests.simulation.broker import Broker, Record
from tests.simulation.customs import Customs
from tests.simulation.parties import Authority, Bank, Carrier, Listed
from tests.simulation.plan import PLATFORM, Plan, draw, quotas
from tests.simulation.sabotage import NONE, Sabotage
from tests.simulation.services import Orders, Payments, Tax
from tests.simulation.summaries import Office
from tests.simulation.world import Violation, World


@dataclass(frozen=True)
class History:
    """What a seed came to."""

    seed: int
    orders: int
    steps: int
    trace: list[str]
    trace_hash: str
    types: frozenset[str]
    """The types of events that were published."""


class Simulation:
    """The whole system on one heap of events."""

    def __init__(self, seed: int, sabotage: Sabotage = NONE) -> None:
        world, broker = World(seed), Broker()
        self.world, self.broker = world, broker
        self.plans = {plan.order_id: plan for plan in draw(world)}
        self.bank = Bank(world, self.plans)
        self.carrier = Carrier(world, broker, NONE, self.plans)
        self.authority = Authority(world, broker, NONE, self.plans)
        self.office = Office(world, broker, NONE)
        self.orders = Orders(world, broker, sabotage)
        self.payments = Payments(world, broker, sabotage, self.bank)
        self.tax = Tax(world, broker, sabotage, quotas(list(self.plans.values())))
        self.customs = Customs(world, broker, sabotage, self.plans)
        self.authority.assessed = lambda order_id: self.tax.state[order_id].total.minor
        self.tax.day_s = self.authority.day_s

    def run(self) -> None:
        """Play the seed.

        Raises Violation, or IllegalTransition, for whatever is not as it must be.
        """
        for plan in self.plans.values():
            self._submit(plan)
        self.world.run()
        for reader in (
            self.orders,
            self.payments,
            self.tax,
            self.customs,
            self.carrier,
            self.authority,
            self.office,
        ):
            reader.at_rest()
        for plan in self.plans.values():
            self._judge(plan)
        if sum(self.payments.balances.values()):
            raise Violation("the books do not balance")

    def _submit(self, plan: Plan) -> None:
        came = plan.refused() if plan.faulty else plan.accepted()
        for at in plan.submissions:
            self._publish(at, plan.order_id, came)
        for at in plan.conflicting:
            self._publish(max(at, plan.submissions[0] + 0.001), plan.order_id, plan.refused())
        for asked_at, who in plan.asks:
            # Of an order that never came no part can be asked for: that is a dead letter, tried
            # elsewhere.
            at = max(asked_at, plan.submissions[0] + 0.001) if who == "part" else asked_at
            named = (plan.order_id, plan.order_no, PLATFORM, f"the {who}")
            if who == "cancel":
                self._publish(at, plan.order_id, CancelRequested(*named))
            else:
                one = (ReturnPart(line_no=1, quantity=Decimal(1)),) if who == "part" else ()
                self._publish(at, plan.order_id, ReturnRequested(*named, one, at < 80))

    def _publish(self, at: float, order_id: UUID, event: object) -> None:
        record = Record(self.world.uuid(), event)
        self.world.after(at, partial(self.broker.publish, topics.SUBMISSIONS, order_id, record))

    # --- the end

    def _judge(self, plan: Plan) -> None:
        order_id = plan.order_id
        order = self.orders.state[order_id]
        if order.stage not in ENDED:
            raise Violation(
                f"{plan.order_no} ({_words(plan)}) comes to no end: it is {order.stage}"
            )
        rightly = plan.ends(taxable=order_id not in self.tax.refused)
        if order.stage not in rightly:
            raise Violation(
                f"{plan.order_no} ({_words(plan)}) ends {order.stage}, not "
                f"{' or '.join(sorted(rightly))}"
            )
        last = self.orders.ends[order_id][-1]
        if last != f"order.{order.stage}.v1":
            raise Violation(f"{plan.order_no} is {order.stage} and its last word was {last}")
        self._judge_money(plan, order.stage)
        self._judge_tax(plan, order.stage)
        self._judge_border(plan, order.stage)

    def _judge_money(self, plan: Plan, stage: Stage) -> None:
        order_id = plan.order_id
        payment, moved = self.payments.state.get(order_id), self.bank.moved
        kept = moved[order_id, "capture"] - moved[order_id, "refund"]
        balances = {account: self.payments.balances[order_id, account] for account in Account}
        due = self.payments.dues.get(order_id)
        paid = due.billed.minor if due is not None and due.state is TaxDueState.PAID else 0
        if balances[Account.BANK_CLEARING] != kept - paid:
            raise Violation(
                f"the bank keeps {kept} of {plan.order_no}, the books "
                f"{balances[Account.BANK_CLEARING]} beside {paid}"
            )
        sold = stage in (Stage.FULFILLED, Stage.RETURNED)
        withheld = plan.placed.tax_withheld.minor
        tax = self._stays(plan, withheld) if sold else 0
        goods = self._goods_stay(plan, plan.placed.amount_paid.minor - withheld) if sold else 0
        excess = moved[order_id, "refund_tax"]
        # Of an order of which all came back the excess went back with the rest; in parts, that is
        # for a person to say.
        expected = goods + tax - (excess if stage is Stage.FULFILLED else 0)
        if kept != expected and not (excess and self._in_parts(plan)):
            raise Violation(f"{plan.order_no} is {stage} and the bank keeps {kept}, not {expected}")
        if balances[Account.BUYER_FUNDS]:
            raise Violation(f"{plan.order_no} is {stage} and its books are {balances}")
        if due is not None and balances[Account.TAX_SUSPENSE]:
            raise Violation(
                f"{plan.order_no} is {stage} and a difference is borne by nobody: {balances}"
            )
        if not self._in_parts(plan):
            in_between = (Account.TAX_PAYABLE, Account.TAX_SUSPENSE, Account.GUARANTEE_RESERVED)
            if any(balances[account] for account in in_between):
                raise Violation(f"{plan.order_no} is {stage} and its books are {balances}")
            self._judge_bill(plan, stage is Stage.FULFILLED, due, balances)
        rightly = (Paid.SETTLED,) if sold else (Paid.VOIDED, Paid.REFUNDED)
        if payment is not None and payment.state not in rightly:
            raise Violation(f"{plan.order_no} is {stage} and its payment {payment.state}")

    def _judge_bill(
        self, plan: Plan, fulfilled: bool, due: TaxDue | None, balances: Mapping[Account, int]
    ) -> None:
        """What was billed was paid, and who bears the difference is who should: nobody but the
        merchant for goods back too late.
        """
        bill = self.tax.bills.get(plan.order_id)
        entry = self.authority.register.get(plan.order_id, Listed())
        if (
            fulfilled
            and plan.placed.direction == "import"
            and (bill is None or bill.state is not BillState.DUE)
        ):
            raise Violation(f"{plan.order_no} is fulfilled and its bill {bill and bill.state}")
        if (
            entry.released
            and bill is not None
            and bill.state is BillState.DUE
            and bill.billed.minor
            and (due is None or due.state is not TaxDueState.PAID)
        ):
            raise Violation(
                f"the bill of {plan.order_no} was handed over and is {due and due.state}"
            )
        borne = {
            account: balances[account]
            for account in (Account.TAX_DIFFERENCE, Account.MERCHANT_CLAIM)
        }
        difference = due.billed.minor - due.withheld.minor if due is not None else 0
        rightly = dict.fromkeys(borne, 0)
        first = bill.outcome if bill is not None else None
        if due is not None and fulfilled:
            rightly[Account.TAX_DIFFERENCE] = difference if first == "booked" else 0
            rightly[Account.MERCHANT_CLAIM] = difference if first == "claim" else 0
        elif due is not None and due.state is TaxDueState.PAID:
            rightly[Account.TAX_DIFFERENCE] = difference if first == "booked" else 0
            rightly[Account.MERCHANT_CLAIM] = due.billed.minor - rightly[Account.TAX_DIFFERENCE]
        if borne != rightly:
            raise Violation(
                f"of the bill of {plan.order_no} ({due}) is borne {borne}, not {rightly}"
            )

    def _judge_tax(self, plan: Plan, stage: Stage) -> None:
        case = self.tax.state.get(plan.order_id)
        sold = stage in (Stage.FULFILLED, Stage.RETURNED)
        rightly = (TaxState.POSTED, TaxState.RESTORED) if sold else (TaxState.VOIDED,)
        if case is not None and (
            case.state not in rightly
            or (case.state is TaxState.RESTORED and stage is Stage.FULFILLED)
        ):
            raise Violation(f"{plan.order_no} is {stage} and its tax {case.state}")
        if case is None or not sold:
            return
        assessed = self.tax.assessed[plan.order_id]
        value = self._stays(plan, assessed.dutiable_value.minor) if case.quota_key else 0
        owed = sum(
            self._stays(plan, x.minor)
            for x in (assessed.duty, assessed.consumption_tax, assessed.vat)
        )
        if (case.reserved.minor, case.total.minor) != (value, owed):
            raise Violation(
                f"{plan.order_no} is {stage}, holds {case.reserved} and owes {case.total}, not "
                f"{value} and {owed} fen"
            )

    def _in_parts(self, plan: Plan) -> bool:
        """Whether goods came back other than all at once and in time: their tax bill is then partly
        a person's affair.
        """
        entry = self.authority.register.get(plan.order_id, Listed())
        return bool(entry.returned) and (
            entry.returned != _pieces(plan) or entry.applications > 1 or bool(entry.late)
        )

    def _stays(self, plan: Plan, whole: int) -> int:
        """What of an amount is still levied or used, by the authority's word alone: all of it, less
        the pieces that came back in time.

        Those of the first return may have come late.
        """
        entry, pieces = self.authority.register.get(plan.order_id, Listed()), _pieces(plan)
        return whole - (_share(whole, entry.returned, pieces) - _share(whole, entry.late, pieces))

    def _goods_stay(self, plan: Plan, whole: int) -> int:
        """The price of what did not come back, and of what came late where the
        merchant keeps it.
        """
        entry, pieces = self.authority.register.get(plan.order_id, Listed()), _pieces(plan)
        kept_late = any(
            each.state == "late" and not each.refund_if_late
            for each in self.customs.state[plan.order_id].returns
        )
        return (
            whole
            - _share(whole, entry.returned, pieces)
            + (_share(whole, entry.late, pieces) if kept_late else 0)
        )

    def _judge_border(self, plan: Plan, stage: Stage) -> None:
        d = self.customs.state.get(plan.order_id)
        entry = self.authority.register.get(plan.order_id, Listed())
        cleared = d is not None and d.state in CLEARED
        if cleared != (stage is Stage.FULFILLED):
            raise Violation(f"{plan.order_no} is {stage} and its list {d and d.state}")
        if cleared != (entry.state == "declared" and entry.released):
            raise Violation(
                f"the list of {plan.order_no} is {d and d.state}, in the register {entry.state} "
                f"{entry.status}"
            )
        # Of an order that was never placed there may be a waybill, and nobody will ever ask for it.
        if d is not None and d.order is not None and not cleared and d.state not in OVER:
            raise Violation(f"{plan.order_no} is {stage} and its list still {d.state}")
        if (stage is Stage.RETURNED) != (d is not None and d.state is DeclarationState.RETURNED):
            raise Violation(f"{plan.order_no} is {stage} and its list {d and d.state}")


def _pieces(plan: Plan) -> Decimal:
    return sum((line.quantity for line in plan.placed.lines), Decimal(0))


def _share(whole: int, pieces: Decimal, of: Decimal) -> int:
    """Half up, in the words of school."""
    return int((Decimal(whole) * pieces / of).quantize(Decimal(1), ROUND_HALF_UP))


def _words(plan: Plan) -> str:
    asks = [f"{who} at {at:.1f}" for at, who in plan.asks]
    unprintable = [f"no {kind} can be printed" for kind in sorted(plan.unprintable)]
    return ", ".join(
        word for word in (plan.token, plan.carrier, plan.authority, *asks, *unprintable) if word
    )


def simulate(seed: int, sabotage: Sabotage = NONE) -> History:
    """The history of a seed; what goes wrong is raised with the seed's number in the text."""
    simulation = Simulation(seed, sabotage)
    try:
        simulation.run()
    except Exception as error:
        tail = "\n".join(simulation.world.trace[-12:])
        raise Violation(f"seed {seed}: {type(error).__name__}: {error}\n{tail}") from error
    world = simulation.world
    return History(
        seed,
        len(simulation.plans),
        world.steps,
        world.trace,
        world.trace_hash(),
        frozenset(simulation.broker.published),
    )


def chunk(seeds: range) -> tuple[int, int, int, list[str]]:
    """How many seeds, orders and steps were played, and what failed."""
    orders, steps, failed = 0, 0, []
    for seed in seeds:
        try:
            history = simulate(seed)
        except Violation as violation:
            failed.append(str(violation))
            continue
        orders += history.orders
        steps += history.steps
    return len(seeds), orders, steps, failed
