"""Documents for the authority, drafted from declarations by the declarant's policy."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.customs.ceb import codes
from services.customs.ceb.documents import (
    CancelRequest,
    Enterprise,
    ListDraft,
    ReturnRequest,
)
from services.customs.ceb.elements import address_line
from services.customs.domain.declaration import Declaration, RequestKind
from services.customs.domain.lodgement import correction_of
from services.customs.domain.numbers import cop_no_of
from services.customs.domain.returns import quantities, quantities_back
from services.customs.draft_lines import draft_line, draft_return_line
from services.customs.particulars import NotLodgeable, open_particulars
from services.customs.policy import NoOffice, Office, Policy
from shared.clock import BEIJING, beijing_date
from shared.events.logistics import WaybillIssued
from shared.events.orders import OrderPlaced
from shared.events.persons import ConsigneeParticulars, Particulars

Draft = ListDraft | CancelRequest | ReturnRequest
BILL_NO_MAX: Final = 37  # CEB621 [X22]


def draft_document(
    policy: Policy,
    d: Declaration,
    kind: RequestKind,
    keys: Mapping[UUID, AESGCM],
    guid: str,
    at: datetime,
) -> Draft:
    """Return the list, cancellation or return request of a declaration. Raises NotLodgeable."""
    assert d.order is not None
    try:
        office = office_of(policy, d.order)
        buyer, consignee = open_particulars(d.order, keys)
        if kind == "declare":
            return _list(policy, d, office, buyer, consignee, guid, at)
        if kind == "cancel":
            return _cancellation(policy, d, office, buyer, guid, at)
        return _return(policy, d, office, buyer, guid, at)
    except (codes.UnknownCode, NoOffice) as error:
        raise NotLodgeable(str(error)) from None


def office_of(policy: Policy, order: OrderPlaced) -> Office:
    return policy.office(order.direction, order.mode, _far_end(order))


def _far_end(order: OrderPlaced) -> str:
    if order.direction == "export":
        return order.consignee.country
    return order.merchant.country or order.lines[0].origin


def _list(
    policy: Policy,
    d: Declaration,
    office: Office,
    buyer: Particulars,
    consignee: ConsigneeParticulars,
    guid: str,
    at: datetime,
) -> ListDraft:
    order, waybill = d.order, d.waybill
    assert order is not None
    assert waybill is not None
    importing, bonded = order.direction == "import", order.mode == "1210"
    one_way = (
        _import_fields(policy, order, buyer, consignee)
        if importing
        else _export_fields(policy, order, office, waybill, at)
    )
    return ListDraft(
        guid=guid,
        cop_no=cop_no_of(d.order_id, d.attempt + 1),
        app_type=correction_of(d),
        app_time=at.astimezone(BEIJING),
        order_no=order.order_no,
        **_parties(policy, order, waybill),
        trade_mode=order.mode,
        country="CN" if bonded and importing else _far_end(order),
        freight=order.freight,
        insurance=order.insurance,
        gross_weight_kg=waybill.gross_weight_kg,
        net_weight_kg=sum((line.net_weight_kg for line in order.lines), Decimal(0)),
        lines=tuple(draft_line(policy, line, order, bonded=bonded) for line in order.lines),
        pre_no=d.pre_no,
        invt_no=d.invt_no,
        bill_no=_bill_no(order, waybill),
        **_office_fields(office),
        **(_bonded_fields(policy) if bonded else {}),
        **one_way,
    )


def _parties(policy: Policy, order: OrderPlaced, waybill: WaybillIssued) -> dict[str, Any]:
    return {
        "platform": Enterprise(order.platform.code, order.platform.name),
        "merchant": Enterprise(order.merchant.code, order.merchant.name),
        "logistics": Enterprise(waybill.logistics_code, waybill.logistics_name),
        "logistics_no": waybill.logistics_no,
        "agent": policy.declarant.company,
    }


def _office_fields(office: Office) -> dict[str, Any]:
    return {
        "customs_code": office.customs_code,
        "port_code": office.port_code,
        "traf_mode": office.traf_mode,
        "vehicle": office.vehicle,
        "voyage_no": office.voyage_no,
        "site_code": office.site_code,
    }


def _bonded_fields(policy: Policy) -> dict[str, Any]:
    return {"area": policy.bonded.area, "ledger_no": policy.bonded.ledger_no}


def _import_fields(
    policy: Policy, order: OrderPlaced, buyer: Particulars, consignee: ConsigneeParticulars
) -> dict[str, Any]:
    to = order.consignee
    return {
        "guarantor_code": policy.declarant.guarantor_code,
        "buyer_id_type": buyer.id_type,
        "buyer_id_number": buyer.id_number,
        "buyer_name": buyer.name,
        "buyer_phone": buyer.phone or consignee.phone,
        "consignee_address": address_line(to.region, to.city, consignee.address),
    }


def _export_fields(
    policy: Policy, order: OrderPlaced, office: Office, waybill: WaybillIssued, at: datetime
) -> dict[str, Any]:
    return {
        "crossing_on": beijing_date(at),
        "statistics_flag": policy.statistics_of(office),
        "owner": Enterprise(order.merchant.code, order.merchant.name),
        "destination_port": codes.country_code(order.consignee.country),
        "wrap_type": policy.export_wrap_type,
        "pack_count": waybill.pack_count,
    }


def _cancellation(
    policy: Policy, d: Declaration, office: Office, buyer: Particulars, guid: str, at: datetime
) -> CancelRequest:
    order, waybill = d.order, d.waybill
    assert order is not None
    assert waybill is not None
    assert d.invt_no is not None
    return CancelRequest(
        guid=guid,
        cop_no=d.cop_no,
        app_time=at.astimezone(BEIJING),
        customs_code=office.customs_code,
        invt_no=d.invt_no,
        reason="order cancelled",
        pre_no=d.pre_no,
        order_no=order.order_no,
        **_parties(policy, order, waybill),
        buyer_id_type=buyer.id_type,
        buyer_id_number=buyer.id_number,
        buyer_name=buyer.name,
        buyer_phone=buyer.phone,
    )


def _return(
    policy: Policy, d: Declaration, office: Office, buyer: Particulars, guid: str, at: datetime
) -> ReturnRequest:
    order, waybill = d.order, d.waybill
    assert order is not None
    assert waybill is not None
    assert d.invt_no is not None
    exporting = order.direction == "export"
    wanted = quantities(order, d.returns[-1].parts, quantities_back(d.returns[:-1]))
    return ReturnRequest(
        guid=guid,
        cop_no=d.cop_no,
        app_type="1",
        app_time=at.astimezone(BEIJING),
        customs_code=office.customs_code,
        invt_no=d.invt_no,
        **_parties(policy, order, waybill),
        reason="returned by the buyer",
        lines=tuple(
            draft_return_line(policy, line, wanted[line.line_no])
            for line in order.lines
            if line.line_no in wanted
        ),
        pre_no=d.pre_no,
        order_no=order.order_no,
        buyer_id_type=buyer.id_type,
        buyer_id_number=buyer.id_number,
        buyer_name=buyer.name,
        buyer_phone=buyer.phone,
        trade_mode=policy.export_return_trade_mode[order.mode] if exporting else None,
        site_code=office.site_code,
        # Where there is no bill, the waybill's number stands for it [202205 CEB213].
        bill_no=waybill.logistics_no,
        traf_mode=office.traf_mode,
        vehicle=office.vehicle,
        voyage_no=office.voyage_no,
        port_code=office.port_code,
        country=order.consignee.country if exporting else None,
    )


def _bill_no(order: OrderPlaced, waybill: WaybillIssued) -> str | None:
    """Return the bill of the goods or the waybill that an import's list names [202205 CEB621].
    Goods from a bonded warehouse have none, and an export's list may omit it.
    """
    is_direct = order.direction == "import" and order.mode != "1210"
    return waybill.logistics_no if is_direct and len(waybill.logistics_no) <= BILL_NO_MAX else None
