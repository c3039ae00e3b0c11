"""The base of every event: a frozen fact in the past tense, without an id or a clock of its own."""

from __future__ import annotations

from typing import Any, ClassVar, Final, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict

EVENT_TYPES: Final[dict[str, type[Event]]] = {}
"""Wire type (`payment.captured.v1`) to class. Each class adds itself when it is declared."""


class UnknownEventType(ValueError):
    """This release does not know the wire type."""


class Fact(BaseModel):
    """A frozen piece of a message. Unknown fields of a newer writer are ignored."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", strict=False, ser_json_bytes="base64", val_json_bytes="base64"
    )

    def to_json(self) -> bytes:
        """Return the bytes for the wire: `model_dump_json` without a text in between."""
        return self.__pydantic_serializer__.to_json(self)


class Event(Fact):
    """One fact about one order. The envelope carries its id, cause and time."""

    type: ClassVar[str]

    order_id: UUID

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        wire_type = cls.__dict__.get("type")
        if wire_type is None:
            return
        if EVENT_TYPES.setdefault(wire_type, cls) is not cls:
            raise TypeError(f"two classes claim the wire type {wire_type}")

    @classmethod
    def from_json(cls, value: bytes) -> Self:
        """Read an event from the wire. Raises pydantic.ValidationError, a ValueError."""
        found: Self = cls.__pydantic_validator__.validate_json(value)
        return found


class Fault(Fact):
    """One reason of a refusal: which field broke which rule, the value found, the value expected.

    `code` is the field's own code, if there is one (1332, -621005 ...). `found` never carries an
    identity number, name, phone or address: the maker of the fault masks such values.
    """

    field: str
    rule: str
    found: str
    expected: str
    code: str | None = None


def event_type_of(wire_type: str) -> type[Event]:
    """Return the class of a wire type. Raises UnknownEventType for a type of another release."""
    try:
        return EVENT_TYPES[wire_type]
    except KeyError:
        raise UnknownEventType(f"event type {wire_type!r} is not known to this release") from None
