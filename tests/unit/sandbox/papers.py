"""Orders, documents and declarations as they come over the wire, and a declarant who signs with a
library of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from lxml import etree
from signxml.algorithms import (
    CanonicalizationMethod,
    DigestAlgorithm,
    SignatureConstructionMethod,
    SignatureMethod,
)
from signxml.signer import XMLSigner

from sandbox.documents import PaymentDocument, SubmittedOrder, WaybillDocument
from sandbox.order_reader import read_submissions
from sandbox.xml import CEB

NOW: Final = 1795398000.0  # 2026-11-23T09:00+08:00
BUYER: Final = "11010519491231002X"
PLATFORM: Final = "1105910159"
ENTERPRISE: Final = "4601630004"


def submission(order_no: str = "SHOP1-000001", **changed: Any) -> bytes:
    """A submission of two kilograms of cherries for 204.10."""
    document: dict[str, Any] = {
        "order_no": order_no,
        "placed_at": "2026-11-23T09:00:00+08:00",
        "direction": "import",
        "mode": "9610",
        "platform": {"code": PLATFORM, "name": "Example Platform"},
        "merchant": {"code": "46016602EV", "name": "Example Cherries Ltd", "country": "US"},
        "buyer": {"name": "张三", "id_type": "1", "id_number": BUYER, "phone": "13800000000"},
        "consignee": {
            "name": "李四",
            "phone": "13900000000",
            "country": "CN",
            "region": "Shanghai",
            "city": "Shanghai",
            "address": "世纪大道1号",
            "postcode": "200000",
        },
        "payment": {
            "enterprise_code": ENTERPRISE,
            "token": "tok_ok",
            "payer": {"name": "张三", "id_type": "1", "id_number": BUYER},
        },
        "currency": "CNY",
        "lines": [
            {
                "line_no": 1,
                "sku": "CHERRY-US-1KG",
                "name": "Sweet cherries, fresh",
                "hs_code": "0809290000",
                "origin": "US",
                "brand": None,
                "quantity": "2",
                "unit": "kg",
                "net_weight_kg": "2.000",
                "net_content": None,
                "unit_price": "86.00",
                "total": "172.00",
            }
        ],
        "goods_value": "172.00",
        "freight": "20.00",
        "insurance": "0.00",
        "discount": "0.00",
        "tax_withheld": "12.10",
        "amount_paid": "204.10",
    }
    return orjson.dumps(document | changed)


def read(value: bytes) -> SubmittedOrder:
    (found,) = read_submissions(value, ())
    return found


def payment_of(order: SubmittedOrder, **changed: Any) -> PaymentDocument:
    paid = PaymentDocument(
        str(order.order_id), "P1", str(order.amount_paid), order.currency, ENTERPRISE, BUYER
    )
    return replace(paid, **changed)


def waybill_of(order: SubmittedOrder, **changed: Any) -> WaybillDocument:
    to = order.consignee
    return replace(
        WaybillDocument(str(order.order_id), "31229908QR", "YT1", to.name, to.phone, to.address),
        **changed,
    )


def guid() -> str:
    return str(uuid4()).upper()


def _element(name: str, fields: dict[str, Any]) -> str:
    inside = "".join(
        f"<{key}>{value}</{key}>" for key, value in fields.items() if value is not None
    )
    return f"<{name}>{inside}</{name}>"


def _message(code: str, body: str) -> bytes:
    transfer = {
        "copCode": "1105910159",
        "copName": "Agent",
        "dxpMode": "DXP",
        "dxpId": "DXPENT0000530815",
    }
    return (
        f'<CEB{code}Message xmlns="{CEB}" guid="{guid()}" version="1.0">{body}'
        f"{_element('BaseTransfer', transfer)}</CEB{code}Message>"
    ).encode()


def _common(app_type: str, app_time: str) -> dict[str, Any]:
    return {
        "guid": guid(),
        "appType": app_type,
        "appTime": app_time,
        "appStatus": "2",
        "customsCode": "2244",
        "agentCode": "1105910159",
        "agentName": "Agent",
        "ebcCode": "46016602EV",
        "ebcName": "Example Cherries Ltd",
        "ebpCode": PLATFORM,
        "ebpName": "Example Platform",
    }


def list_621(
    order: SubmittedOrder,
    cop_no: str = "COP1",
    *,
    app_type: str = "1",
    app_time: str = "20261123090000",
    head: dict[str, Any] | None = None,
    line: dict[str, Any] | None = None,
    times: int = 1,
) -> bytes:
    """A CEB621Message of one list (or the same list `times` times) for an order of one line."""
    fields = _common(app_type, app_time) | {
        "orderNo": order.order_no,
        "logisticsNo": "YT1",
        "logisticsCode": "31229908QR",
        "logisticsName": "Express",
        "copNo": cop_no,
        "assureCode": "1105910159",
        "ieFlag": "I",
        "declTime": "20261123",
        "portCode": "2233",
        "buyerIdType": "1",
        "buyerIdNumber": order.buyer_id,
        "buyerName": order.buyer_name,
        "buyerTelephone": order.buyer_phone,
        "consigneeAddress": "世纪大道1号",
        "tradeMode": "9610",
        "trafMode": "5",
        "country": "502",
        "freight": "20.00",
        "insuredFee": "0",
        "currency": "142",
        "packNo": "1",
        "grossWeight": "2.1",
        "netWeight": "2.0",
    }
    return _message("621", _inventory(order, fields | (head or {}), "502", line or {}) * times)


def list_603(order: SubmittedOrder, cop_no: str = "COP1") -> bytes:
    fields = _common("1", "20261123090000") | {
        "orderNo": order.order_no,
        "logisticsNo": "YT1",
        "logisticsCode": "31229908QR",
        "copNo": cop_no,
        "ieFlag": "E",
        "portCode": "2233",
        "ieDate": "20261123",
        "statisticsFlag": "A",
        "ownerCode": "NO",
        "ownerName": "Owner",
        "tradeMode": "9610",
        "trafMode": "5",
        "country": "344",
        "POD": "344",
        "freight": "20.00",
        "fCurrency": "142",
        "fFlag": "3",
        "insuredFee": "0",
        "iCurrency": "142",
        "iFlag": "3",
        "wrapType": "2",
        "packNo": "1",
        "grossWeight": "2.1",
        "netWeight": "2.0",
    }
    return _message("603", _inventory(order, fields, "344", {}))


def _inventory(
    order: SubmittedOrder, head: dict[str, Any], country: str, line: dict[str, Any]
) -> str:
    lines = "".join(
        _element(
            "InventoryList",
            {
                "gnum": g.number,
                "itemNo": "SKU",
                "gcode": "0809290000",
                "gname": g.name,
                "gmodel": "fresh",
                "barCode": "无",
                "country": country,
                "currency": "142",
                "qty": g.quantity,
                "unit": "035",
                "qty1": g.quantity,
                "unit1": "035",
                "price": g.price,
                "totalPrice": g.total,
            }
            | line,
        )
        for g in order.lines
    )
    return f"<Inventory>{_element('InventoryHead', head)}{lines}</Inventory>"


def cancel_623(order: SubmittedOrder, invt_no: str, cop_no: str = "COP1") -> bytes:
    return _message("623", _element("InvtCancel", _request(order, invt_no, cop_no)))


def return_625(order: SubmittedOrder, invt_no: str, quantity: str = "2", gnum: str = "1") -> bytes:
    line = {
        "gnum": gnum,
        "gcode": "0809290000",
        "gname": "Sweet cherries, fresh",
        "qty": quantity,
        "unit": "035",
    }
    head = _element("InvtRefundHead", _request(order, invt_no, "COP1"))
    return _message("625", f"<InvtRefund>{head}{_element('InvtRefundList', line)}</InvtRefund>")


def _request(order: SubmittedOrder, invt_no: str, cop_no: str) -> dict[str, Any]:
    return _common("1", "20261123090100") | {
        "orderNo": order.order_no,
        "logisticsNo": "YT1",
        "logisticsCode": "31229908QR",
        "logisticsName": "Express",
        "copNo": cop_no,
        "invtNo": invt_no,
        "buyerIdType": "1",
        "buyerIdNumber": order.buyer_id,
        "buyerName": order.buyer_name,
        "buyerTelephone": order.buyer_phone,
        "reason": "withdrawn",
    }


@dataclass(frozen=True)
class Declarant:
    """Signs with signxml: a third implementation beside the authority's and the
    customs service's.
    """

    key: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @classmethod
    def new(cls) -> Declarant:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "declarant")])
        today = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(today)
            .not_valid_after(today + timedelta(days=1))
            .sign(key, hashes.SHA256())
        )
        return cls(key, certificate)

    def file(self, folder: Path) -> Path:
        path = folder / "declarant.crt"
        path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        return path

    def sign(self, message: bytes) -> bytes:
        signer = XMLSigner(
            method=SignatureConstructionMethod.enveloped,
            signature_algorithm=SignatureMethod.RSA_SHA256,
            digest_algorithm=DigestAlgorithm.SHA256,
            c14n_algorithm=CanonicalizationMethod.CANONICAL_XML_1_0,
        )
        return bytes(
            etree.tostring(
                signer.sign(etree.fromstring(message), key=self.key, always_add_key_value=False)
            )
        )
