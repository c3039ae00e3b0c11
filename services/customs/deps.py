"""What the app passes to the handlers and timers of customs."""

from __future__ import annotations

from dataclasses import dataclass

from services.customs.consolidation.terms import ConsolidationRules
from services.customs.domain import declaration as domain
from services.customs.domain import documents
from services.customs.gateway import Authority
from shared.sealing import Sealing


@dataclass(frozen=True)
class Deps:
    sealing: Sealing
    authority: Authority
    policy: domain.DeclarationPolicy
    match: documents.Match
    consolidation: ConsolidationRules
