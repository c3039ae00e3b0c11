"""Working days in China, with the days moved to weekends for them."""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from typing import Final

import holidays

_CHINA: Final = holidays.country_holidays("CN")


@lru_cache(maxsize=256)
def is_working_day(day: date) -> bool:
    """Whether offices are open. The days of a year are published in the autumn before it; until then only weekends are known."""
    return bool(_CHINA.is_working_day(day))
