"""Errors by the action that the caller takes. A refusal by a rule is an event, not an error."""

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
"""The reasons to give up a record. The metric's label and the documentation follow this list."""


class Unprocessable(Exception):
    """A message can never be handled as it is, and goes to the dead letters.

    `reason` is from a closed set, since it labels a metric. The text says what to mend and has no
    personal data.
    """

    def __init__(self, reason: UnprocessableReason, message: str) -> None:
        super().__init__(printable(message))
        self.reason = reason


def printable(text: str) -> str:
    """Return the text with U+FFFD in place of each character that cannot be printed.

    A text may quote input, and then goes to tables, headers and logs. PostgreSQL takes no U+0000,
    and nothing can encode half of a surrogate pair.
    """
    return (
        text
        if text.isprintable()
        else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    )


class Unavailable(Exception):
    """A system outside does not answer now. Wait a little and try again, for a bounded time."""


class TooManyGivenUp(Exception):
    """Too many records failed within a minute for reasons that nobody foresaw.

    The program must be at fault. So the process ends and gives up no further record.
    """


class Misconfigured(Exception):
    """A setting is wrong or missing. The first line names the setting and says what to do."""
