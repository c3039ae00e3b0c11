"""The rules in force in a running service: each edition is kept, a new one is taken only if all of it is good."""

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
from services.tax.rule_check import ends_in, faults_elsewhere
from services.tax.rulebook.book import Rulebook
from services.tax.rulebook.files import RuleError, load
from shared import metrics
from shared.clock import beijing_date
from shared.database import LOST, RETRYABLE
from shared.trouble import Failures

log = structlog.get_logger(__name__)

Stamp = Mapping[str, tuple[int, int]]


class HoldsRules(Protocol):
    """Who works by the rules: it takes whatever stands here when its next batch begins."""

    rules: Rulebook


class RunningRules:
    """Follows a folder of rule files for a service; the set in force stays until a good one takes its place."""

    def __init__(self, folder: Path, pool: Any) -> None:
        self.folder = folder
        self._pool = pool
        self._seen: Stamp = {}
        self._last_days = metrics.Shown(metrics.TAX_RULES_LAST_DAY)

    async def begin(self) -> Rulebook:
        """The rules to start with, archived; raises RuleError, so that a service never starts with bad ones."""
        self._seen = _stamp(self.folder)
        rules = await asyncio.to_thread(_whole, self.folder)
        await self._archive(rules)
        metrics.TAX_RULES_REFUSED.set(0)
        await self._tell_last_days()
        return rules

    async def look(self, holder: HoldsRules) -> None:
        """Take the folder's rules if they changed and are good; else say file, line and reason, and leave those in force."""
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
        """Each table's last day as a gauge, those of destinations and exports too; a file that is bad tells none."""
        ends = await asyncio.to_thread(ends_in, self.folder)
        self._last_days.show({(end.table,): end.over.timestamp() for end in ends})

    async def follow(self, holder: HoldsRules, every_s: float) -> None:
        """Look every so often; an absent database is waited for, since an edition is used only once it is archived."""
        failures = Failures("tax", "rules")
        while True:
            await asyncio.sleep(every_s)
            try:
                await self.look(holder)
                failures.none()
            except (*LOST, *RETRYABLE) as error:
                log.warning("new rules wait", error=type(error).__name__)
            except Exception as error:  # noqa: BLE001  counted, logged and alerted: else the task would end without a word
                await asyncio.sleep(failures.one(error))

    async def _archive(self, rules: Rulebook) -> None:
        async with self._pool.acquire() as conn:
            await store.archive(conn, rules.edition, json.dumps(rules.texts, ensure_ascii=False))


def _whole(folder: Path) -> Rulebook:
    """The rules of a folder, all of whose files are good, those of destinations and exports too; raises RuleError."""
    rules = load(folder)
    for fault in faults_elsewhere(folder):
        raise fault
    return rules


def _nothing_lost(folder: Path, before: Rulebook, after: Rulebook, today: date) -> None:
    """Whatever may be traded today may be traded by the next rules too: a file that was lost is no new law. Raises RuleError."""
    for direction in ("import", "export"):
        for mode in before.modes(direction):
            was = before.on(direction, mode, today)
            if was is not None and after.on(direction, mode, today) is None:
                reason = f"no regime in force on {today} for {direction} by mode {mode}, which {was.regime.id} had: is a file missing?"
                raise RuleError(folder, None, reason)


def _stamp(folder: Path) -> Stamp:
    """Names, sizes and times of a folder's rule files: what changes when one is edited."""
    found: dict[str, tuple[int, int]] = {}
    for path in sorted(folder.glob("*.toml")):
        with suppress(
            FileNotFoundError
        ):  # one that is renamed or taken away at this moment; a link to nothing is refused when read
            stat = path.stat()
            found[path.name] = (stat.st_size, stat.st_mtime_ns)
    return found
