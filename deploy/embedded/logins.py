"""Logins to a secured stack: what its programs and the command line get as settings."""

from __future__ import annotations

from pathlib import Path

from deploy.embedded.kafka import Secured
from shared.access import PRINCIPALS
from shared.topics import OPERATORS


def of_program(guard: Secured, home: Path, name: str) -> dict[str, str]:
    """Return a program's login as environment variables: files with its own passwords only."""
    user = name if name in PRINCIPALS else OPERATORS
    login = {
        "CROSSBORDER_KAFKA_SECURITY_PROTOCOL": guard.protocol,
        "CROSSBORDER_KAFKA_USER": user,
        "CROSSBORDER_KAFKA_PASSWORD_FILE": str(guard.password_file(user)),
        "CROSSBORDER_KAFKA_CA": str(guard.ca),
    }
    own = {
        "CROSSBORDER_POSTGRES_PASSWORD_FILE": f"postgres_{name}",
        "CROSSBORDER_PARTY_KEY_FILE": f"party_{name}",
    }
    files = {setting: home / "secrets" / file for setting, file in own.items()}
    return login | {setting: str(file) for setting, file in files.items() if file.exists()}


def of_operators(guard: Secured, home: Path) -> dict[str, str]:
    return {
        "kafka_security_protocol": guard.protocol,
        "kafka_user": OPERATORS,
        "kafka_password_file": str(guard.password_file(OPERATORS)),
        "kafka_ca": str(guard.ca),
        "party_key_file": str(home / "secrets" / f"party_{OPERATORS}"),
    }
