"""`make secrets`: random passwords, keys and certificates in a folder outside of commits and
images.
"""

from __future__ import annotations

import base64
import importlib.util
import ipaddress
import secrets
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from cryptography import x509

NAMES: Final = (
    "postgres_admin",
    "postgres_orders",
    "postgres_payments",
    "postgres_tax",
    "postgres_customs",
    "kafka_admin",
    "kafka_broker",
    "kafka_carriers",
    "kafka_customs",
    "kafka_operators",
    "kafka_orders",
    "kafka_payments",
    "kafka_probe",
    "kafka_sandbox",
    "kafka_shops",
    "kafka_streams",
    "kafka_tax",
    "grafana_admin",
    "party_operators",
    "party_probe",
    "party_sandbox",
    "party_shops",
)
"""Passwords of the database's roles and the broker's users (`shared/topics.py`), and signing keys.

A key belongs to a program that acts as a platform or carrier
(`services/cli/access/own_parties.py`).
"""
TLS: Final = "tls"
HOSTS: Final = {
    "kafka": (
        "kafka",
        "kafka1",
        "kafka2",
        "kafka3",
        "kafka-1",
        "kafka-2",
        "kafka-3",
        "localhost",
        "127.0.0.1",
    ),
    "postgres": ("postgres", "localhost", "127.0.0.1"),
}
"""The servers with a certificate, and the names under which clients reach them."""
CA_DAYS: Final = 3650
SERVER_DAYS: Final = 820


def make(folder: Path) -> list[str]:
    """Make the passwords and keys that are missing; return the names of the new ones.

    The folder is closed to other users. Its files are readable, because compose mounts them
    unchanged into containers with users of their own.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    made = [name for name in NAMES if not (folder / name).exists()]
    for name in made:
        _write(
            folder / name,
            _party_key() if name.startswith("party_") else secrets.token_hex(24).encode(),
        )
    return made


def _party_key() -> bytes:
    """Return a private Ed25519 key as PEM (RFC 8410, 7).

    Any 32 bytes are one, so no library is needed.
    """
    text = base64.b64encode(
        bytes.fromhex("302e020100300506032b657004220420") + secrets.token_bytes(32)
    ).decode()
    return f"-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n".encode()


def make_certificates(folder: Path) -> list[str]:
    """Make the missing authority and server certificates in `folder/tls`; return the names of the
    new.

    Each server has `NAME.crt`, `NAME.key` and both as `NAME.pem`; clients need `ca.crt` only. To
    renew a server's certificate, delete its files; to renew the authority, also delete `ca.key`.
    """
    tls = folder / TLS
    tls.mkdir(mode=0o755, parents=True, exist_ok=True)
    made = []
    if not (tls / "ca.key").exists():
        _authority(tls)
        made.append("ca")
    for name, hosts in HOSTS.items():
        if "ca" in made or not (tls / f"{name}.pem").exists():
            _server(tls, name, hosts)
            made.append(name)
    return made


def _authority(tls: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = _named("crossborder authority")
    built = _builder(name, name, key.public_key(), CA_DAYS)
    built = built.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    built = built.add_extension(_usage(signs=True), critical=True)
    _write_pair(tls, "ca", key, built, key)


def _server(tls: Path, name: str, hosts: tuple[str, ...]) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from cryptography.x509.oid import ExtendedKeyUsageOID

    authority = x509.load_pem_x509_certificate((tls / "ca.crt").read_bytes())
    signer: Any = load_pem_private_key((tls / "ca.key").read_bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    built = _builder(_named(name), authority.subject, key.public_key(), SERVER_DAYS)
    built = built.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    built = built.add_extension(_usage(signs=False), critical=True)
    # A broker is a client of the other brokers.
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    built = built.add_extension(both, critical=False)
    built = built.add_extension(
        x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False
    )
    _write_pair(tls, name, key, built, signer)


def _named(name: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _host(host: str) -> x509.GeneralName:
    from cryptography import x509

    return x509.IPAddress(ipaddress.ip_address(host)) if host[0].isdigit() else x509.DNSName(host)


def _usage(*, signs: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, public: Any, days: int
) -> x509.CertificateBuilder:
    from cryptography import x509

    now = datetime.now(UTC)
    return x509.CertificateBuilder(
        issuer,
        subject,
        public,
        x509.random_serial_number(),
        now - timedelta(hours=1),
        now + timedelta(days=days),
    )


def _write_pair(
    tls: Path, name: str, key: Any, built: x509.CertificateBuilder, signer: Any
) -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    certificate = built.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write(tls / f"{name}.crt", certificate)
    if name != "ca":
        chain = private + certificate + (tls / "ca.crt").read_bytes()
        _write(tls / f"{name}.pem", chain)
    # The authority's key is for this machine's user only; a server's is mounted into a container.
    _write(tls / f"{name}.key", private, 0o400 if name == "ca" else 0o444)


def _write(file: Path, text: bytes, mode: int = 0o444) -> None:
    partial = file.with_name(f".{file.name}.part")
    partial.unlink(missing_ok=True)
    partial.touch(0o600)
    partial.write_bytes(text)
    partial.chmod(mode)
    partial.replace(file)


def main(folder: Path) -> None:
    made = make(folder)
    if importlib.util.find_spec("cryptography"):
        made += [f"{TLS}/{name}" for name in make_certificates(folder)]
    else:
        sys.stderr.write(
            "no certificates: this Python lacks `cryptography`, "
            "and only the stack with TLS needs them\n"
        )
    sys.stderr.write(
        f"made {', '.join(made)}\n" if made else "nothing to do: every secret is there\n"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
