"""How a client proves to the broker who it is, and how the wire is closed: one object, given to every client."""

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
"""The one mechanism: the password itself never crosses the wire, and the broker keeps only a verifier of it."""
FETCH_BYTES: Final = 256 * 1024
"""What a reader fetches ahead of a partition: some hundred records, since all of it lies in memory, of every partition that is
behind. A larger record comes all the same (KIP-74), alone."""
METADATA_MS: Final = 5_000
"""How often a reader asks for its topics anew. A broker that has just started can answer that a topic has no partitions; the
leader of a group then gives nobody any, and nothing but the next answer says that this was wrong. aiokafka's default is five
minutes."""


@dataclass(frozen=True)
class Security:
    """What the settings say about the way to the broker; the password shows in no text of this object."""

    protocol: Protocol = "PLAINTEXT"
    user: str = ""
    password: str = field(default="", repr=False)
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        if self.sasl and not (self.user and self.password):
            raise Misconfigured(
                f"set CROSSBORDER_KAFKA_USER and CROSSBORDER_KAFKA_PASSWORD_FILE: {self.protocol} asks who is there"
            )

    @property
    def sasl(self) -> bool:
        return self.protocol.startswith("SASL")

    @property
    def tls(self) -> bool:
        return self.protocol.endswith("SSL")

    @property
    def tells_apart(self) -> bool:
        """Whether the broker knows who writes: by a password, or by the certificate of the client."""
        return self.sasl or (self.tls and self.certificate is not None)

    @cached_property
    def context(self) -> ssl.SSLContext | None:
        """The TLS context, host names verified; None without TLS. Raises Misconfigured for a file that cannot be read."""
        if not self.tls:
            return None
        try:
            made = ssl.create_default_context(cafile=self.ca)
            if self.certificate is not None:
                made.load_cert_chain(self.certificate, self.key)
        except OSError as error:
            raise Misconfigured(
                "mend CROSSBORDER_KAFKA_CA, CROSSBORDER_KAFKA_CERTIFICATE or CROSSBORDER_KAFKA_KEY: "
                f"{error.strerror or error} ({self.ca}, {self.certificate}, {self.key})"
            ) from None
        return made

    def options(self) -> Mapping[str, Any]:
        """What any client of aiokafka takes beside the bootstrap servers; empty for the open broker."""
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
"""No names and no encryption: the embedded stack on the loopback address."""
