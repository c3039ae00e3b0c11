"""Kafka's requests about access rights and SCRAM users, as far as aiokafka lacks them."""

# aiokafka's admin client creates one right with each request, and knows no SCRAM users (KIP-554).
# These requests are therefore built from aiokafka's own protocol types.
# A password crosses the wire only as its salted hash. Kafka's own tools would take the password
# as a program argument; here no program does.

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiokafka.protocol.admin import CreateAclsRequest_v1, DeleteAclsRequest_v1
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    CompactArray,
    CompactBytes,
    CompactString,
    Int8,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from shared.access import Grant

SCRAM_ITERATIONS: Final = 8192
SCRAM_SHA_512: Final = 2
"""The number of the mechanism in the protocol."""


def wire_entry(grant: Grant) -> tuple[int, str, int, str, str, int, int]:
    """Return the right as an entry of a request: its fields in the protocol's order."""
    return (
        grant.kind,
        grant.name,
        grant.pattern,
        f"User:{grant.principal}",
        grant.host,
        grant.operation,
        grant.permission,
    )


class CreateGrants(Request[CreateAclsRequest_v1]):  # type: ignore[misc]
    """A request that creates many rights."""

    API_KEY = 30

    def __init__(self, wanted: Sequence[Grant]) -> None:
        self._wanted = wanted

    def build(self, request_struct_class: type[CreateAclsRequest_v1]) -> CreateAclsRequest_v1:
        return request_struct_class([wire_entry(grant) for grant in self._wanted])


class DeleteGrants(Request[DeleteAclsRequest_v1]):  # type: ignore[misc]
    """A request that deletes many rights."""

    API_KEY = 31

    def __init__(self, stale: Sequence[Grant]) -> None:
        self._stale = stale

    def build(self, request_struct_class: type[DeleteAclsRequest_v1]) -> DeleteAclsRequest_v1:
        return request_struct_class([wire_entry(grant) for grant in self._stale])


class _DescribedUsers(Response):  # type: ignore[misc]
    API_KEY = 50
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("error_message", CompactString("utf-8")),
        ("results", CompactArray(
            ("user", CompactString("utf-8")),
            ("error_code", Int16),
            ("error_message", CompactString("utf-8")),
            ("credentials", CompactArray(
                ("mechanism", Int8), ("iterations", Int32), ("tags", TaggedFields)
            )),
            ("tags", TaggedFields),
        )),
        ("tags", TaggedFields),
    )  # fmt: skip


class _DescribeUsersV0(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 50
    API_VERSION = 0
    RESPONSE_TYPE = _DescribedUsers
    SCHEMA = Schema(
        ("users", CompactArray(("name", CompactString("utf-8")), ("tags", TaggedFields))),
        ("tags", TaggedFields),
    )  # fmt: skip


class DescribeUsers(Request[_DescribeUsersV0]):  # type: ignore[misc]
    """A request that lists all users with a SCRAM password."""

    API_KEY = 50

    def build(self, request_struct_class: type[_DescribeUsersV0]) -> _DescribeUsersV0:
        return request_struct_class(None, {})


class _AlteredUsers(Response):  # type: ignore[misc]
    API_KEY = 51
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("results", CompactArray(
            ("user", CompactString("utf-8")),
            ("error_code", Int16),
            ("error_message", CompactString("utf-8")),
            ("tags", TaggedFields),
        )),
        ("tags", TaggedFields),
    )  # fmt: skip


class _AlterUsersV0(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 51
    API_VERSION = 0
    RESPONSE_TYPE = _AlteredUsers
    SCHEMA = Schema(
        ("deletions", CompactArray(
            ("name", CompactString("utf-8")), ("mechanism", Int8), ("tags", TaggedFields)
        )),
        ("upsertions", CompactArray(
            ("name", CompactString("utf-8")),
            ("mechanism", Int8),
            ("iterations", Int32),
            ("salt", CompactBytes),
            ("salted_password", CompactBytes),
            ("tags", TaggedFields),
        )),
        ("tags", TaggedFields),
    )  # fmt: skip


class AlterUsers(Request[_AlterUsersV0]):  # type: ignore[misc]
    """A request that sets the passwords of some users and deletes others."""

    API_KEY = 51

    def __init__(self, passwords: Mapping[str, str], gone: Sequence[str]) -> None:
        """`passwords`: in clear, by user; `gone`: the users to delete."""
        self._passwords = passwords
        self._gone = gone

    def build(self, request_struct_class: type[_AlterUsersV0]) -> _AlterUsersV0:
        rows: list[tuple[Any, ...]] = []
        for user, password in self._passwords.items():
            salt = os.urandom(16)
            salted = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, SCRAM_ITERATIONS)
            rows.append((user, SCRAM_SHA_512, SCRAM_ITERATIONS, salt, salted, {}))
        return request_struct_class([(user, SCRAM_SHA_512, {}) for user in self._gone], rows, {})
