"""The parties that the stack's own programs speak for: they are bound to keys like all others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from shared.parties import key_of

ADDED_BY: Final = "migrate"


def codes(probe_platform: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return by program the service whose intake it writes to, and the codes it speaks for."""
    from deploy.samples.generate import PLATFORM_CODE
    from sandbox.carrier.party import EXPRESS, POST

    return {
        "operators": ("orders", (PLATFORM_CODE, probe_platform)),
        "probe": ("orders", (probe_platform,)),
        "sandbox": ("customs", (EXPRESS.code, POST.code)),
        "shops": ("orders", (PLATFORM_CODE,)),
    }


async def register(dsn: str, keys: Mapping[str, bytes], probe_platform: str) -> list[str]:
    """Register each program's key for its codes; return `program code` of the new ones.

    A key that an operator removed stays removed. Raises Misconfigured for a faulty key.
    """
    import asyncpg

    if not keys:
        return []
    rows = [
        (program, schema, code, key_of(keys[program]).public_key().public_bytes_raw())
        for program, (schema, spoken_for) in codes(probe_platform).items()
        if program in keys
        for code in spoken_for
    ]
    conn = await asyncpg.connect(dsn)
    try:
        done = [
            await conn.execute(_ADD.format(schema), code, public, ADDED_BY)
            for _, schema, code, public in rows
        ]
    finally:
        await conn.close()
    return [
        f"{row[0]} {row[2]}" for row, bound in zip(rows, done, strict=True) if bound.endswith("1")
    ]


_ADD: Final = (
    "INSERT INTO {0}.party_key (code, public_key, added_by) VALUES ($1, $2, $3) ON "
    "CONFLICT DO NOTHING"
)
"""The schema is one of SERVICES."""
