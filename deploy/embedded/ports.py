"""The ports of the embedded stack and the settings that move them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from deploy.embedded import process
from shared.errors import Misconfigured

PORTS: Final = {
    "orders": 8101,
    "payments": 8102,
    "tax": 8103,
    "customs": 8104,
    "streams": 8105,
    "sandbox": 8106,
    "probe": 8107,
    "bank": 8110,
    "kafka": 9092,
    "kafka_controller": 9093,
}


def ports_from_environment() -> dict[str, int]:
    """Return the ports of the stack; CROSSBORDER_<NAME>_PORT moves one, 0 takes any free one."""
    ports = {}
    for name, usual in PORTS.items():
        setting = port_setting(name)
        given = os.environ.get(setting, str(usual))
        if not given.isdigit() or int(given) > 65535:
            raise Misconfigured(f"set {setting} to a port between 0 and 65535: ports {given!r}")
        ports[name] = int(given) or process.free_port()
    return ports


def require_distinct(ports: Mapping[str, int]) -> None:
    """Raise Misconfigured if two share a port, which a test of free ports would not notice."""
    first: dict[int, str] = {}
    for name, port in ports.items():
        other = first.setdefault(port, name)
        if other != name:
            raise Misconfigured(
                f"set {port_setting(other)} or {port_setting(name)} to another port: both are "
                f"{port}"
            )


def port_setting(name: str) -> str:
    return f"CROSSBORDER_{name.upper()}_PORT"
