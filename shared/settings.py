"""Settings that a process reads once at its start; policy never comes this way."""

from __future__ import annotations

import json
import socket
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.errors import Misconfigured
from shared.kafka import Protocol, Security

DEFAULT_HOME = Path(".crossborder")


class Settings(BaseSettings):
    """Settings of every process of the stack.

    Each comes from `CROSSBORDER_<NAME>`, or from a file of that name in /run/secrets.
    """

    needs_postgres: ClassVar[bool] = True

    model_config = SettingsConfigDict(
        env_prefix="CROSSBORDER_",
        extra="ignore",
        secrets_dir="/run/secrets" if Path("/run/secrets").is_dir() else None,
    )

    kafka: str = Field(
        "127.0.0.1:9092", description="bootstrap servers, host:port separated by commas"
    )
    kafka_security_protocol: Protocol = Field(
        "PLAINTEXT", description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
    )
    kafka_user: str = Field(
        "", description="whom the broker is told with SASL; the mechanism is SCRAM-SHA-512"
    )
    kafka_password: SecretStr | None = Field(None, description="the password of that user")
    kafka_password_file: Path | None = Field(
        None, description="file with that password, instead of the password itself"
    )
    kafka_ca: Path | None = Field(
        None, description="certificates that sign the broker's; by default the system's"
    )
    kafka_certificate: Path | None = Field(
        None, description="certificate of this client, where the broker asks for one"
    )
    kafka_key: Path | None = Field(None, description="its key")
    postgres: str = Field(
        "", description="DSN of the database; the role in it is replaced by the service's own"
    )
    postgres_password: str | None = Field(
        None,
        repr=False,
        description="password of the service's role, where the server asks for one",
    )
    postgres_password_file: Path | None = Field(
        None, description="file with that password, instead of the password itself"
    )
    home: Path = Field(DEFAULT_HOME, description="folder of the embedded stack: data, logs, keys")
    keys: Path | None = Field(
        None, description="folder of the keys; by default `keys` in the home folder"
    )
    topic_prefix: str = Field(
        "", description="put before every topic and group name, so that tests keep apart"
    )
    metrics_port: int = Field(
        0, ge=0, le=65535, description="port of /metrics, /healthz and /readyz; 0 for any free one"
    )
    bind: str = Field("127.0.0.1", description="address the HTTP ports listen on")
    replica: int = Field(
        0, ge=0, le=999, description="ordinal of this replica, for static group membership"
    )
    replica_by_host: bool = Field(
        False, description="tell replicas apart by host name, where all have the same settings"
    )
    probe_platform: str = Field(
        "PROBE00001",
        pattern="^[0-9A-Z]{10}$",
        description="code of the platform whose orders are synthetic: no sales, corridor `probe`",
    )
    parties_bound: Literal["auto", "registered", "all"] = Field(
        "auto",
        description="which platforms and carriers must sign what they say: those with a key, or "
        "all; auto is all where the broker tells its users apart",
    )
    party_key: SecretStr | None = Field(
        None,
        description="private key (Ed25519, PEM) with which this program signs what it says as a "
        "platform or carrier",
    )
    party_key_file: Path | None = Field(
        None, description="file with that key, instead of the key itself"
    )
    log_format: str = Field("json", pattern="^(json|console)$", description="json or console")
    log_level: str = Field(
        "INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="least level that is written"
    )
    batch_records: int = Field(
        1000,
        ge=1,
        le=5000,
        description="most records handled in one transaction; the database's lock table must have "
        "room for them, see `crossborder doctor`",
    )

    @property
    def keys_dir(self) -> Path:
        return self.keys or self.home / "keys"

    @property
    def kafka_security(self) -> Security:
        """Return how this process connects to the broker.

        Raises Misconfigured if settings are missing.
        """
        given = self.kafka_password.get_secret_value() if self.kafka_password else ""
        password = (
            given or secret_of(self.kafka_password_file, "CROSSBORDER_KAFKA_PASSWORD_FILE") or ""
        )
        return Security(
            self.kafka_security_protocol,
            self.kafka_user,
            password,
            self.kafka_ca,
            self.kafka_certificate,
            self.kafka_key,
        )

    @property
    def all_parties_bound(self) -> bool:
        """Tell whether a platform or carrier without a key can say nothing.

        By default it cannot if the broker tells its users apart.
        """
        if self.parties_bound == "auto":
            return self.kafka_security.tells_apart
        return self.parties_bound == "all"

    @property
    def party_pem(self) -> bytes | None:
        """Return the key with which this program signs as a party; None without one."""
        given = self.party_key.get_secret_value() if self.party_key else ""
        found = given or secret_of(self.party_key_file, "CROSSBORDER_PARTY_KEY_FILE")
        return found.encode() if found else None

    @property
    def database_password(self) -> str | None:
        """Return the password of the role, given directly or in a file."""
        return self.postgres_password or secret_of(
            self.postgres_password_file, "CROSSBORDER_POSTGRES_PASSWORD_FILE"
        )

    @property
    def member(self) -> str:
        """Return the name of this replica within its service. It is the same after a restart."""
        return socket.gethostname() if self.replica_by_host else str(self.replica)


AnySettings = TypeVar("AnySettings", bound=Settings)

_OF_THE_STACK: Final = (
    "kafka",
    "kafka_security_protocol",
    "kafka_user",
    "kafka_password_file",
    "kafka_ca",
    "postgres",
    "party_key_file",
)
"""Settings taken from a running embedded stack: broker and database, each whole or not at all.

A party's key goes with the broker.
"""


def secret_of(file: Path | None, setting: str) -> str | None:
    """Return the secret in the file; None without a file.

    Raises Misconfigured with the setting's name if the file is empty or cannot be read.
    """
    if file is None:
        return None
    try:
        found = file.read_text().strip()
    except OSError as error:
        raise Misconfigured(
            f"set {setting} to a file with the secret: {error.strerror} ({file})"
        ) from None
    if not found:
        raise Misconfigured(f"set {setting} to a file with the secret: {file} is empty")
    return found


def load(kind: type[AnySettings]) -> AnySettings:
    """Return the settings. Raises Misconfigured with the name of each wrong or missing one.

    If `CROSSBORDER_KAFKA` or `CROSSBORDER_POSTGRES` is not given, the running embedded stack's is
    taken.
    """
    try:
        settings = kind()
    except ValidationError as error:
        raise Misconfigured("\n".join(_wrong(each) for each in error.errors())) from None
    found = _embedded(settings.home)
    taken: dict[str, Any] = _taken(found, settings.model_fields_set)
    if taken:
        settings = kind(**taken)
    if kind.needs_postgres and not settings.postgres:
        raise Misconfigured(
            "start the stack with `crossborder up`, or set CROSSBORDER_POSTGRES to the database's "
            f"DSN: none is running in {settings.home}"
        )
    return settings


def _wrong(error: ErrorDetails) -> str:
    name = "CROSSBORDER_" + "_".join(str(part) for part in error["loc"]).upper()
    return f"set {name} right: {error['msg']} (found {error.get('input')!r})"


def _taken(found: Mapping[str, str], given: Collection[str]) -> dict[str, str]:
    """Return what the stack provides, without a broker or database that was named by hand."""
    own = {"kafka", "party"} if "kafka" in given else given
    return {
        name: found[name]
        for name in _OF_THE_STACK
        if name in found and name.partition("_")[0] not in {*own, *given}
    }


def _embedded(home: Path) -> dict[str, str]:
    """Return what a running embedded stack wrote about itself; nothing if none runs."""
    try:
        found = json.loads((home / "stack.json").read_text())
    except (OSError, ValueError):
        return {}
    return {key: value for key, value in found.items() if isinstance(value, str)}
