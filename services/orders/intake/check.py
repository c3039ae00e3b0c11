"""The faults of one submission, collected rule by rule."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from services.orders.intake.codes import DECLARABLE_COUNTRIES, is_country
from services.orders.intake.submission import Submitted
from shared.events.base import Fault

_INDEX: Final = re.compile(r"\[[0-9]+\]")


class Check:
    """Collects faults.

    A fault that depends on a broken value is dropped: it would be of the stand-in.
    """

    def __init__(self, submitted: Submitted, now: datetime) -> None:
        self.order = submitted.submission
        self.now = now
        self.faults: list[Fault] = list(submitted.shape_faults)
        self._broken = submitted.broken | {_INDEX.sub("[*]", path) for path in submitted.broken}

    def refuse(
        self, field: str, rule: str, value: str, expected: str, reads: tuple[str, ...] = ()
    ) -> None:
        if self._broken and not all(self._is_sound(path) for path in (field, *reads)):
            return
        self.faults.append(Fault(field=field, rule=rule, found=value, expected=expected))

    def _is_sound(self, path: str) -> bool:
        if path in self._broken:
            return False
        return not any(path[: mark.start()] in self._broken for mark in re.finditer(r"[.\[]", path))


def require_declarable(check: Check, field: str, country: str) -> None:
    """Require a country with a code of the authority: no list could be written for another."""
    if is_country(country) and country not in DECLARABLE_COUNTRIES:
        expected = "a country with a code of the authority (JGS-20) in gacc.toml"
        check.refuse(field, "declarable_country", country, expected, ("direction",))
