"""The tables of this chapter."""

from losskit.tour.chapter import Cell, Table
from losskit.tour.chapters.segmentation.data import NEARLY_EMPTY
from losskit.tour.chapters.segmentation.seen import Seen
from losskit.tour.compare import spread
from losskit.tour.texts import texts

TEXTS = texts("segmentation")


def table(seen: Seen) -> Table:
    """One row per loss, best first."""
    rows = []
    for name in seen.names:
        cells = [Cell(name, code=True)]
        for key, of in seen.found.results.items():
            mean, deviation = spread(of[name].dice)
            tone = "best" if name == seen.order[key][0] else "bad" if seen.apart[key][name].clear else "good"
            cells += [Cell(f"{mean:.3f}", f"± {deviation:.3f}", tone), Cell(f"{of[name].iou.mean():.3f}", f"± {spread(of[name].iou)[1]:.3f}")]
        spots = seen.objects[name]
        near = float(seen.results[name].by_tile[seen.near].mean())
        cells += [Cell(f"{near:.3f}"), Cell(f"{seen.false[name]:.1f}"), Cell(f"{seen.kept[name]}"), Cell(f"{spots.found}"), Cell(f"{spots.false}")]
        rows.append(tuple(cells))
    there, empties = seen.objects[seen.names[0]].there, int(seen.empty.sum())
    return Table(
        TEXTS.row("table.headings", empties=empties, there=there),
        tuple(rows),
        TEXTS("table.caption", nearly_empty=NEARLY_EMPTY),
    )
