"""Settings of the sandbox process."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import Field, ValidationError

from sandbox.authority.policy import DAY_S
from shared.errors import Misconfigured
from shared.settings import Settings


class SandboxSettings(Settings):
    """Settings of the outside parties, which use no database server."""

    metrics_port: int = Field(
        8106,
        ge=0,
        le=65535,
        description="port of /metrics, /healthz and /readyz; 0 for any free one",
    )
    bank_port: int = Field(8110, ge=0, le=65535, description="port of the bank; 0 for any free one")
    sandbox_pace: float = Field(
        1.0, ge=0.0, le=100.0, description="every delay of the language is multiplied by this"
    )
    sandbox_examination_rate: float = Field(
        0.0, ge=0.0, le=1.0, description="share of lists examined at random"
    )
    day_s: float = Field(
        DAY_S,
        gt=0,
        le=DAY_S,
        description="seconds a calendar day lasts in the periods of tax bills; "
        "less than 86400 only to rehearse them",
    )
    sandbox_seed: str = Field(
        "crossborder", description="seed of the random examination: the same lists are drawn again"
    )

    @property
    def sandbox_dir(self) -> Path:
        return self.home / "sandbox"

    sandbox_certificate: Path | None = Field(
        None, description="the declarant's certificate, as the authority has it on file"
    )

    @property
    def certificate(self) -> Path:
        return self.sandbox_certificate or self.keys_dir / "customs-signing.crt"


def load() -> SandboxSettings:
    """Return the settings; without `CROSSBORDER_KAFKA`, the broker is the running embedded stack's.

    Raises Misconfigured.
    """
    try:
        settings = SandboxSettings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "CROSSBORDER_" + "_".join(str(part) for part in first["loc"]).upper()
        raise Misconfigured(
            f"set {name} right: {first['msg']} (found {first.get('input')!r})"
        ) from None
    if "kafka" in settings.model_fields_set:
        return settings
    try:
        kafka = json.loads((settings.home / "stack.json").read_text())["kafka"]
    except (OSError, ValueError, KeyError):
        return settings
    return settings.model_copy(update={"kafka": str(kafka)})
