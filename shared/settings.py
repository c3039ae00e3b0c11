"""What a process is told from outside, read once at the start; policy never comes this way."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import ClassVar, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.errors import Misconfigured

DEFAULT_HOME = Path(".crossborder")


class Settings(BaseSettings):
    """Settings every process of the stack has, each from `CROSSBORDER_<NAME>` or a file of that name in /run/secrets."""

    needs_postgres: ClassVar[bool] = True

    model_config = SettingsConfigDict(
        env_prefix="CROSSBORDER_", extra="ignore", secrets_dir="/run/secrets" if Path("/run/secrets").is_dir() else None
    )

    kafka: str = Field("127.0.0.1:9092", description="bootstrap servers, host:port separated by commas")
    postgres: str = Field("", description="DSN of the database; the role in it is replaced by the service's own")
    postgres_password: str | None = Field(None, description="password of the service's role, where the server asks for one")
    home: Path = Field(DEFAULT_HOME, description="folder of the embedded stack: data, logs, keys")
    keys: Path | None = Field(None, description="folder of the keys; by default `keys` in the home folder")
    topic_prefix: str = Field("", description="put before every topic and group name, so that tests keep apart")
    metrics_port: int = Field(0, ge=0, le=65535, description="port of /metrics, /healthz and /readyz; 0 for any free one")
    bind: str = Field("127.0.0.1", description="address the HTTP ports listen on")
    replica: int = Field(0, ge=0, le=999, description="ordinal of this replica, for static group membership")
    replica_by_host: bool = Field(False, description="tell replicas apart by host name, where all have the same settings")
    log_format: str = Field("json", pattern="^(json|console)$", description="json or console")
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="least level that is written")
    batch_records: int = Field(500, ge=1, le=5000, description="most records handled in one transaction")

    @property
    def keys_dir(self) -> Path:
        return self.keys or self.home / "keys"

    @property
    def member(self) -> str:
        """What tells this replica from the others of its service; the same after a restart."""
        return socket.gethostname() if self.replica_by_host else str(self.replica)


AnySettings = TypeVar("AnySettings", bound=Settings)


def load(kind: type[AnySettings]) -> AnySettings:
    """The settings, or Misconfigured naming each wrong or missing one and where it comes from.

    Where neither `CROSSBORDER_KAFKA` nor `CROSSBORDER_POSTGRES` is given, the running embedded stack's are taken.
    """
    try:
        settings = kind()
    except ValidationError as error:
        first = error.errors()[0]
        name = "CROSSBORDER_" + "_".join(str(part) for part in first["loc"]).upper()
        raise Misconfigured(f"set {name} right: {first['msg']} (found {first.get('input')!r})") from None
    found = _embedded(settings.home)
    changes: dict[str, str] = {}
    if "kafka" not in settings.model_fields_set and "kafka" in found:
        changes["kafka"] = found["kafka"]
    if "postgres" not in settings.model_fields_set and "postgres" in found:
        changes["postgres"] = found["postgres"]
    settings = settings.model_copy(update=changes)
    if kind.needs_postgres and not settings.postgres:
        raise Misconfigured(
            "start the stack with `crossborder up`, or set CROSSBORDER_POSTGRES to the database's DSN: none is running in "
            f"{settings.home}"
        )
    return settings


def _embedded(home: Path) -> dict[str, str]:
    """What a running embedded stack wrote down about itself, empty if none is."""
    try:
        found = json.loads((home / "stack.json").read_text())
    except (OSError, ValueError):
        return {}
    return {key: value for key, value in found.items() if isinstance(value, str)}
