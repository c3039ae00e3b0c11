"""What the app gives to the handlers of orders."""

from __future__ import annotations

from dataclasses import dataclass

from shared.sealing import Sealing


@dataclass(frozen=True)
class Deps:
    sealing: Sealing
    probe_platform: str = ""
    """Platform code of synthetic orders; empty if there are none."""
