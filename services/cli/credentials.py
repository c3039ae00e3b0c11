"""How a command proves who it is: to the broker, to the database, and as a platform that signs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from shared.kafka import OPEN, Security

if TYPE_CHECKING:
    pass


SECRETS: Final = Path("/run/secrets")


def security_of(running: Mapping[str, Any], *, env: bool = True) -> Security:
    """Return how a command logs in to the broker: by its settings, else by `stack.json`."""
    from shared.settings import Settings, load, secret_of

    class Anywhere(Settings):
        needs_postgres: ClassVar[bool] = False

    if env and (os.environ.get("CROSSBORDER_KAFKA") or not running):
        return load(Anywhere).kafka_security
    if "kafka_security_protocol" not in running:
        return OPEN
    secret = secret_of(Path(str(running["kafka_password_file"])), "CROSSBORDER_KAFKA_PASSWORD_FILE")
    return Security(
        running["kafka_security_protocol"],
        str(running["kafka_user"]),
        secret or "",
        Path(str(running["kafka_ca"])),
    )


def party_pem_of(running: Mapping[str, Any], *, env: bool = True) -> bytes | None:
    """Return the key a command signs with: by its settings, else by `stack.json`."""
    from shared.settings import Settings, load, secret_of

    class Anywhere(Settings):
        needs_postgres: ClassVar[bool] = False

    # Only then: a command that signs nothing must not fail for another faulty setting.
    setting = os.environ.get("CROSSBORDER_PARTY_KEY") or os.environ.get(
        "CROSSBORDER_PARTY_KEY_FILE"
    )
    if env and (setting or SECRETS.is_dir()) and (pem := load(Anywhere).party_pem):
        return pem
    file = running.get("party_key_file")
    secret = secret_of(Path(str(file)), "CROSSBORDER_PARTY_KEY_FILE") if file else None
    return secret.encode() if secret else None


def _with_secret(dsn: str) -> str:
    """Return the DSN with `CROSSBORDER_POSTGRES_PASSWORD`, or its secret file, in it."""
    from shared.database import with_password
    from shared.settings import Settings, load

    class Anywhere(Settings):
        needs_postgres: ClassVar[bool] = False

    return with_password(dsn, load(Anywhere).database_password)
