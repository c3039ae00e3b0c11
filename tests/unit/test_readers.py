"""Who hears a topic is among its readers: the broker's rights are made from that table, and it lets nobody else in."""

from __future__ import annotations

import importlib

import pytest

from services.schema import SERVICES
from shared.topics import TOPICS


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_may_read_exactly_what_it_hears(service: str) -> None:
    hears = set(importlib.import_module(f"services.{service}.handlers").SUBSCRIPTIONS.sources)
    assert hears == {topic.name for topic in TOPICS if service in topic.readers}
