"""Column widths of tables: words and ids are never cut; a table may be wider than the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def laid_out(table: Table, console: Console) -> int:
    from rich.measure import Measurement

    wide = console.options.update(width=_WIDE)
    ranges = []
    for column in table.columns:
        cells = [Measurement.get(console, wide, cell) for cell in (column.header, *column.cells)]
        ranges.append((max(cell.minimum for cell in cells), max(cell.maximum for cell in cells)))
    around = Measurement.get(console, wide, table).maximum - sum(most for _, most in ranges)
    if sum(least for least, _ in ranges) + around > console.width:
        ranges = [(max(least, min(most, READABLE)), most) for least, most in ranges]
    widths = shared_out(ranges, console.width - around)
    for column, width in zip(table.columns, widths, strict=True):
        column.width = width
    return max(console.width, sum(widths) + around)


def shared_out(ranges: Sequence[tuple[int, int]], room: int) -> list[int]:
    """Return each column's width from (longest word, longest text) and the room there is."""
    widths = [least for least, _ in ranges]
    free = max(0, room - sum(widths))
    wanting = sorted(range(len(ranges)), key=lambda i: ranges[i][1] - ranges[i][0])
    for place, i in enumerate(wanting):
        least, most = ranges[i]
        more = min(most - least, free // (len(wanting) - place))
        widths[i] += more
        free -= more
    return widths


_WIDE: Final = 1_000_000
READABLE: Final = 32
"""Least width of a text column in a table that is wider than the page."""
