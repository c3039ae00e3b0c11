"""Errors told apart by what the caller does about them; a refusal is no error but an event."""

from __future__ import annotations

from typing import Final, Literal, get_args

UnprocessableReason = Literal[
    "malformed",
    "too_large",
    "unknown_shape",
    "invalid_value",
    "illegal_transition",
    "integrity",
    "signature",
    "id_reused",
    "unexpected",
]
UNPROCESSABLE_REASONS: Final[tuple[UnprocessableReason, ...]] = get_args(UnprocessableReason)
"""Why a record is given up, in one place: the metric's label and the documentation follow it."""


class Unprocessable(Exception):
    """This message can never be handled as it is: it goes to the dead letters.

    `reason` is from a closed set, since it labels a metric; the text says what to mend and carries no personal data.
    """

    def __init__(self, reason: UnprocessableReason, message: str) -> None:
        super().__init__(printable(message))
        self.reason = reason


def printable(text: str) -> str:
    """The text with U+FFFD for what cannot be printed: a text that quotes what came is kept in tables, headers and logs.

    PostgreSQL takes no U+0000, and nothing can encode half of a surrogate pair.
    """
    return (
        text
        if text.isprintable()
        else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    )


class Unavailable(Exception):
    """Something outside does not answer now: wait a little and try the same again, for a bounded time."""


class TooManyGivenUp(Exception):
    """So many records fail within a minute for reasons nobody foresaw that the fault is ours: the process ends, none is given up."""


class Misconfigured(Exception):
    """A setting is wrong or missing; the first line says which and what to do."""
