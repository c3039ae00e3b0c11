"""The programs of the embedded stack, by the module that each runs."""

from __future__ import annotations

import sys
from typing import Final

MIGRATE: Final = (
    sys.executable,
    "-c",
    """
import asyncio, sys
from services import schema
from services.cli.access import own_parties

dsn, probe, *folder = sys.argv[1:]
asyncio.run(schema.migrate(dsn, schema.passwords_in(*folder)))
asyncio.run(own_parties.register(dsn, schema.party_keys_in(*folder), probe))
""",
)
"""The migration, run by a child: what deploys may not import what it deploys."""


MODULES: Final = {
    "sandbox": "sandbox",
    "orders": "services.orders.app",
    "payments": "services.payments.app",
    "tax": "services.tax.app",
    "customs": "services.customs.app",
    "streams": "services.orders.streams",
    "probe": "deploy.probe",
}


OPTIONAL: Final = ("probe",)
"""Not started by default: an embedded stack has no one on call, and extra orders would surprise."""
