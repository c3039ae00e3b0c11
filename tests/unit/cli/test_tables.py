"""No table of the command line cuts an id or breaks it, at 80 columns or in a pipe."""

from __future__ import annotations

import io
from uuid import UUID

import pytest
from rich.table import Table

from services.cli import connect, tables

ID = str(UUID("b1858202-723d-5142-b3fe-bca04ab8facc"))
LETTER = "customs.declarations.dead-letters/11/1234567890"
ERROR = "the value is not a waybill: the freight must be an amount in yuan and fen, found a word"


def printed(table: Table, width: int) -> str:
    page = connect.stdout()
    page.width = width
    page.file = io.StringIO()
    page.print(table)
    assert page.width == width
    return page.file.getvalue()


@pytest.mark.parametrize("width", [20, 80, 160])
@pytest.mark.parametrize("boxed", [False, True])
def test_an_id_is_whole_on_one_line(width: int, boxed: bool) -> None:
    table = (
        Table("id", "order", "error", "key")
        if boxed
        else Table("id", "order", "error", "key", box=None)
    )
    for n in range(3):
        table.add_row(f"{LETTER}{n}", ID, ERROR, f"SHOP1-20261123-00000{n}")
    lines = printed(table, width).splitlines()
    for n in range(3):
        assert any(
            f"{LETTER}{n}" in line and ID in line and f"SHOP1-20261123-00000{n}" in line
            for line in lines
        )
    assert "…" not in "".join(lines)
    words = "".join(lines)
    assert all(word in words for word in ERROR.split())


def test_a_table_that_fits_is_as_narrow_as_its_texts() -> None:
    table = Table("id", "state", box=None)
    table.add_row(ID, "placed")
    assert max(map(len, printed(table, 160).splitlines())) < 60


def test_a_table_is_no_wider_than_the_page_where_its_words_fit() -> None:
    table = Table("id", "error", "more", box=None)
    table.add_row(ID, ERROR, ERROR)
    assert max(map(len, printed(table, 80).splitlines())) <= 80


def test_a_table_that_is_too_wide_in_any_case_squeezes_no_text() -> None:
    table = Table("id", "order", "error", box=None)
    table.add_row(LETTER, ID, ERROR)
    assert len(printed(table, 80).splitlines()) <= 5


def test_room_is_shared_out_to_who_wants_it() -> None:
    assert tables.shared_out([(5, 5), (3, 30), (3, 10)], 40) == [5, 25, 10]
    assert tables.shared_out([(36, 36), (36, 36)], 20) == [36, 36]
    assert tables.shared_out([], 20) == []
