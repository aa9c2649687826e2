"""By hand: two unit squares beside each other and diagonally, under every loss."""

import torch

import losskit
from losskit.contract.boxes import boxes
from losskit.contract.registry import LOSSES
from losskit.curves import module
from losskit.tour.chapter import Cell, Table, Text
from losskit.tour.chapters.boxes.published import published_giou
from losskit.tour.texts import texts

TEXTS = texts("boxes")


def by_hand() -> Table:
    """Two unit squares with a gap of 1, beside each other and diagonally: every loss step by step, and losskit's result."""
    target = (0.0, 0.0, 1.0, 1.0)
    starts = ((2.0, 0.0, 3.0, 1.0), (2.0, 2.0, 3.0, 3.0))
    x, t = torch.tensor(starts, requires_grad=True), torch.tensor([target] * 2)
    with losskit.use_engine("torch"):  # two boxes are no reason to compile a loop
        giou, diou = (module(LOSSES[n], {"reduction": "none"})(x, t) for n in ("giou_loss", "diou_loss"))
        published = boxes(published_giou, x, t, box_format="xyxy", mask=None, sample_weight=None, normalizer=None, reduction="none")
        slope, wrong_slope = ([float(g[0] + g[2]) + 0.0 for g in torch.autograd.grad(v.sum(), x)[0]] for v in (giou, published))
    hull, union, wrong = (3.0, 9.0), 2.0, (3.0, 1.0)
    distance, diagonal = (4.0, 8.0), (10.0, 18.0)
    lines: tuple[tuple[str | Text, ...], ...] = (
        (TEXTS("by_hand.sides"), "-1, 1", "-1, -1"),
        (TEXTS("by_hand.union"), f"{union:g}", f"{union:g}"),
        (TEXTS("by_hand.published"), *(f"{w:g}" for w in wrong)),
        (TEXTS("by_hand.enclosing"), *(f"{c:g}" for c in hull)),
        (TEXTS("by_hand.giou"), *(f"{1 + (c - union) / c:.4f}" for c in hull)),
        (TEXTS("by_hand.losskit_giou"), *(f"{v:.4f}, {s:.4f}" for v, s in zip(giou.tolist(), slope, strict=True))),
        (
            TEXTS("by_hand.published_giou"),
            *(f"{1 + (c - w) / c:.4f}, {s:.4f}" for c, w, s in zip(hull, wrong, wrong_slope, strict=True)),
        ),
        (TEXTS("by_hand.diou"), *(f"1 + {d:g} / {c:g} = {1 + d / c:.4f}" for d, c in zip(distance, diagonal, strict=True))),
        (TEXTS("by_hand.losskit"), *(f"{v:.4f}" for v in diou.tolist())),
    )
    return Table(
        TEXTS.row("by_hand.headings"),
        tuple(tuple(Cell(entry) for entry in line) for line in lines),
        TEXTS("by_hand.caption"),
    )
