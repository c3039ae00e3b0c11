"""Checks the declarant's enveloped signature [S22: XMLDSig, C14N 20010315], on a code path of its
own.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from lxml import etree

from sandbox.xml import DS

_C14N: Final = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
_ENVELOPED: Final = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
_DIGESTS: Final = {
    "http://www.w3.org/2000/09/xmldsig#sha1": hashlib.sha1,
    "http://www.w3.org/2001/04/xmlenc#sha256": hashlib.sha256,
}
_METHODS: Final[dict[str, hashes.HashAlgorithm]] = {
    "http://www.w3.org/2000/09/xmldsig#rsa-sha1": hashes.SHA1(),  # noqa: S303  the specification's own choice
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256": hashes.SHA256(),
    "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256": hashes.SHA256(),
}


class SignatureFault(Exception):
    """The signature is missing, wrong, or not of this document; `differs`: it is of other data."""

    def __init__(self, text: str, *, differs: bool = False) -> None:
        super().__init__(text)
        self.differs = differs


class Declarants:
    """The certificate on file, read again when the file changes: a new key needs no restart."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_at = 0
        self._certificate: x509.Certificate | None = None

    def check(self, root: etree._Element) -> None:
        """Raise SignatureFault unless the declarant signed all of the document.

        The Signature element is removed from `root`.
        """
        certificate = self._current()
        signatures = root.findall(f".//{{{DS}}}Signature")
        if len(signatures) != 1 or signatures[0].getparent() is not root:
            raise SignatureFault("the message must carry exactly one Signature, under its root")
        signature = signatures[0]
        signed = signature.find(f"{{{DS}}}SignedInfo")
        if signed is None:
            raise SignatureFault("SignedInfo is missing")
        signed_bytes = _canonical(signed)
        digest = _digest_wanted(signed)
        value = _decoded(signature.findtext(f"{{{DS}}}SignatureValue"))
        _verify(certificate, _algorithm(signed, "SignatureMethod"), value, signed_bytes)
        _take_out(signature, root)
        if _digest_method(signed)(_canonical(root)).digest() != digest:
            raise SignatureFault("the digest is of other data", differs=True)

    def _current(self) -> x509.Certificate:
        try:
            changed = self._path.stat().st_mtime_ns
            if self._certificate is None or changed != self._read_at:
                self._certificate = x509.load_pem_x509_certificate(self._path.read_bytes())
                self._read_at = changed
        except (OSError, ValueError):
            raise SignatureFault("no readable certificate of the declarant is on file") from None
        return self._certificate


def _canonical(element: etree._Element) -> bytes:
    return etree.tostring(element, method="c14n", with_comments=False)


def _algorithm(signed: etree._Element, name: str) -> str:
    element = signed.find(f".//{{{DS}}}{name}")
    return "" if element is None else element.get("Algorithm", "")


def _digest_method(signed: etree._Element) -> Callable[[bytes], Any]:
    method = _DIGESTS.get(_algorithm(signed, "DigestMethod"))
    if method is None:
        raise SignatureFault("the digest method is not one of SHA-1 and SHA-256")
    return method


def _digest_wanted(signed: etree._Element) -> bytes:
    """Return the digest of the one reference, which must be to the whole document, enveloped,
    canonical.
    """
    references = signed.findall(f"{{{DS}}}Reference")
    if len(references) != 1 or references[0].get("URI") != "":
        raise SignatureFault("the signature must have one reference, to the whole document")
    transforms = [t.get("Algorithm") for t in references[0].iter(f"{{{DS}}}Transform")]
    if _ENVELOPED not in transforms or not set(transforms) <= {_ENVELOPED, _C14N}:
        raise SignatureFault("the transforms must be the enveloped signature and C14N 20010315")
    if _algorithm(signed, "CanonicalizationMethod") != _C14N:
        raise SignatureFault("the canonicalisation must be C14N 20010315")
    return _decoded(references[0].findtext(f"{{{DS}}}DigestValue"))


def _verify(certificate: x509.Certificate, method: str, value: bytes, data: bytes) -> None:
    key, algorithm = certificate.public_key(), _METHODS.get(method)
    if algorithm is None:
        raise SignatureFault("the signature method is not accepted")
    try:
        if isinstance(key, rsa.RSAPublicKey) and "rsa" in method:
            key.verify(value, data, padding.PKCS1v15(), algorithm)
            return
        if isinstance(key, ec.EllipticCurvePublicKey) and "ecdsa" in method:
            half = len(value) // 2
            der = encode_dss_signature(int.from_bytes(value[:half]), int.from_bytes(value[half:]))
            key.verify(der, data, ec.ECDSA(algorithm))
            return
    except InvalidSignature:
        raise SignatureFault("the signature is not the declarant's") from None
    raise SignatureFault("the signature method does not fit the certificate on file")


def _decoded(text: str | None) -> bytes:
    try:
        return base64.b64decode("".join((text or "").split()), validate=True)
    except ValueError:
        raise SignatureFault("a value in the signature is not Base64") from None


def _take_out(signature: etree._Element, root: etree._Element) -> None:
    tail, before = signature.tail, signature.getprevious()
    root.remove(signature)
    if not tail:
        return
    if before is None:
        root.text = (root.text or "") + tail
    else:
        before.tail = (before.tail or "") + tail
