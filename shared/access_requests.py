"""Kafka's requests about rights and users, as far as aiokafka lacks them.

aiokafka's admin client makes one right a request and has no SCRAM users, so these requests are made of its own protocol types.
A password crosses the wire as its salted hash only. It is no argument of any program, as it would be with Kafka's tools."""

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


def wire_entry(grant: Grant) -> tuple[int, str, int, str, str, int, int]:
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
    """Makes many rights in one request."""

    API_KEY = 30

    def __init__(self, wanted: Sequence[Grant]) -> None:
        self._wanted = wanted

    def build(self, request_struct_class: type[CreateAclsRequest_v1]) -> CreateAclsRequest_v1:
        return request_struct_class([wire_entry(grant) for grant in self._wanted])


class DeleteGrants(Request[DeleteAclsRequest_v1]):  # type: ignore[misc]
    """Deletes many rights in one request."""

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
    API_KEY = 51

    def __init__(self, passwords: Mapping[str, str], gone: Sequence[str]) -> None:
        self._passwords = passwords
        self._gone = gone

    def build(self, request_struct_class: type[_AlterUsersV0]) -> _AlterUsersV0:
        rows: list[tuple[Any, ...]] = []
        for user, password in self._passwords.items():
            salt = os.urandom(16)
            salted = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, SCRAM_ITERATIONS)
            rows.append((user, SCRAM_SHA_512, SCRAM_ITERATIONS, salt, salted, {}))
        return request_struct_class([(user, SCRAM_SHA_512, {}) for user in self._gone], rows, {})
