"""The documents that customs declares, in the project's own words.

`tables` maps each field to an element of the message.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Literal

from shared.money import Money

AppType = Literal["1", "2", "3"]
"""1 new, 2 amend, 3 delete."""


@dataclass(frozen=True, slots=True)
class Enterprise:
    """Customs registration number (10) or unified social credit code (18), and the
    registered name.
    """

    code: str
    name: str


@dataclass(frozen=True, slots=True)
class BaseTransfer:
    """Who hands the message to the exchange platform: the client's enterprise and its user number
    there.
    """

    company: Enterprise
    dxp_id: str
    note: str | None = None


@dataclass(frozen=True, slots=True)
class DraftLine:
    """One line of a list; `line_no` pairs it with the order's line.

    Prices are per `unit`, in the currency of `total`. The statutory quantity is the tariff line's
    own (kg for cherries and cosmetics). `record_no` is the ledger item of a bonded list; `model` is
    brand, specification and content.
    """

    line_no: int
    sku: str | None
    """Required for exports; at most 20 characters in a list."""
    name: str
    model: str
    hs_code: str
    origin: str
    """ISO country of origin; an export list states the country of final destination
    here instead.
    """
    quantity: Decimal
    unit: str
    statutory_quantity: Decimal
    statutory_unit: str
    unit_price: Decimal
    total: Money
    second_quantity: Decimal | None = None
    second_unit: str | None = None
    gtin: str | None = None
    """Bar code; None is written as the specification's literal for none."""
    record_no: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class ListDraft:
    """One parcel's declaration list, import (621) or export (603).

    It is made of matched documents, opened particulars and policy. Fields of one direction are
    optional here and required when that message is built.
    """

    guid: str
    """The list's own id: 36 characters, upper case."""
    cop_no: str
    """The enterprise's own number, which the receipts repeat (import: at most 20 characters)."""
    app_type: AppType
    app_time: datetime
    """When the enterprise sends it; an amendment must be later than what it amends."""
    order_no: str
    platform: Enterprise
    merchant: Enterprise
    logistics: Enterprise
    logistics_no: str
    agent: Enterprise
    """Who declares."""
    customs_code: str
    """The office that takes the list (4 digits)."""
    port_code: str
    """The office where the goods cross the border (4 digits)."""
    trade_mode: str
    """9610, 1210, 9710, 9810."""
    traf_mode: str
    """Mode of transport, one digit of the authority's table: 2 water, 3 rail, 4 road, 5
    air, 6 post.
    """
    country: str
    """ISO. Import: where the goods departed (bonded: CN). Export: where they arrive."""
    freight: Money
    insurance: Money
    gross_weight_kg: Decimal
    net_weight_kg: Decimal
    lines: tuple[DraftLine, ...]
    pre_no: str | None = None
    invt_no: str | None = None
    """Numbers that the authority gave to a list that is amended."""
    vehicle: str | None = None
    voyage_no: str | None = None
    bill_no: str | None = None
    site_code: str | None = None
    wrap_type: str | None = None
    crossing_on: date | None = None
    """ieDate: when the goods cross; required for exports."""
    area: Enterprise | None = None
    """Bonded: the warehouse enterprise in the special area."""
    ledger_no: str | None = None
    """Bonded: emsNo."""
    note: str | None = None
    # Imports only:
    guarantor_code: str | None = None
    """assureCode: who guarantees the tax."""
    buyer_id_type: str | None = None
    buyer_id_number: str | None = None
    buyer_name: str | None = None
    buyer_phone: str | None = None
    consignee_address: str | None = None
    # Exports only:
    statistics_flag: Literal["A", "B"] | None = None
    """A simplified, B consolidated."""
    owner: Enterprise | None = None
    """The producer or seller."""
    destination_port: str | None = None
    """POD."""
    total_package_no: str | None = None
    pack_count: int = 1
    """Parcels of the waybill; an import's list always says 1."""


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """Requests to take back a list that is not cleared yet: import 623, export 605 (without order,
    carrier and buyer).
    """

    guid: str
    cop_no: str
    app_time: datetime
    customs_code: str
    invt_no: str
    agent: Enterprise
    merchant: Enterprise
    reason: str
    pre_no: str | None = None
    order_no: str | None = None
    platform: Enterprise | None = None
    logistics: Enterprise | None = None
    logistics_no: str | None = None
    buyer_id_type: str | None = None
    buyer_id_number: str | None = None
    buyer_name: str | None = None
    buyer_phone: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class ReturnLine:
    """Goods that come back: `line_no` of the original list, at most its quantity. Only exports have
    statutory quantities.
    """

    line_no: int
    hs_code: str
    name: str
    quantity: Decimal
    unit: str
    model: str | None = None
    statutory_quantity: Decimal | None = None
    statutory_unit: str | None = None
    second_quantity: Decimal | None = None
    second_unit: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class ReturnRequest:
    """Requests to return goods of a cleared list, all or part: import 625, export 213.

    An export's return names how the goods come back; `country` is where from and never China.
    """

    guid: str
    cop_no: str
    app_type: AppType
    app_time: datetime
    customs_code: str
    invt_no: str
    platform: Enterprise
    merchant: Enterprise
    logistics: Enterprise
    logistics_no: str
    agent: Enterprise
    reason: str
    lines: tuple[ReturnLine, ...]
    pre_no: str | None = None
    note: str | None = None
    # Imports only:
    order_no: str | None = None
    buyer_id_type: str | None = None
    buyer_id_number: str | None = None
    buyer_name: str | None = None
    buyer_phone: str | None = None
    # Exports only:
    trade_mode: str | None = None
    site_code: str | None = None
    bill_no: str | None = None
    traf_mode: str | None = None
    vehicle: str | None = None
    voyage_no: str | None = None
    port_code: str | None = None
    country: str | None = None


@dataclass(frozen=True, slots=True)
class SummaryRequest:
    """One message of a request to consolidate released export lists (CEB701), of one office and one
    consignor.

    `count` and `seq` number the messages of one request; both are 1 where it is not split.
    """

    guid: str
    cop_no: str
    """The enterprise's own number of the request, equal in all its messages."""
    app_time: datetime
    customs_code: str
    agent: Enterprise
    merchant: Enterprise
    broker: Enterprise
    """Who declares the consolidated lists (declAgentCode)."""
    summary_flag: Literal["1", "2"]
    """1 by consignor alone, 2 by consignor and producer."""
    item_name_flag: str
    """1: goods of different names are different lines."""
    invt_nos: tuple[str, ...]
    count: int = 1
    seq: int = 1
    site_code: str | None = None
    note: str | None = None
