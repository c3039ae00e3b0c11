"""XML signatures over a whole message: made and checked (W3C XMLDSig, enveloped, C14N 20010315,
RSA-SHA256).

The specification prefers SM2 with SM3 and still knows RSA-SHA1. Neither serves here. SM2-SM3 keys
live in the smart-keys that the authority issues, and no signature library in use has them. SHA-1
collisions are cheap, so a SHA-1 signature proves nothing. RSA-SHA256 has the same structure: a
smart-key signer is another `sign`, and nothing else changes.
"""

from __future__ import annotations

import hashlib
import os
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID
from lxml import etree

from shared.errors import Misconfigured, Unprocessable
from shared.xml import XML_BYTES_MAX, XmlRefused, parse_untrusted

DS: Final = "http://www.w3.org/2000/09/xmldsig#"
C14N: Final = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
RSA_SHA256: Final = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
SHA256: Final = "http://www.w3.org/2001/04/xmlenc#sha256"
ENVELOPED: Final = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
KEY_BITS: Final = 2048
KEY_FILE: Final = "customs-signing.pem"
CERTIFICATE_FILE: Final = "customs-signing.crt"
_D: Final = f"{{{DS}}}"


class SignatureRefused(Unprocessable):
    """The signature is missing, of another kind, of another certificate, or not over the whole
    message.
    """

    def __init__(self, message: str) -> None:
        super().__init__("signature", message)


@dataclass(frozen=True, slots=True)
class Signer:
    key: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @classmethod
    def from_pem(cls, key: bytes, certificate: bytes) -> Self:
        try:
            private = serialization.load_pem_private_key(key, password=None)
            public = x509.load_pem_x509_certificate(certificate)
        except (ValueError, TypeError) as error:
            raise Misconfigured(f"give a PEM key and certificate to sign with: {error}") from None
        if (
            not isinstance(private, rsa.RSAPrivateKey)
            or private.public_key() != public.public_key()
        ):
            raise Misconfigured("the signing key must be RSA and belong to the signing certificate")
        return cls(private, public)

    @classmethod
    def from_dir(cls, keys: Path) -> Self:
        try:
            return cls.from_pem(
                (keys / KEY_FILE).read_bytes(), (keys / CERTIFICATE_FILE).read_bytes()
            )
        except OSError as error:
            raise Misconfigured(
                f"make the signing keys with `crossborder keys`: {error.filename} cannot be read"
            ) from None

    def bytes_added(self) -> int:
        """Return the bytes a signature adds: equal for every message, measured on a small one."""
        small = b"<?xml version='1.0' encoding='UTF-8'?>\n<a>b</a>"
        return len(self.sign(small)) - len(small)

    def sign(self, message: bytes) -> bytes:
        """Return the message with its signature as the root's last child.

        Raises XmlRefused, or SignatureRefused if signed already.
        """
        root = parse_untrusted(message)
        if root.find(f".//{_D}Signature") is not None:
            raise SignatureRefused("the message is signed already")
        self._add_signature(root, hashlib.sha256(_canonical(root)).digest())
        return _written(root)

    def sign_canonical(self, message: bytes) -> bytes:
        """Sign a message of `build`: a line with the XML declaration, and the root element in
        canonical form.

        The bytes are signed as they are, without a tree: the signature is made in the root without
        its content, and the content is put back. Raises XmlRefused for a message that is too large.
        """
        if len(message) > XML_BYTES_MAX:
            raise XmlRefused(
                f"a document has at most {XML_BYTES_MAX} bytes, this one has {len(message)}",
                "too_large",
            )
        begin = message.index(b"\n") + 1
        inside, end = message.index(b">", begin) + 1, message.rindex(b"</")
        root = parse_untrusted(message[:inside] + message[end:])
        self._add_signature(root, hashlib.sha256(message[begin:]).digest())
        signed = _written(root)
        behind = signed.index(b"<ds:Signature")
        return signed[:behind] + message[inside:end] + signed[behind:]

    def _add_signature(self, root: etree._Element, digest: bytes) -> None:
        signature = etree.SubElement(root, f"{_D}Signature", nsmap={"ds": DS})
        signed_info = etree.SubElement(signature, f"{_D}SignedInfo")
        etree.SubElement(signed_info, f"{_D}CanonicalizationMethod", Algorithm=C14N)
        etree.SubElement(signed_info, f"{_D}SignatureMethod", Algorithm=RSA_SHA256)
        reference = etree.SubElement(signed_info, f"{_D}Reference", URI="")
        transforms = etree.SubElement(reference, f"{_D}Transforms")
        etree.SubElement(transforms, f"{_D}Transform", Algorithm=ENVELOPED)
        etree.SubElement(reference, f"{_D}DigestMethod", Algorithm=SHA256)
        etree.SubElement(reference, f"{_D}DigestValue").text = b64encode(digest).decode()
        value = self.key.sign(_canonical(signed_info), padding.PKCS1v15(), hashes.SHA256())
        etree.SubElement(signature, f"{_D}SignatureValue").text = b64encode(value).decode()
        key_info = etree.SubElement(signature, f"{_D}KeyInfo")
        etree.SubElement(key_info, f"{_D}KeyName").text = f"{self.certificate.serial_number:x}"
        data = etree.SubElement(key_info, f"{_D}X509Data")
        der = self.certificate.public_bytes(serialization.Encoding.DER)
        etree.SubElement(data, f"{_D}X509Certificate").text = b64encode(der).decode()


def verify(message: bytes, certificate: x509.Certificate) -> bytes:
    """Return what was signed, canonical and without the signature: read this, not the message.

    Raises XmlRefused, SignatureRefused.

    Only one form is accepted, so no content can be wrapped: one signature, a direct child of the
    root, with one reference to the whole document (`URI=""`), by exactly these algorithms. The
    certificate is the caller's; keys named in the message are ignored.
    """
    root = parse_untrusted(message)
    signatures = root.findall(f".//{_D}Signature")
    if len(signatures) != 1 or signatures[0].getparent() is not root:
        raise SignatureRefused("a message has one signature, the root's own child")
    signature = signatures[0]
    signed_info, value = _only(signature, "SignedInfo"), _only(signature, "SignatureValue")
    expected = _digest_expected(signed_info)
    signed_info_bytes = _canonical(signed_info)
    _cut(signature)
    content = _canonical(root)
    if hashlib.sha256(content).digest() != expected:
        raise SignatureRefused("the message was altered after it was signed")
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        raise SignatureRefused("the certificate's key is not RSA")
    try:
        key.verify(_decoded(value), signed_info_bytes, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        raise SignatureRefused("the signature is not of this certificate") from None
    return content


def _digest_expected(signed_info: etree._Element) -> bytes:
    children = _exactly(signed_info, ("CanonicalizationMethod", "SignatureMethod", "Reference"))
    reference = children[2]
    transforms, method, digest = _exactly(reference, ("Transforms", "DigestMethod", "DigestValue"))
    steps = [_algorithm(step) for step in transforms]
    wanted = (
        _algorithm(children[0]) == C14N,
        _algorithm(children[1]) == RSA_SHA256,
        reference.get("URI") == "",
        all(step.tag == f"{_D}Transform" and not len(step) for step in transforms),
        # Some signers name the second step, which every reader performs anyway.
        steps in ([ENVELOPED], [ENVELOPED, C14N]),
        _algorithm(method) == SHA256,
    )
    if not all(wanted):
        raise SignatureRefused(
            "the signature must cover the whole document by enveloped C14N 20010315, SHA-256 and "
            "RSA"
        )
    return _decoded(digest)


def _exactly(element: etree._Element, names: Sequence[str]) -> list[etree._Element]:
    children = list(element)
    if [child.tag for child in children] != [f"{_D}{name}" for name in names]:
        raise SignatureRefused(
            f"{etree.QName(element).localname} must hold {', '.join(names)} and nothing else"
        )
    return children


def _only(element: etree._Element, name: str) -> etree._Element:
    children = element.findall(f"{_D}{name}")
    if len(children) != 1:
        raise SignatureRefused(f"a signature has one {name}")
    return children[0]


def _algorithm(element: etree._Element) -> str:
    return element.get("Algorithm") or ""


def _decoded(element: etree._Element) -> bytes:
    try:
        return b64decode("".join((element.text or "").split()), validate=True)
    except ValueError:
        raise SignatureRefused(f"{etree.QName(element).localname} is not base64") from None


def _canonical(element: etree._Element) -> bytes:
    canonical: bytes = etree.tostring(
        element, method="c14n", exclusive=False, with_comments=False, with_tail=False
    )
    return canonical


def _written(root: etree._Element) -> bytes:
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True)


def _cut(element: etree._Element) -> None:
    """Remove an element but not the text after it, which belongs to its parent and was signed."""
    parent = element.getparent()
    assert parent is not None
    tail, before = element.tail, element.getprevious()
    parent.remove(element)
    if tail and before is not None:
        before.tail = (before.tail or "") + tail
    elif tail:
        parent.text = (parent.text or "") + tail


def ensure_keys(
    keys: Path, common_name: str = "crossborder sandbox declarant"
) -> tuple[Path, Path]:
    key_path, certificate_path = keys / KEY_FILE, keys / CERTIFICATE_FILE
    if key_path.exists() and certificate_path.exists():
        return key_path, certificate_path
    keys.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=3650))
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write_private(key_path, pem)
    _write_private(certificate_path, certificate.public_bytes(serialization.Encoding.PEM))
    return key_path, certificate_path


def _write_private(path: Path, content: bytes) -> None:
    # Written under another name first: a process starting meanwhile must never read half a key.
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    partial.replace(path)
