"""Reload of the rules in a running service: a new set is used only if every file is good."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Protocol

import structlog

from services.tax import store
from services.tax.rule_check import ends_in, faults_of_others
from services.tax.rulebook.book import Rulebook
from services.tax.rulebook.files import load
from services.tax.rulebook.toml_files import RuleError
from shared import metrics
from shared.clock import beijing_date
from shared.database import LOST, RETRYABLE
from shared.loop_failures import LoopFailures

log = structlog.get_logger(__name__)

Stamp = Mapping[str, tuple[int, int]]


class HoldsRules(Protocol):
    """The part of the service that reads the rules at the start of each batch."""

    rules: Rulebook


class RunningRules:
    """The rules of a folder, for a running service; the set in force stays until a good one
    replaces it."""

    def __init__(self, folder: Path, pool: Any) -> None:
        self.folder = folder
        self._pool = pool
        self._seen: Stamp = {}
        self._last_days = metrics.OwnedGauge(metrics.TAX_RULES_LAST_DAY)

    async def begin(self) -> Rulebook:
        """Return the rules to start with, archived; raises RuleError, so a service never starts
        with bad rules."""
        self._seen = _stamp(self.folder)
        rules = await asyncio.to_thread(_whole, self.folder)
        await self._archive(rules)
        metrics.TAX_RULES_REFUSED.set(0)
        await self._tell_last_days()
        return rules

    async def look(self, holder: HoldsRules) -> None:
        """Use the folder's rules if they changed and are good; else log file, line and reason."""
        stamp = _stamp(self.folder)
        if stamp == self._seen:
            return
        try:
            rules = await asyncio.to_thread(_whole, self.folder)
            _nothing_lost(self.folder, holder.rules, rules, beijing_date(datetime.now(UTC)))
        except RuleError as fault:
            self._seen = stamp
            metrics.TAX_RULES_REFUSED.set(1)
            log.error(
                "rule files are refused, the rules in force stay",
                error=fault,
                edition=holder.rules.edition,
            )
            return
        if rules.edition != holder.rules.edition:
            await self._archive(rules)
            log.info("rules are taken", edition=rules.edition, before=holder.rules.edition)
            holder.rules = rules
        self._seen = stamp
        metrics.TAX_RULES_REFUSED.set(0)
        await self._tell_last_days()

    async def _tell_last_days(self) -> None:
        ends = await asyncio.to_thread(ends_in, self.folder)
        self._last_days.show({(end.table,): end.over.timestamp() for end in ends})

    async def follow(self, holder: HoldsRules, every_s: float) -> None:
        """Look at the folder at intervals; wait while the database is absent.

        An edition is used only once it is archived.
        """
        failures = LoopFailures("tax", "rules")
        while True:
            await asyncio.sleep(every_s)
            try:
                await self.look(holder)
                failures.reset()
            except (*LOST, *RETRYABLE) as error:
                log.warning("new rules wait", error=type(error).__name__)
            except Exception as error:  # noqa: BLE001  counted, logged and alerted: else the task would end without a word
                await asyncio.sleep(failures.record(error))

    async def _archive(self, rules: Rulebook) -> None:
        async with self._pool.acquire() as conn:
            await store.archive(conn, rules.edition, json.dumps(rules.texts, ensure_ascii=False))


def _whole(folder: Path) -> Rulebook:
    rules = load(folder)
    for fault in faults_of_others(folder):
        raise fault
    return rules


def _nothing_lost(folder: Path, before: Rulebook, after: Rulebook, today: date) -> None:
    """Raise RuleError if goods that may be traded today may not be traded by the next rules.

    A lost file is not a new law.
    """
    for direction in ("import", "export"):
        for mode in before.modes(direction):
            was = before.on(direction, mode, today)
            if was is not None and after.on(direction, mode, today) is None:
                reason = (
                    f"no regime in force on {today} for {direction} by mode {mode}, which "
                    f"{was.regime.id} had: is a file missing?"
                )
                raise RuleError(folder, None, reason)


def _stamp(folder: Path) -> Stamp:
    stamps: dict[str, tuple[int, int]] = {}
    for path in sorted(folder.glob("*.toml")):
        with suppress(
            FileNotFoundError
        ):  # renamed or deleted at this moment; a broken link is refused when it is read
            stat = path.stat()
            stamps[path.name] = (stat.st_size, stat.st_mtime_ns)
    return stamps
