"""A state machine as a table: every pair that is missing from it is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

State = TypeVar("State")


class IllegalTransition(Exception):
    """The event is not allowed in this state."""

    def __init__(self, state: object, event: type) -> None:
        super().__init__(f"{event.__name__} is not allowed in state {state}")
        self.state = state
        self.event = event


class Transitions(Generic[State]):
    """A (state, event class) -> state table.

    An ignored event is a row with the same state as target.
    """

    def __init__(self, table: Mapping[tuple[State, type], State]) -> None:
        self._table = dict(table)

    def next(self, state: State, event: object) -> State:
        """Return the state after `event`. Raises IllegalTransition for a pair not in the table."""
        try:
            return self._table[state, type(event)]
        except KeyError:
            raise IllegalTransition(state, type(event)) from None

    def allows(self, state: State, event: object) -> bool:
        return (state, type(event)) in self._table

    def __iter__(self) -> Iterator[tuple[State, type, State]]:
        for (state, event), target in self._table.items():
            yield state, event, target

    def mermaid(self) -> str:
        """Return a mermaid state diagram for the docs, without rows that change nothing."""
        lines = ["stateDiagram-v2"]
        for state, event, target in self:
            if state != target:
                lines.append(f"    {_name(state)} --> {_name(target)}: {event.__name__}")
        return "\n".join(lines)


def _name(state: Any) -> str:
    return str(getattr(state, "value", state))
