"""Docker for these tests, and the stack they share.

They run when asked for: `make compose-test`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose.machine import Machine, Missing, say
from tests.compose.stack import Stack, copied

HOUR_S = 3600
PROJECT = "crossborder-test"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without `-m` nobody asked for them. What prepares the images may take its time."""
    mine = [item for item in items if item.get_closest_marker("compose")]
    for item in mine:
        item.add_marker(pytest.mark.timeout(HOUR_S))
    if mine and not config.option.markexpr:
        config.hook.pytest_deselected(items=mine)
        items[:] = [item for item in items if item not in mine]


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    """A machine with Docker, compose and every image but ours."""
    made = Machine()
    try:
        made.prepare()
    except Missing as missing:
        pytest.skip(f"NOT TRIED, no Docker here: {missing}")
    say(
        "official images: all"
        if not made.stand_ins
        else f"stand-ins, not the official images: {', '.join(made.stand_ins)}"
    )
    yield made
    made.close()


@pytest.fixture(scope="session")
def folder(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this tree with secrets of its own, and the product's image built from it."""
    made = copied(tmp_path_factory.mktemp("tree"))
    from deploy import secrets

    secrets.main(made / "secrets")
    Stack(machine, made, PROJECT, "minimal").build()
    return made
