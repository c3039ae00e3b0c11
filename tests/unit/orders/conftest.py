"""A valid submission and the means to break it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from deploy.samples import submission
from services.orders.intake.decoding import read_submission
from services.orders.intake.submission import Submitted
from services.orders.intake.validation import validate
from shared.events.base import Fault

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def read(document: dict[str, Any]) -> Submitted:
    (found,) = read_submission(json.dumps(document).encode(), ())
    assert isinstance(found, Submitted)
    return found


@pytest.fixture
def order() -> dict[str, Any]:
    return submission("cherries", 1, seed=1)


@pytest.fixture
def faults_of() -> Callable[[dict[str, Any]], tuple[Fault, ...]]:
    return lambda document: validate(read(document), NOW)
