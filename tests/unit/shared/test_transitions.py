"""A state machine is a table, and what is not in it is refused."""

import pytest

from shared.transitions import IllegalTransition, Transitions


class Opened: ...


class Closed: ...


DOOR = Transitions({("shut", Opened): "open", ("open", Closed): "shut", ("shut", Closed): "shut"})


def test_a_row_leads_to_its_target_and_an_ignored_event_stays() -> None:
    assert DOOR.next("shut", Opened()) == "open"
    assert DOOR.next("shut", Closed()) == "shut"


def test_a_pair_that_is_not_in_the_table_is_refused_by_name() -> None:
    with pytest.raises(IllegalTransition, match="Opened is not allowed in state open"):
        DOOR.next("open", Opened())


def test_the_diagram_shows_moves_and_not_what_is_ignored() -> None:
    assert DOOR.mermaid().splitlines() == [
        "stateDiagram-v2",
        "    shut --> open: Opened",
        "    open --> shut: Closed",
    ]
