"""Curves in a terminal: each character cell is 2 x 4 braille dots."""

from collections.abc import Sequence

DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # Unicode's bit for each dot of a cell, rows from the top


def plot(x: Sequence[float], y: Sequence[float], *, width: int = 48, height: int = 10) -> list[str]:
    """Lines of text: a curve over its axes, with the values at their ends.

    >>> print("\\n".join(plot([0, 1, 2, 3], [0, 1, 2, 3], width=6, height=2)))
    3 ┤⠀⠀⠀⣀⠔⠊
    0 ┤⡠⠔⠉⠀⠀⠀
      └──────
       0    3
    """
    low, high = min(y), max(y)
    flat = high - low < 1e-12
    if flat:
        low, high = low - 0.5, high + 0.5
    columns, rows = 2 * width, 4 * height
    cells = [[0x2800] * width for _ in range(height)]

    def level(value: float) -> int:
        return round((high - value) / (high - low) * (rows - 1))

    heights = [level(_at(x, y, x[0] + (x[-1] - x[0]) * c / (columns - 1))) for c in range(columns)]
    if low < 0.0 < high:
        for column in range(0, columns, 4):  # a dotted line at zero
            _set(cells, level(0.0), column)
    for column, row in enumerate(heights):
        before = heights[column - 1] if column else row
        step = 1 if row >= before else -1
        for between in range(before + step if abs(row - before) > 1 else row, row + step, step):  # no gaps where it is steep
            _set(cells, between, column)

    marks = {row: f"{0.0 if abs(v) < 1e-3 * (high - low) else v:.3g}" for row, v in ((0, high), (height - 1, low))}
    if low < 0.0 < high and 0 < level(0.0) // 4 < height - 1:
        marks[level(0.0) // 4] = "0"
    if flat and height > 2:
        marks[level(y[0]) // 4] = f"{y[0]:.3g}"
    margin = max(map(len, marks.values()))
    lines = [f"{marks.get(row, ''):>{margin}} {'┤' if row in marks else '│'}" + "".join(map(chr, cells[row])) for row in range(height)]
    left, right = f"{x[0]:.3g}", f"{x[-1]:.3g}"
    return [*lines, " " * (margin + 1) + "└" + "─" * width, " " * (margin + 2) + left + right.rjust(width - len(left))]


def _set(cells: list[list[int]], row: int, column: int) -> None:
    """Switch a dot on."""
    cells[row // 4][column // 2] |= DOTS[row % 4][column % 2]


def _at(x: Sequence[float], y: Sequence[float], place: float) -> float:
    """The curve's height at a place, between its samples (evenly spaced)."""
    position = (place - x[0]) / (x[-1] - x[0]) * (len(x) - 1)
    left = min(int(position), len(x) - 2)
    return y[left] + (y[left + 1] - y[left]) * (position - left)
