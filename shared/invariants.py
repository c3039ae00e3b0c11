"""What must always be true of a service's live tables, written as the query that finds what breaks it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Invariant:
    """`sql` names its tables with their schema and returns the offending ids as text. Where they are no orders' ids, one that
    compares services' tables returns as a second column the orders each is about, as an array of text.

    `name` labels a metric; `says` is the sentence shown to a person when a row is found.
    """

    name: str
    sql: str
    says: str
