"""`python -m deploy.embedded.jars`: fetch the broker's jars now, so that nothing later waits for
them.
"""

from __future__ import annotations

import sys

from deploy.embedded.java import find_java, resolve_jars
from shared.errors import Misconfigured, Unavailable

if __name__ == "__main__":
    try:
        find_java()
        resolve_jars()
    except (Misconfigured, Unavailable) as error:
        sys.exit(str(error))
