"""The tables of this chapter."""

from collections.abc import Sequence

from losskit.tour.chapter import Cell, Table, Text
from losskit.tour.chapters.boxes.claims import AXIS, DIAGONAL, FAR, LARGE, Claim, left, percent, places, steps_to
from losskit.tour.chapters.boxes.experiment import CASES, ON_TARGET, PAPER, Findings, title
from losskit.tour.texts import texts

TEXTS = texts("boxes")


def rows(found: Findings) -> dict[str, tuple[str, ...]]:
    """The few numbers the terminal shows of each loss."""
    axis, diagonal = places(found)
    rows = {}
    for name, course in found.courses.items():
        tenth = steps_to(course, 0.1)
        directions = (percent(left(found, name, where)) for where in (axis, diagonal))
        rows[name] = (f"{course.error[-1]:.4f}", "-" if tenth is None else str(tenth), f"{course.iou.mean():.3f}", *directions)
    return rows


def outcome(held: bool) -> Text:
    """Whether a claim came out, in a word."""
    return TEXTS("outcome.held") if held else TEXTS("outcome.failed")


def claims_table(judged: Sequence[Claim]) -> Table:
    """Claim by claim: what was measured, and whether the claim holds, with either GIoU."""

    def pair(measured: Text | None, held: bool) -> tuple[Cell, Cell]:
        if measured is None:
            return Cell(""), Cell("")
        return Cell(measured), Cell(outcome(held), tone="good" if held else "bad")

    rows = [(Cell(c.words), *pair(c.measured, c.held), *pair(c.published, c.held_published)) for c in judged]
    return Table(
        TEXTS.row("claims.headings"),
        tuple(rows),
        prose=True,
        caption=TEXTS("claims.caption", large=LARGE, axis=AXIS, diagonal=DIAGONAL),
    )


def table(found: Findings) -> Table:
    """One row per loss."""
    best = min((n for n in PAPER if n != "smooth_l1_loss"), key=lambda n: found.courses[n].error[-1])
    axis, diagonal = places(found)
    rows = []
    for name, course in found.courses.items():
        half, tenth = steps_to(course, 0.5), steps_to(course, 0.1)
        rows.append(
            (
                Cell(title(name), code=True),
                Cell(f"{course.error[-1]:.4f}", tone="best" if name == best else ""),
                Cell(f"{course.error[-1] * len(found.offset) * CASES:,.0f}"),
                Cell("-" if half is None else str(half)),
                Cell("-" if tenth is None else str(tenth)),
                Cell(f"{course.iou.mean():.3f}"),
                Cell(f"{course.arrived:.1%}"),
                Cell(percent(left(found, name, axis))),
                Cell(percent(left(found, name, diagonal))),
            )
        )
    return Table(
        TEXTS.row("table.headings", on_target=ON_TARGET),
        tuple(rows),
        TEXTS("table.caption", error=found.courses["iou_loss"].error[0], far=FAR),
    )
