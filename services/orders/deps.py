"""What the app gives to the handlers of orders."""

from __future__ import annotations

from dataclasses import dataclass

from shared.sealing import Sealing


@dataclass(frozen=True)
class Deps:
    """What the app wires in."""

    sealing: Sealing
    probe_platform: str = ""
