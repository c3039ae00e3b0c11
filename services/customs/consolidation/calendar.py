"""Working days in China, with the weekend days worked in their place."""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from typing import Final

import holidays

_CHINA: Final = holidays.country_holidays("CN")


@lru_cache(maxsize=256)
def is_working_day(day: date) -> bool:
    """Return whether offices are open. A year's holidays are published the autumn before; until
    then only weekends count.
    """
    return bool(_CHINA.is_working_day(day))
