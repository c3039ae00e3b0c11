"""The values of the `ce_type` header on records that shops write to `orders.submissions`."""

from __future__ import annotations

from typing import Final

SUBMITTED: Final = "order.submitted.v1"
CANCEL_REQUESTED: Final = "order.cancel-requested.v1"
RETURN_REQUESTED: Final = "return.requested.v1"
