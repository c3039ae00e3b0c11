"""A signature covers the whole message, also for others, and cannot be moved, wrapped or weakened."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from lxml import etree
from signxml.signer import XMLSigner
from signxml.verifier import XMLVerifier

from services.customs.ceb.build import build_import_lists
from services.customs.ceb.parse import to_json
from services.customs.ceb.sign import C14N, DS, SignatureRefused, Signer, ensure_keys, verify
from shared.errors import Misconfigured
from shared.xml import XML_BYTES_MAX, XmlRefused
from tests.contract.ceb.samples import GUID, TRANSFER, import_list


@pytest.fixture(scope="module")
def message() -> bytes:
    return build_import_lists(
        GUID, TRANSFER, [import_list(buyer_name="O'Neil & <Söhne>\r\n", note="\t a ")]
    )


def pem(signer: Signer) -> bytes:
    return signer.certificate.public_bytes(serialization.Encoding.PEM)


def test_what_was_signed_is_what_verification_returns(signer: Signer, message: bytes) -> None:
    content = verify(signer.sign(message), signer.certificate)
    assert to_json(content) == to_json(message)
    assert b"Signature" not in content


def test_another_implementation_verifies_ours(signer: Signer, message: bytes) -> None:
    for signed in (signer.sign(message), signer.sign_canonical(message)):
        read: Any = XMLVerifier().verify(signed, x509_cert=pem(signer).decode())
        assert read.signed_xml.tag == "{http://www.chinaport.gov.cn/ceb}CEB621Message"


def test_what_is_signed_as_it_is_written_is_no_larger_than_a_document_may_be(
    signer: Signer, message: bytes
) -> None:
    large = message.replace(b"<note>", b"<note>" + b"x" * XML_BYTES_MAX)
    with pytest.raises(XmlRefused, match="at most"):
        signer.sign_canonical(large)


def test_ours_verifies_another_implementation(signer: Signer, message: bytes) -> None:
    other = XMLSigner(
        c14n_algorithm=C14N, signature_algorithm="rsa-sha256", digest_algorithm="sha256"
    )
    key = signer.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    signed = etree.tostring(
        other.sign(etree.fromstring(message), key=key, cert=pem(signer).decode())
    )
    assert to_json(verify(signed, signer.certificate)) == to_json(message)


def test_a_changed_message_is_refused(signer: Signer, message: bytes) -> None:
    altered = signer.sign(message).replace(b"172.00", b"172.01")
    with pytest.raises(SignatureRefused, match="altered"):
        verify(altered, signer.certificate)


def test_a_changed_signed_info_is_refused(signer: Signer, message: bytes) -> None:
    signed = etree.fromstring(signer.sign(message))
    other = etree.fromstring(signer.sign(message.replace(b"172.00", b"999.00")))
    tag = f".//{{{DS}}}DigestValue"
    theirs = other.find(tag)
    assert theirs is not None
    theirs.text = signed.findtext(tag)
    with pytest.raises(SignatureRefused):
        verify(etree.tostring(other), signer.certificate)


def test_another_certificate_is_refused(signer: Signer, message: bytes, tmp_path: Path) -> None:
    ensure_keys(tmp_path)
    with pytest.raises(SignatureRefused, match="not of this certificate"):
        verify(signer.sign(message), Signer.from_dir(tmp_path).certificate)


def test_a_message_without_signature_is_refused(signer: Signer, message: bytes) -> None:
    with pytest.raises(SignatureRefused, match="one signature"):
        verify(message, signer.certificate)


def test_signing_twice_is_refused(signer: Signer, message: bytes) -> None:
    with pytest.raises(SignatureRefused, match="signed already"):
        signer.sign(signer.sign(message))


def test_a_signed_message_wrapped_in_another_is_refused(signer: Signer, message: bytes) -> None:
    """The attack: a false message around, the true one with its valid signature inside."""
    true = etree.fromstring(signer.sign(message))
    false = etree.fromstring(message.replace(b"172.00", b"1.00"))
    extension = etree.SubElement(false, "{http://www.chinaport.gov.cn/ceb}ExtendMessage")
    extension.append(true)
    with pytest.raises(SignatureRefused, match="root's own child"):
        verify(etree.tostring(false), signer.certificate)


def test_a_signature_moved_to_a_false_message_that_keeps_the_true_one_is_refused(
    signer: Signer, message: bytes
) -> None:
    true = etree.fromstring(signer.sign(message))
    signature = true.find(f"{{{DS}}}Signature")
    assert signature is not None
    false = etree.fromstring(message.replace(b"172.00", b"1.00"))
    true.set("Id", "true")
    etree.SubElement(false, "{http://www.chinaport.gov.cn/ceb}ExtendMessage").append(true)
    false.append(signature)
    for uri in ("", "#true"):
        reference = signature.find(f".//{{{DS}}}Reference")
        assert reference is not None
        reference.set("URI", uri)
        with pytest.raises(SignatureRefused):
            verify(etree.tostring(false), signer.certificate)


@pytest.mark.parametrize(
    ("strong", "weak"),
    [
        (b"2001/04/xmldsig-more#rsa-sha256", b"2000/09/xmldsig#rsa-sha1"),
        (b"2001/04/xmldsig-more#rsa-sha256", b"2000/09/xmldsig#hmac-sha1"),
        (b"2001/04/xmlenc#sha256", b"2000/09/xmldsig#sha1"),
        (b"xmldsig#enveloped-signature", b"xmldsig#base64"),
        (b"REC-xml-c14n-20010315", b"REC-xml-c14n-20010315#WithComments"),
    ],
)
def test_any_other_algorithm_is_refused(
    signer: Signer, message: bytes, strong: bytes, weak: bytes
) -> None:
    signed = signer.sign(message)
    assert strong in signed
    with pytest.raises(SignatureRefused):
        verify(signed.replace(strong, weak), signer.certificate)


def test_a_second_reference_is_refused(signer: Signer, message: bytes) -> None:
    root = etree.fromstring(signer.sign(message))
    info = root.find(f".//{{{DS}}}SignedInfo")
    assert info is not None
    info.append(etree.fromstring(etree.tostring(info[2])))
    with pytest.raises(SignatureRefused, match="nothing else"):
        verify(etree.tostring(root), signer.certificate)


def test_keys_are_made_once_and_for_the_owner_only(tmp_path: Path) -> None:
    key, certificate = ensure_keys(tmp_path / "keys")
    before = key.read_bytes()
    assert ensure_keys(tmp_path / "keys") == (key, certificate)
    assert key.read_bytes() == before
    for path in (key, certificate):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_that_is_not_the_certificates_stops_the_start(tmp_path: Path) -> None:
    one, other = ensure_keys(tmp_path / "one"), ensure_keys(tmp_path / "other")
    with pytest.raises(Misconfigured, match="belong to the signing certificate"):
        Signer.from_pem(one[0].read_bytes(), other[1].read_bytes())
    with pytest.raises(Misconfigured, match="cannot be read"):
        Signer.from_dir(tmp_path / "nowhere")
