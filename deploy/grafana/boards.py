"""All boards, in the order in which a person on call opens them."""

from __future__ import annotations

from typing import Final

from deploy.grafana import border, money, order, overview, platform, service
from deploy.grafana.panel import Board

BOARDS: Final[tuple[Board, ...]] = (
    overview.BOARD,
    order.BOARD,
    service.BOARD,
    border.BOARD,
    money.BOARD,
    platform.BOARD,
)
