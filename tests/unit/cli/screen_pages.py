"""The screens of the main commands from fixed data; `python -m tests.unit.cli.screen_pages` renews the stored ones."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from unittest import mock

from typer.testing import CliRunner

from services.cli import connect
from services.cli.app import app
from services.cli.demo import report as demo_report
from services.cli.order.receipt import print_receipt
from services.cli.stack.app import show_status
from services.cli.verify import report as verify_report
from services.cli.verify.findings import Finding

FOLDER: Final = Path(__file__).with_name("screens")
WIDTHS: Final = (80, 100, 160)
AT: Final = datetime(2026, 11, 30, 9, tzinfo=UTC)

PROGRAMS: Final[list[dict[str, Any]]] = [
    {"name": name, "state": state, "ready": ready, "pid": pid, "restarts": restarts, "port": port, "log": f".crossborder/logs/{name}.log"}
    for name, state, ready, pid, restarts, port in (
        ("kafka", "running", True, 4101, 0, 9092),
        ("postgres", "running", True, 4102, 0, 5432),
        ("orders", "running", True, 4103, 0, 8101),
        ("payments", "waiting", False, None, 3, 8102),
    )
]  # fmt: skip
RUNNING: Final[dict[str, Any]] = {
    "kafka": "127.0.0.1:9092", "postgres": "postgresql://127.0.0.1:5432/crossborder",
    "ports": {p["name"]: p["port"] for p in PROGRAMS if p["name"] != "postgres"}, "programs": {p["name"]: p for p in PROGRAMS},
    "bank_url": "http://127.0.0.1:8110",
}  # fmt: skip

HOLD: Final = (
    Finding("programs", "a program is down, ends again and again, or is not ready"),
    Finding("held_orders", "an order waits behind a dead letter"),
    Finding("orders_number_once", "two orders have one number"),
    Finding("payments_books_balance", "the books do not balance"),
    Finding("fulfilled_is_paid", "an order is fulfilled and not paid"),
    Finding("facts_without_hole", "a fact about an order was lost, or went out of order"),
    Finding("bank_statement", "what the bank moved is not what our journal says"),
)
BROKEN: Final = (
    Finding("programs", "a program is down: `crossborder status`, then its log", ("tax is down after 3 restarts, see tax.log",)),
    *HOLD[1:4],
    Finding("fulfilled_is_paid", "an order is fulfilled and not paid", ("8f14e45f-ceea-467f-ab34-1d5c7c8f2a11",)),
    HOLD[5],
    Finding("bank_statement", "what the bank moved is not what our journal says", skipped="the bank does not answer at http://127.0.0.1:8110 (ConnectError)"),
)  # fmt: skip

FAULT: Final = {
    "field": "lines[0].total",
    "rule": "is_product",
    "found": "1.00",
    "expected": "2.00",
    "code": "1332",
}


def _step(seconds: float, source: str, wire_type: str, **summary: Any) -> dict[str, Any]:
    return {
        "at": AT + timedelta(seconds=seconds),
        "source": source,
        "type": wire_type,
        "summary": summary,
    }


ORDER: Final[dict[str, Any]] = {
    "order_no": "SHOP1-20261130-000001", "order_id": "8f14e45f-ceea-467f-ab34-1d5c7c8f2a11", "state": "fulfilled",
    "corridor": "US-CN", "mode": "1210", "placed_at": AT, "currency": "CNY", "goods_value": "184.00", "amount_paid": "204.10",
    "waits_for": [], "next": "nothing is to be done; goods that are to go back: `crossborder order return SHOP1-20261130-000001`",
    "detail": {}, "cases": [],
    "timeline": [
        _step(0.0, "orders", "order.placed.v1", amount_paid={"amount": "204.10", "currency": "CNY"}),
        _step(0.214, "payments", "payment.captured.v1"),
        _step(0.226, "tax", "tax.assessed.v1", regime="retail_import"),
        _step(1.92, "customs", "declaration.released.v1", status="800"),
        _step(1.931, "orders", "order.fulfilled.v1"),
    ],
    "money": {
        "state": "settled", "currency": "CNY", "asked": "204.10", "captured": "204.10", "refunded": "0.00", "payment_no": "PAY-1",
        "journal": [
            {"purpose": "capture", "account": "bank_clearing", "party": None, "amount": "204.10", "at": AT},
            {"purpose": "capture", "account": "buyer_funds", "party": None, "amount": "-204.10", "at": AT},
            {"purpose": "settle", "account": "merchant", "party": "46016602EV", "amount": "-184.00", "at": AT},
            {"purpose": "settle", "account": "tax_payable", "party": None, "amount": "-20.10", "at": AT},
        ],
    },
    "tax": {
        "state": "posted", "regime": "retail_import", "currency": "CNY", "vat": "20.10", "payable": "20.10", "total": "20.10",
        "lines": [
            {"line_no": 1, "hs_code": "0809290000", "dutiable_value": "120.00", "vat": "13.11", "payable": "13.11"},
            {"line_no": 2, "hs_code": "3304990029", "dutiable_value": "64.00", "vat": "6.99", "payable": "6.99"},
        ],
    },
    "declaration": {"state": "released", "direction": "import", "invt_no": "INVT-1", "status": "800"},
}  # fmt: skip
REFUSED: Final[dict[str, Any]] = {
    **ORDER, "state": "rejected", "detail": {"faults": [FAULT]}, "timeline": [_step(0.0, "orders", "order.rejected.v1")],
    "next": "mend it and send it under a new number: SHOP1-20261130-000001 is used up", "money": None, "tax": None, "declaration": None,
}  # fmt: skip


def _help(width: int) -> str:
    page = CliRunner().invoke(app, ["--help"], env={"COLUMNS": str(width)}, prog_name="crossborder")
    return page.stdout


def _printed(width: int, write: Callable[[], None]) -> str:
    page = io.StringIO()
    with (
        mock.patch.object(connect, "PIPE_COLUMNS", width),
        redirect_stdout(page),
        redirect_stderr(page),
    ):
        write()
    return page.getvalue()


def _demo_end() -> None:
    verify_report.show(HOLD)
    for line in demo_report.end_of(41.6, Path(".crossborder/demo"), well=True, keeps_running=False):
        connect.print_err(line)


WRITERS: Final[dict[str, Callable[[], None]]] = {
    "order_show": lambda: print_receipt(ORDER),
    "order_show_refused": lambda: print_receipt(REFUSED),
    "verify": lambda: verify_report.show(HOLD),
    "verify_broken": lambda: verify_report.show(BROKEN),
    "verify_verbose": lambda: verify_report.show(BROKEN, verbose=True),
    "demo_end": _demo_end,
    "status": lambda: show_status(PROGRAMS, RUNNING),
}
SCREENS: Final = ("help", *WRITERS)


def screen(name: str, width: int) -> str:
    """Return what the command prints on a page of this width, without blanks at the ends of lines."""
    text = _help(width) if name == "help" else _printed(width, WRITERS[name])
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def path_of(name: str, width: int) -> Path:
    return FOLDER / f"{name}-{width}.txt"


def main() -> None:
    for name in SCREENS:
        for width in WIDTHS:
            path_of(name, width).write_text(screen(name, width), encoding="utf-8")


if __name__ == "__main__":
    os.environ.pop("COLUMNS", None)
    main()
