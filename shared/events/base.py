"""What every event is: a frozen, self-sufficient fact in the past tense, with no id and no clock of its own inside."""

from __future__ import annotations

from typing import Any, ClassVar, Final, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict

EVENT_TYPES: Final[dict[str, type[Event]]] = {}
"""Wire type (`payment.captured.v1`) to class, filled as classes are declared."""


class UnknownEventType(ValueError):
    """The wire type is not one this release knows."""


class Fact(BaseModel):
    """A frozen piece of a message; unknown fields from a newer writer are ignored."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", strict=False, ser_json_bytes="base64", val_json_bytes="base64"
    )

    def to_json(self) -> bytes:
        """The bytes for the wire: `model_dump_json` without a text in between."""
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
        """Read from the wire; raises pydantic.ValidationError, a ValueError."""
        found: Self = cls.__pydantic_validator__.validate_json(value)
        return found


class Fault(Fact):
    """One reason of a refusal: which field broke which rule, what was found, what was expected.

    `code` is the field's own code where there is one (domain: 1332, -621005 ...). `found` never carries an identity
    number, name, phone or address: such values are masked by whoever makes the fault.
    """

    field: str
    rule: str
    found: str
    expected: str
    code: str | None = None


def event_type_of(wire_type: str) -> type[Event]:
    """The class of a wire type; raises UnknownEventType for one this release does not know."""
    try:
        return EVENT_TYPES[wire_type]
    except KeyError:
        raise UnknownEventType(f"event type {wire_type!r} is not known to this release") from None
