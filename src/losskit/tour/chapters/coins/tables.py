"""The tables of this chapter."""

from losskit.tour.chapter import Cell, Table, Text
from losskit.tour.chapters.coins.data import FOLDS
from losskit.tour.chapters.coins.seen import FINE, GOOD, PARTS, Seen, share
from losskit.tour.compare import Numbers, spread
from losskit.tour.texts import texts

TEXTS = texts("coins")


def table(seen: Seen) -> Table:
    """One row per loss, best first; below them what needs no loss."""
    found = seen.found
    rows: list[tuple[Cell, ...]] = []
    for name in seen.names:
        result, gap, fates = found.middle[name], seen.apart[name], seen.fates[name]
        mean, deviation = spread(result.scores)
        sizes = seen.by_size(name)
        tone = "best" if name == seen.best else "bad" if gap.clear else "good"
        rows.append(
            (
                Cell(name, code=True),
                Cell(f"{mean:.3f}", f"± {deviation:.3f}", tone),
                Cell("-") if name == seen.best else Cell(f"{gap.mean:.3f}", f"± {gap.margin:.3f}"),
                Cell(f"{share(result, GOOD):.0%}"),
                Cell(f"{share(result, FINE):.0%}"),
                Cell(f"{seen.off[name]:.2f}"),
                Cell(f"{sizes[0]:.3f}"),
                Cell(f"{sizes[-1]:.3f}"),
                Cell(f"{found.apart[name].iou[-1].mean():.3f}"),
                Cell(f"{fates.through}/{FOLDS}", tone="good" if fates.through == FOLDS else "bad" if fates.through == 0 else ""),
            )
        )
    still: tuple[tuple[Text, Numbers], ...] = (
        (TEXTS("table.constant"), found.constant),
        (TEXTS("table.untrained"), found.middle[seen.best].iou[0]),
    )
    for title, iou in still:
        shares = (Cell(f"{(iou >= level).mean():.0%}") for level in (GOOD, FINE))
        parts = (Cell(f"{iou[seen.part == p].mean():.3f}") for p in (0, PARTS - 1))
        rows.append((Cell(title), Cell(f"{iou.mean():.3f}"), Cell(""), *shares, Cell(""), *parts, Cell(""), Cell("")))
    return Table(
        TEXTS.row("table.headings", good=GOOD, fine=FINE),
        tuple(rows),
        TEXTS("table.caption", folds=FOLDS),
    )
