"""How clients prove to the broker who they are, and whether the connection is encrypted."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

from shared.errors import Misconfigured

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
MECHANISM: Final = "SCRAM-SHA-512"
"""The only mechanism: the password never crosses the wire, and the broker keeps only a verifier."""
FETCH_BYTES: Final = 256 * 1024
"""Bytes that a reader fetches ahead from each partition: some hundred records.

They all lie in memory, for every partition with a lag. A larger record still comes, alone (KIP-74).
"""
METADATA_MS: Final = 5_000
"""Interval at which a reader asks for its topics again; aiokafka's default is five minutes.

A broker that has just started may answer that a topic has no partitions. The leader of the group
then assigns none to anybody, until the next answer.
"""


@dataclass(frozen=True)
class Security:
    """Settings of the connection to the broker. No text of this object shows the password."""

    protocol: Protocol = "PLAINTEXT"
    user: str = ""
    password: str = field(default="", repr=False)
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        if self.sasl and not (self.user and self.password):
            raise Misconfigured(
                f"set CROSSBORDER_KAFKA_USER and CROSSBORDER_KAFKA_PASSWORD_FILE: {self.protocol} "
                "asks who is there"
            )

    @property
    def sasl(self) -> bool:
        return self.protocol.startswith("SASL")

    @property
    def tls(self) -> bool:
        return self.protocol.endswith("SSL")

    @property
    def tells_apart(self) -> bool:
        """Tell whether the broker knows who writes: by a password or the client's certificate."""
        return self.sasl or (self.tls and self.certificate is not None)

    @cached_property
    def context(self) -> ssl.SSLContext | None:
        """Return the TLS context, which verifies host names; None without TLS.

        Raises Misconfigured for a file that cannot be read.
        """
        if not self.tls:
            return None
        try:
            made = ssl.create_default_context(cafile=self.ca)
            if self.certificate is not None:
                made.load_cert_chain(self.certificate, self.key)
        except OSError as error:
            raise Misconfigured(
                "mend CROSSBORDER_KAFKA_CA, CROSSBORDER_KAFKA_CERTIFICATE or "
                f"CROSSBORDER_KAFKA_KEY: {error.strerror or error} ({self.ca}, {self.certificate}, "
                f"{self.key})"
            ) from None
        return made

    def options(self) -> Mapping[str, Any]:
        """Return the security arguments of any aiokafka client; none for PLAINTEXT."""
        if self.protocol == "PLAINTEXT":
            return {}
        found: dict[str, Any] = {"security_protocol": self.protocol, "ssl_context": self.context}
        if self.sasl:
            found |= {
                "sasl_mechanism": MECHANISM,
                "sasl_plain_username": self.user,
                "sasl_plain_password": self.password,
            }
        return found


OPEN: Final = Security()
"""No users and no encryption: for the embedded stack on the loopback address."""
