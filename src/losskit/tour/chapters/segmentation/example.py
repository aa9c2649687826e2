"""Chapter 4, by hand: two overlapping masks, their Dice coefficient number by number, and what losskit says."""

from collections.abc import Sequence

import torch
from torch import Tensor

import losskit
from losskit.tour.chapter import Block, Cell, Figure, Heading, Paragraph, Table, Text
from losskit.tour.figures import both, picture, write
from losskit.tour.texts import texts

TEXTS = texts("segmentation")

TRUTH = ((1, 1, 1, 0, 0), (1, 1, 1, 0, 0), (1, 1, 1, 0, 0), (0, 0, 0, 0, 0))  # A
FOUND = ((0, 0, 0, 0, 0), (0, 1, 1, 1, 0), (0, 1, 1, 1, 0), (0, 0, 0, 0, 0))  # B
SOFT = ((0.0, 0.0, 0.0, 0.0, 0.0), (0.1, 0.8, 0.9, 0.6, 0.0), (0.1, 0.9, 0.8, 0.4, 0.0), (0.0, 0.0, 0.0, 0.0, 0.0))
HIT, FALSE = (1, 2), (1, 3)  # a pixel of both masks, and one that is only found
LABEL = 0.8  # of every pixel, where labels are soft
Grid = Sequence[Sequence[float]]


def by_hand() -> tuple[Block, ...]:
    """The example, step by step."""
    plain, square = soft_labels()
    return (
        Heading(TEXTS("example.heading")),
        Paragraph(TEXTS("example.article")),
        Figure(
            (drawing(FOUND, TEXTS("example.hard")), drawing(SOFT, TEXTS("example.soft"))),
            TEXTS("example.masks"),
        ),
        _steps(),
        Paragraph(TEXTS("example.soft_labels", label=LABEL, plain=plain, square=square)),
    )


def as_mask(grid: Grid, **how: bool) -> Tensor:
    """One sample."""
    return torch.tensor([grid], dtype=torch.float32, **how)


def soft_labels() -> tuple[float, float]:
    """The coefficient of a perfect prediction of soft labels, by plain sums and by squares."""
    x = torch.full((1, 20), LABEL)
    return tuple(float(losskit.dice_score(x, x, task="binary", from_logits=False, power=power)) for power in (1, 2))  # type: ignore[return-value]


def sums(b: Grid, power: int = 1) -> tuple[float, float, float]:
    """A∩B, |A| and |B|."""
    pairs = [(t, p) for row, other in zip(TRUTH, b, strict=True) for t, p in zip(row, other, strict=True)]
    return sum(t * p for t, p in pairs), float(sum(t**power for t, _ in pairs)), sum(p**power for _, p in pairs)


def drawing(b: Grid, title: Text) -> str:
    """The grid with both masks and the products, and the sums beside it."""
    cell, left, top, rows, columns = 44.0, 2.0, 30.0, len(TRUTH), len(TRUTH[0])
    parts = [write(0, 14, both(title), 14, bold=True)]
    for row in range(rows):
        for column in range(columns):
            x, y, product = left + column * cell, top + row * cell, TRUTH[row][column] * b[row][column]
            parts.append(
                f'<rect x="{x:g}" y="{y:g}" width="{cell:g}" height="{cell:g}" fill="var(--c1)" fill-opacity="{0.5 * b[row][column]:.3g}" stroke="var(--grid)"/>'
            )
            if TRUTH[row][column] or b[row][column]:
                parts.append(
                    write(x + cell / 2, y + cell / 2 + 5, f"{product:g}", 14, anchor="middle", colour="ink" if product else "soft", bold=bool(product))
                )
    side = 3 * cell
    parts.append(f'<rect x="{left:g}" y="{top:g}" width="{side:g}" height="{side:g}" fill="none" stroke="var(--c0)" stroke-width="3"/>')
    parts += [
        write(left + 4, top + 14, "A", 13, colour="c0", bold=True),
        write(left + 4 * cell - 3, top + 3 * cell - 4, "B", 13, anchor="end", colour="c1", bold=True),
    ]
    i, a, p = sums(b)
    first, second = (" + ".join(f"{t * v:g}" for t, v in zip(TRUTH[row], b[row], strict=True) if t * v) for row in (1, 2))
    lines = (
        (f"|A∩B| = {first}", "ink"),
        (f"+ {second} = {i:g}", "ink"),
        (f"|A| = {a:g}", "c0"),
        (f"|B| = {p:g}", "c1"),
        (f"2 · {i:g} / ({a:g} + {p:g})", "ink"),
        (f"= {2 * i / (a + p):.4f}", "ink"),
    )
    beside = left + columns * cell + 18
    parts += [write(beside, top + 18 + 28 * n, words, 14, colour=colour, bold=n == len(lines) - 1) for n, (words, colour) in enumerate(lines)]
    alt = TEXTS("example.alt", title=title, first=first, second=second, overlap=i, a=a, b=p, dice=2 * i / (a + p))
    return picture(f"0 0 {beside + 185:g} {top + rows * cell + 3:g}", "".join(parts), alt)


def _steps() -> Table:
    """Coefficient, loss and gradient of hard masks, of probabilities, and with squares; the lines that begin with losskit are its answers."""
    cases = ((FOUND, 1), (SOFT, 1), (SOFT, 2))
    counts = [sums(b, power) for b, power in cases]
    dice = [2 * i / (a + p) for i, a, p in counts]
    iou = [i / (a + p - i) for i, a, p in counts]
    gradients = [
        [(d * b[y][x] ** (power - 1) * power - 2 * TRUTH[y][x]) / (a + p) for (b, power), (_, a, p), d in zip(cases, counts, dice, strict=True)]
        for y, x in (HIT, FALSE)
    ]
    said = [_said(b, power) for b, power in cases]
    lines: tuple[tuple[Text, Sequence[float]], ...] = (
        (TEXTS("example.overlap"), [c[0] for c in counts]),
        (TEXTS("example.a"), [c[1] for c in counts]),
        (TEXTS("example.b"), [c[2] for c in counts]),
        (TEXTS("example.dice"), dice),
        (TEXTS("example.losskit_dice"), [s[0] for s in said]),
        (TEXTS("example.iou"), iou),
        (TEXTS("example.losskit_iou"), [s[1] for s in said]),
        (TEXTS("example.loss"), [1.0 - d for d in dice]),
        (TEXTS("example.losskit_loss"), [s[2] for s in said]),
        (TEXTS("example.inside"), gradients[0]),
        (TEXTS("example.losskit_gradient"), [s[3] for s in said]),
        (TEXTS("example.outside"), gradients[1]),
        (TEXTS("example.losskit_gradient"), [s[4] for s in said]),
    )
    return Table(
        TEXTS.row("example.headings"),
        tuple((Cell(name), *(Cell(f"{v:.4f}") for v in numbers)) for name, numbers in lines),
        TEXTS("example.caption", inside=HIT[0] + 1, outside=HIT[1] + 1, dice=dice[0], rest=2 - dice[0], iou=iou[0]),
    )


def _said(b: Grid, power: int) -> tuple[float, float, float, float, float]:
    """losskit's score, index, loss, and gradient at two pixels."""
    p, t = as_mask(b, requires_grad=True), as_mask(TRUTH)
    loss = losskit.dice_loss(p, t, task="binary", from_logits=False, smooth=0.0, power=power)
    (slope,) = torch.autograd.grad(loss, p)
    with torch.no_grad():
        dice, iou = (float(score(p, t, task="binary", from_logits=False, power=power)) for score in (losskit.dice_score, losskit.jaccard_score))
    return dice, iou, float(loss.detach()), float(slope[0][HIT]), float(slope[0][FALSE])
