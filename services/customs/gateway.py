"""The customs authority: declarations printed as its messages, by the declarant's policy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Final
from uuid import UUID, uuid4

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.customs.ceb import build
from services.customs.ceb.documents import (
    BaseTransfer,
    Enterprise,
    SummaryRequest,
)
from services.customs.ceb.elements import NotDeclarable
from services.customs.ceb.sign import Signer
from services.customs.domain.declaration import Declaration, RequestKind
from services.customs.drafts import Draft, draft_document, office_of
from services.customs.particulars import NotLodgeable
from services.customs.policy import NoOffice, Policy
from shared.clock import BEIJING
from shared.errors import Misconfigured
from shared.events.orders import OrderPlaced

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
            office = office_of(self.policy, order)
        except NoOffice:
            return f"{order.direction}|{order.mode}|none"
        return f"{order.direction}|{order.mode}|{office.customs_code}"

    def draft(
        self,
        d: Declaration,
        kind: RequestKind,
        keys: Mapping[UUID, AESGCM],
        guid: str,
        at: datetime,
    ) -> Draft:
        return draft_document(self.policy, d, kind, keys, guid, at)

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
