"""The customs authority: declarations printed as its messages, by the declarant's policy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Final
from uuid import UUID, uuid4

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.customs.ceb import build, codes
from services.customs.ceb.documents import (
    BaseTransfer,
    CancelRequest,
    DraftLine,
    Enterprise,
    ListDraft,
    ReturnLine,
    ReturnRequest,
    SummaryRequest,
)
from services.customs.ceb.elements import NotDeclarable, address_line
from services.customs.ceb.sign import Signer
from services.customs.domain.declaration import Declaration, RequestKind
from services.customs.domain.lodgement import correction_of
from services.customs.domain.numbers import cop_no_of
from services.customs.domain.returns import quantities, quantities_back
from services.customs.particulars import NotLodgeable, open_particulars
from services.customs.policy import NoOffice, Office, Policy
from services.customs.statutory_units import in_unit
from shared.clock import BEIJING, beijing_date
from shared.errors import Misconfigured
from shared.events.logistics import WaybillIssued
from shared.events.orders import Line, OrderPlaced
from shared.events.persons import ConsigneeParticulars, Particulars

_SMALLEST: Final = Decimal("0.00001")
BILL_NO_MAX: Final = 37  # CEB621 [X22]
_NO_GUID: Final = "00000000-0000-0000-0000-000000000000"
SUMMARY_HEAD_BYTES: Final = 16 * 1024
"""Room for the head of a summary request. Its texts have at most 1,300 characters, each written in
at most five bytes.
"""
MESSAGE_TYPES: Final[Mapping[tuple[str, RequestKind], str]] = {
    ("import", "declare"): "CEB621Message", ("export", "declare"): "CEB603Message",
    ("import", "cancel"): "CEB623Message", ("export", "cancel"): "CEB605Message",
    ("import", "return"): "CEB625Message", ("export", "return"): "CEB213Message",
}  # fmt: skip


Draft = ListDraft | CancelRequest | ReturnRequest


@dataclass(frozen=True, slots=True)
class PrintedRequest:
    """A declaration's list, cancellation or return request as it stands in a message."""

    declaration: Declaration
    xml: bytes
    lines: int


@dataclass(frozen=True)
class Authority:
    """Prints declarations as the authority's messages, by the declarant's policy, and
    signs them.
    """

    policy: Policy
    signer: Signer

    def group_of(self, order: OrderPlaced) -> str:
        """Return the key of the open batch for an order's list. Lists of one message share
        direction, mode and office.
        """
        try:
            office = self._office(order)
        except NoOffice:
            return f"{order.direction}|{order.mode}|none"
        return f"{order.direction}|{order.mode}|{office.customs_code}"

    def _office(self, order: OrderPlaced) -> Office:
        return self.policy.office(order.direction, order.mode, self._far_end(order))

    def _far_end(self, order: OrderPlaced) -> str:
        if order.direction == "export":
            return order.consignee.country
        return order.merchant.country or order.lines[0].origin

    def draft(
        self,
        d: Declaration,
        kind: RequestKind,
        keys: Mapping[UUID, AESGCM],
        guid: str,
        at: datetime,
    ) -> Draft:
        assert d.order is not None
        try:
            office = self._office(d.order)
            buyer, consignee = open_particulars(d.order, keys)
            if kind == "declare":
                return self._list(d, office, buyer, consignee, guid, at)
            if kind == "cancel":
                return self._cancellation(d, office, buyer, guid, at)
            return self._return(d, office, buyer, guid, at)
        except (codes.UnknownCode, NoOffice) as error:
            raise NotLodgeable(str(error)) from None

    def _list(
        self,
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
        net = sum((line.net_weight_kg for line in order.lines), Decimal(0))
        return ListDraft(
            guid=guid,
            cop_no=cop_no_of(d.order_id, d.attempt + 1),
            app_type=correction_of(d),
            app_time=at.astimezone(BEIJING),
            order_no=order.order_no,
            platform=Enterprise(order.platform.code, order.platform.name),
            merchant=Enterprise(order.merchant.code, order.merchant.name),
            logistics=Enterprise(waybill.logistics_code, waybill.logistics_name),
            logistics_no=waybill.logistics_no,
            agent=self.policy.declarant.company,
            customs_code=office.customs_code,
            port_code=office.port_code,
            trade_mode=order.mode,
            traf_mode=office.traf_mode,
            country=self._country(order, bonded=bonded),
            freight=order.freight,
            insurance=order.insurance,
            gross_weight_kg=waybill.gross_weight_kg,
            net_weight_kg=net,
            lines=tuple(self._line(line, order, bonded=bonded) for line in order.lines),
            pre_no=d.pre_no,
            invt_no=d.invt_no,
            vehicle=office.vehicle,
            voyage_no=office.voyage_no,
            bill_no=_bill_no(order, waybill),
            site_code=office.site_code,
            area=self.policy.bonded.area if bonded else None,
            ledger_no=self.policy.bonded.ledger_no if bonded else None,
            guarantor_code=self.policy.declarant.guarantor_code if importing else None,
            buyer_id_type=buyer.id_type if importing else None,
            buyer_id_number=buyer.id_number if importing else None,
            buyer_name=buyer.name if importing else None,
            buyer_phone=(buyer.phone or consignee.phone) if importing else None,
            consignee_address=address_line(
                order.consignee.region, order.consignee.city, consignee.address
            )
            if importing
            else None,
            crossing_on=None if importing else beijing_date(at),
            statistics_flag=None if importing else self.policy.statistics_of(office),  # type: ignore[arg-type]
            owner=None if importing else Enterprise(order.merchant.code, order.merchant.name),
            destination_port=None if importing else codes.country_code(order.consignee.country),
            wrap_type=None if importing else self.policy.export_wrap_type,
            pack_count=1 if importing else waybill.pack_count,
        )

    def _country(self, order: OrderPlaced, *, bonded: bool) -> str:
        return "CN" if bonded and order.direction == "import" else self._far_end(order)

    def _line(self, line: Line, order: OrderPlaced, *, bonded: bool) -> DraftLine:
        unit, second = self.policy.statutory_units(line.hs_code)
        second_quantity = in_unit(line, second) if second else None
        return DraftLine(
            line_no=line.line_no,
            sku=line.sku,
            name=line.name,
            model=_model(line),
            hs_code=line.hs_code,
            origin=line.origin if order.direction == "import" else order.consignee.country,
            quantity=line.quantity,
            unit=line.unit,
            statutory_quantity=_statutory(line, unit),
            statutory_unit=unit,
            second_quantity=second_quantity,
            second_unit=None if second_quantity is None else second,
            unit_price=line.unit_price,
            total=line.total,
            gtin=line.gtin,
            record_no=line.sku if bonded else None,
        )

    def _cancellation(
        self, d: Declaration, office: Office, buyer: Particulars, guid: str, at: datetime
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
            agent=self.policy.declarant.company,
            merchant=Enterprise(order.merchant.code, order.merchant.name),
            reason="order cancelled",
            pre_no=d.pre_no,
            order_no=order.order_no,
            platform=Enterprise(order.platform.code, order.platform.name),
            logistics=Enterprise(waybill.logistics_code, waybill.logistics_name),
            logistics_no=waybill.logistics_no,
            buyer_id_type=buyer.id_type,
            buyer_id_number=buyer.id_number,
            buyer_name=buyer.name,
            buyer_phone=buyer.phone,
        )

    def _return(
        self, d: Declaration, office: Office, buyer: Particulars, guid: str, at: datetime
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
            platform=Enterprise(order.platform.code, order.platform.name),
            merchant=Enterprise(order.merchant.code, order.merchant.name),
            logistics=Enterprise(waybill.logistics_code, waybill.logistics_name),
            logistics_no=waybill.logistics_no,
            agent=self.policy.declarant.company,
            reason="returned by the buyer",
            lines=tuple(
                self._return_line(line, wanted[line.line_no])
                for line in order.lines
                if line.line_no in wanted
            ),
            pre_no=d.pre_no,
            order_no=order.order_no,
            buyer_id_type=buyer.id_type,
            buyer_id_number=buyer.id_number,
            buyer_name=buyer.name,
            buyer_phone=buyer.phone,
            trade_mode=self.policy.export_return_trade_mode[order.mode] if exporting else None,
            site_code=office.site_code,
            # Where there is no bill, the waybill's number stands for it [202205 CEB213].
            bill_no=waybill.logistics_no,
            traf_mode=office.traf_mode,
            vehicle=office.vehicle,
            voyage_no=office.voyage_no,
            port_code=office.port_code,
            country=order.consignee.country if exporting else None,
        )

    def _return_line(self, line: Line, quantity: Decimal) -> ReturnLine:
        unit, second = self.policy.statutory_units(line.hs_code)
        weight = (
            line.net_weight_kg
            if quantity == line.quantity
            else _part(line.net_weight_kg, quantity, line.quantity)
        )
        line = line.model_copy(update={"quantity": quantity, "net_weight_kg": weight})
        second_quantity = in_unit(line, second) if second else None
        return ReturnLine(
            line_no=line.line_no,
            hs_code=line.hs_code,
            name=line.name,
            quantity=line.quantity,
            unit=line.unit,
            model=_model(line),
            statutory_quantity=_statutory(line, unit),
            statutory_unit=unit,
            second_quantity=second_quantity,
            second_unit=None if second_quantity is None else second,
        )

    def printed(self, d: Declaration, kind: RequestKind, draft: Draft) -> PrintedRequest:
        """Return a document as it stands in its message. Raises NotLodgeable where the schema or
        one message has no room.
        """
        message_type = MESSAGE_TYPES[_direction(d), kind]
        try:
            xml = build.write_document(message_type, draft)
        except NotDeclarable as refused:
            raise NotLodgeable(str(refused), field=refused.field) from None
        room = self.room(message_type)
        if len(xml) > room:
            raise NotLodgeable(
                f"{len(xml)} bytes",
                rule="fits_one_message",
                expected=f"at most {room} bytes as sent",
            )
        return PrintedRequest(d, xml, len(getattr(draft, "lines", ())) or 1)

    def room(self, message_type: str) -> int:
        """Return the bytes that the documents of one message may have beside head, sender and
        signature.
        """
        return self._rooms[message_type]

    @cached_property
    def _rooms(self) -> Mapping[str, int]:
        most = self.policy.batching.bytes_max - self.signer.bytes_added()
        try:
            return {
                name: most - len(build.assemble(name, _NO_GUID, self._transfer, ()))
                for name in build.MESSAGES
            }
        except NotDeclarable as error:
            raise Misconfigured(
                f"mend the customs policy, no message can be sent by it: declarant: {error}"
            ) from None

    @cached_property
    def certificate(self) -> str:
        return self.signer.certificate.fingerprint(hashes.SHA256()).hex()

    @property
    def _transfer(self) -> BaseTransfer:
        return BaseTransfer(
            company=self.policy.declarant.company, dxp_id=self.policy.declarant.dxp_id
        )

    def compose(self, message_type: str, guid: str, documents: Sequence[bytes]) -> bytes:
        return self.signer.sign_canonical(
            build.assemble(message_type, guid, self._transfer, documents)
        )

    def summary_request(
        self,
        cop_no: str,
        at: datetime,
        customs_code: str,
        merchant: Enterprise,
        invt_nos: Sequence[str],
        part: tuple[int, int],
    ) -> tuple[str, bytes]:
        """Return the guid and signed bytes of one message of a summary request. `part` is its
        number and the count. Raises NotDeclarable.
        """
        guid, summaries = str(uuid4()).upper(), self.policy.summaries
        request = SummaryRequest(
            guid=str(uuid4()).upper(),
            cop_no=cop_no,
            app_time=at.astimezone(BEIJING),
            customs_code=customs_code,
            agent=self.policy.declarant.company,
            merchant=merchant,
            broker=summaries.broker,
            summary_flag=summaries.summary_flag,  # type: ignore[arg-type]
            item_name_flag=summaries.item_name_flag,
            invt_nos=tuple(invt_nos),
            count=part[1],
            seq=part[0],
        )
        return guid, self.compose(
            "CEB701Message", guid, [build.write_document("CEB701Message", request)]
        )

    def messages(
        self, message_type: str, printed: Iterable[PrintedRequest]
    ) -> Iterator[list[PrintedRequest]]:
        """Divide documents so that no message exceeds the policy's lists, lines or
        bytes as sent.
        """
        batching, room = self.policy.batching, self.room(message_type)
        part: list[PrintedRequest] = []
        lines = size = 0
        for each in printed:
            full = (
                len(part) >= batching.lists_max
                or lines + each.lines > batching.lines_max
                or size + len(each.xml) > room
            )
            if part and full:
                yield part
                part, lines, size = [], 0, 0
            part.append(each)
            lines, size = lines + each.lines, size + len(each.xml)
        if part:
            yield part

    def summary_lists(self, cop_no: str, invt_nos: Sequence[str]) -> tuple[list[str], int]:
        """Return the list numbers that cannot be written, and how many of the others fit one
        message.
        """
        size, bad = 1, []
        for invt_no in invt_nos:
            try:
                size = max(size, len(build.write_number(cop_no, invt_no)))
            except NotDeclarable:
                bad.append(invt_no)
        return bad, max(1, (self.room("CEB701Message") - SUMMARY_HEAD_BYTES) // size)


def _direction(d: Declaration) -> str:
    assert d.order is not None
    return "export" if d.order.direction == "export" else "import"


def _model(line: Line) -> str:
    """Return gmodel: brand and content where known, else the name of the goods, which the
    specification allows [202205]. An unknown brand is not "none": branded goods would be declared
    as unbranded.
    """
    parts = [line.brand] if line.brand is not None else []
    if line.net_content is not None:
        parts.append(f"{line.net_content.value.normalize():f}{line.net_content.unit}")
    return "|".join(parts) or line.name


def _statutory(line: Line, unit: str) -> Decimal:
    """Return the quantity in the first statutory unit, which a list must have. Raises NotLodgeable
    where it is unknown.
    """
    quantity = in_unit(line, unit)
    if quantity is None:
        raise NotLodgeable(
            f"{line.quantity:f} {line.unit} of tariff line {line.hs_code}",
            field=f"lines[{line.line_no}].unit",
            rule="statutory_quantity_is_known",
            expected=f"a quantity in {unit}, or goods whose net content tells it",
        )
    return quantity


def _part(weight_kg: Decimal, quantity: Decimal, of: Decimal) -> Decimal:
    """Return the weight of part of a line, with the five decimals of a message and never 0."""
    return max((weight_kg * quantity / of).quantize(_SMALLEST), _SMALLEST)


def _bill_no(order: OrderPlaced, waybill: WaybillIssued) -> str | None:
    """Return the bill of the goods or the waybill that an import's list names [202205 CEB621].
    Goods from a bonded warehouse have none, and an export's list may omit it.
    """
    is_direct = order.direction == "import" and order.mode != "1210"
    return waybill.logistics_no if is_direct and len(waybill.logistics_no) <= BILL_NO_MAX else None
