"""The tables of this chapter."""

from losskit.tour.chapter import Cell, Table
from losskit.tour.chapters.digits.experiment import (
    Findings,
)
from losskit.tour.chapters.digits.verdict import remembered
from losskit.tour.compare import Difference, spread
from losskit.tour.texts import texts

TEXTS = texts("digits")


def table(names: list[str], found: Findings, with_wrong: dict[str, Difference], without: dict[str, Difference]) -> Table:
    """One row per loss, best first."""
    rows = []
    best_clean = max(names, key=lambda n: float(found.clean[n].accuracy.mean()))
    for name in names:
        cells = [Cell(name, code=True)]
        for result, apart, best in ((found.dirty[name], with_wrong[name], names[0]), (found.clean[name], without[name], best_clean)):
            mean, deviation = spread(100.0 * result.accuracy)
            cells.append(Cell(f"{mean:.1f} %", f"± {deviation:.1f}", "best" if name == best else ("bad" if apart.clear else "good")))
        for scores in (found.dirty[name].ece, found.clean[name].ece, found.dirty[name].nll, found.clean[name].nll):
            mean, deviation = spread(scores)
            cells.append(Cell(f"{mean:.3f}", f"± {deviation:.3f}"))
        rows.append((*cells, Cell(f"{remembered(found.dirty[name]):.0%}"), Cell(f"{found.look.pulls[name]:.0%}")))
    return Table(
        TEXTS.row("table.headings"),
        tuple(rows),
        TEXTS("table.caption"),
    )
