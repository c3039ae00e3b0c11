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


def security_of(found: Mapping[str, Any], *, env: bool = True) -> Security:
    """How a command shows itself to the broker: by its own settings, else as the embedded stack wrote down."""
    from shared.settings import Settings, load, secret_of

    class Anywhere(Settings):
        needs_postgres: ClassVar[bool] = False

    if env and (os.environ.get("CROSSBORDER_KAFKA") or not found):
        return load(Anywhere).kafka_security
    if "kafka_security_protocol" not in found:
        return OPEN
    secret = secret_of(Path(str(found["kafka_password_file"])), "CROSSBORDER_KAFKA_PASSWORD_FILE")
    return Security(
        found["kafka_security_protocol"],
        str(found["kafka_user"]),
        secret or "",
        Path(str(found["kafka_ca"])),
    )


def party_pem_of(found: Mapping[str, Any], *, env: bool = True) -> bytes | None:
    """The key with which a command signs what it publishes: by its own settings, else as the embedded stack wrote down."""
    from shared.settings import Settings, load, secret_of

    class Anywhere(Settings):
        needs_postgres: ClassVar[bool] = False

    # Only then: a command that signs nothing is not held up by another setting that is wrong.
    said = os.environ.get("CROSSBORDER_PARTY_KEY") or os.environ.get("CROSSBORDER_PARTY_KEY_FILE")
    if env and (said or SECRETS.is_dir()) and (pem := load(Anywhere).party_pem):
        return pem
    file = found.get("party_key_file")
    secret = secret_of(Path(str(file)), "CROSSBORDER_PARTY_KEY_FILE") if file else None
    return secret.encode() if secret else None


def _with_secret(dsn: str) -> str:
    """The DSN with `CROSSBORDER_POSTGRES_PASSWORD`, or the secret file of that name, in it."""
    from shared.database import with_password
    from shared.settings import Settings, load

    class Anywhere(Settings):
        needs_postgres: ClassVar[bool] = False

    return with_password(dsn, load(Anywhere).database_password)
