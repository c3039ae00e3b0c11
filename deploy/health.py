"""`python -m deploy.health healthz|readyz`: exit 0 if this container's process answers 200."""

from __future__ import annotations

import os
import sys
from typing import Final
from urllib.request import ProxyHandler, build_opener

TIMEOUT_S: Final = 4.0


def is_well(path: str, port: int) -> bool:
    """Return whether the process on this port answers 200.

    Proxies of the environment are ignored.
    """
    try:
        with build_opener(ProxyHandler({})).open(
            f"http://127.0.0.1:{port}/{path}", timeout=TIMEOUT_S
        ) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(
        0 if is_well(sys.argv[1], int(os.environ.get("CROSSBORDER_METRICS_PORT", "8100"))) else 1
    )
