"""What the app gives to the handlers of tax."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.tax.bills.handlers import Billing
from services.tax.rulebook.book import Rulebook


@dataclass
class Deps:
    """What the app wires in; the rules are replaced while it runs, between two batches."""

    rules: Rulebook
    billing: Billing = field(default_factory=Billing)
