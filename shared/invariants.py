"""Laws about the live tables of a service, each written as a query that finds violations."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Invariant:
    """One law, and the query that finds violations.

    `sql` names each table with its schema and returns the offending ids as text. A query may
    compare tables of several services and return ids other than order ids. In that case a second
    column has the orders of each id, as an array of text.

    `name` labels a metric. People see the sentence `says` when the query finds a row.
    """

    name: str
    sql: str
    says: str
