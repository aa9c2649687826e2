"""The benchmark of boxes: ours, PyTorch operations, `torch.compile` of them, torchvision and the floor, side by side in one run. `python -m losskit.bench.boxes --help`.

As in `losskit.bench`: sides in turns, medians, ratios only; forward and backward of the mean where a case does not say otherwise. The floor of aligned boxes is
`torch.add(a, b)`, eight numbers read and four written per box; that of a matrix is its own sum and a copy.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

import losskit
from losskit.bench import cases, turned
from losskit.bench.report import MEMORY
from losskit.bench.run import settle_memory
from losskit.bench.sides import torchvision_focal

Side = Callable[[Tensor, Tensor], Any]


class Case(NamedTuple):
    """Boxes, and what is to be reached: at most this share of another side's time."""

    name: str
    loss: str
    rows: int
    columns: int  # 0: aligned
    gradient: bool
    targets: dict[str, float]
    at_a_time: int = 1


MILLION = 1_000_000
FAST = {"torchvision": 1 / 40, "torch.compile": 1 / 15, "floor": 2.0}
CASES = (
    Case("IoU, 1M", "iou", MILLION, 0, True, {"torch.compile": 1 / 15, "floor": 2.0}),
    Case("GIoU, 1M", "giou", MILLION, 0, True, FAST),
    Case("DIoU, 1M", "diou", MILLION, 0, True, FAST),
    Case("CIoU, 1M", "ciou", MILLION, 0, True, {"torchvision": 1 / 20, "torch.compile": 1 / 15}),
    Case("GIoU, 64", "giou", 64, 0, True, {"torchvision": 1 / 4}),
    Case("GIoU, 64, a hundred calls at a time", "giou", 64, 0, True, {"torchvision": 1 / 4}, 100),
    Case("pairwise GIoU, 8,400 x 100, forward", "pairwise", 8_400, 100, False, {"torchvision": 1 / 6}),
    Case("pairwise GIoU, 20,000 x 500", "pairwise", 20_000, 500, True, {}),
    Case("best_match, 100,000 x 200, forward", "best_match", 100_000, 200, False, {"torchvision": 1.0}),
    Case("IoU of turned boxes, 100,000", "turned", 100_000, 0, True, {"composite": 1 / 20}),
)
MATRIX = 7  # the case whose memory is looked at


def measured(a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    """IoU, union, sides of the enclosing box, distance of the centres, sides of both: column by column, which the compiler fuses best."""
    ax0, ay0, ax1, ay1 = a.unbind(1)
    bx0, by0, bx1, by1 = b.unbind(1)
    both = (torch.min(ax1, bx1) - torch.max(ax0, bx0)).clamp(min=0) * (torch.min(ay1, by1) - torch.max(ay0, by0)).clamp(min=0)
    aw, ah, bw, bh = ax1 - ax0, ay1 - ay0, bx1 - bx0, by1 - by0
    union = aw * ah + bw * bh - both
    hull = torch.max(ax1, bx1) - torch.min(ax0, bx0), torch.max(ay1, by1) - torch.min(ay0, by0)
    return both / union, union, *hull, (ax0 + ax1 - bx0 - bx1) / 2, (ay0 + ay1 - by0 - by1) / 2, aw, ah, bw, bh


def iou(a: Tensor, b: Tensor) -> Tensor:
    """1 - IoU."""
    return (1 - measured(a, b)[0]).mean()


def giou(a: Tensor, b: Tensor) -> Tensor:
    """1 - GIoU."""
    shared, union, width, height, *_ = measured(a, b)
    area = width * height
    return (1 - shared + (area - union) / area).mean()


def diou(a: Tensor, b: Tensor) -> Tensor:
    """1 - DIoU."""
    shared, _, width, height, x, y, *_ = measured(a, b)
    return (1 - shared + (x * x + y * y) / (width * width + height * height)).mean()


def ciou(a: Tensor, b: Tensor) -> Tensor:
    """1 - CIoU, alpha held constant."""
    shared, _, width, height, x, y, aw, ah, bw, bh = measured(a, b)
    v = 4 / torch.pi**2 * (torch.atan(bw / bh) - torch.atan(aw / ah)).pow(2)
    alpha = (v / (1 - shared + v)).detach()
    return (1 - shared + (x * x + y * y) / (width * width + height * height) + alpha * v).mean()


COMPOSITES: dict[str, Side] = {"iou": iou, "giou": giou, "diou": diou, "ciou": ciou, "turned": turned.iou}
OURS: dict[str, Side] = {
    "iou": losskit.iou_loss,
    "giou": losskit.giou_loss,
    "diou": losskit.diou_loss,
    "ciou": losskit.ciou_loss,
    "pairwise": lambda a, b: losskit.pairwise_iou(a, b, kind="giou"),
    "best_match": lambda a, b: losskit.best_match(a, b, kind="iou"),
    "turned": lambda a, b: losskit.iou_loss(a, b, box_format="cxcywha"),
}


def peers(loss: str) -> dict[str, Side]:
    """torchvision's, if it is installed."""
    if torchvision_focal() is None:
        return {}
    from torchvision import ops

    found: dict[str, Side] = {
        "giou": lambda a, b: ops.generalized_box_iou_loss(a, b, reduction="mean"),
        "diou": lambda a, b: ops.distance_box_iou_loss(a, b, reduction="mean"),
        "ciou": lambda a, b: ops.complete_box_iou_loss(a, b, reduction="mean"),
        "pairwise": ops.generalized_box_iou,
        "best_match": lambda a, b: ops.box_iou(a, b).max(1),
    }
    return {"torchvision": found[loss]} if loss in found else {}


def inputs(case: Case) -> tuple[Tensor, Tensor]:
    """Boxes with sides up to 100 somewhere in 100 x 100; the first a leaf."""
    generator = torch.Generator().manual_seed(0)

    def some(count: int) -> Tensor:
        numbers = torch.rand(count, 4, generator=generator) * 100
        if case.loss == "turned":
            return torch.cat((numbers, torch.rand(count, 1, generator=generator) * 6.0), 1)
        return torch.cat((numbers[:, :2], numbers[:, :2] + numbers[:, 2:]), 1)

    return some(case.rows).requires_grad_(case.gradient), some(case.columns or case.rows)


def steps(case: Case, a: Tensor, b: Tensor, compiled: bool) -> dict[str, Callable[[], object]]:
    """One forward, and backward, of every side."""
    b = b.requires_grad_() if case.gradient and case.columns else b
    wanted = (a, b) if case.columns else (a,)

    def step(side: Side) -> Callable[[], object]:
        if not case.gradient:
            return lambda: side(a, b)
        return cases.training(lambda: side(a, b).sum(), *wanted)

    found = {"losskit": step(OURS[case.loss])}
    if case.loss in COMPOSITES:
        found["composite"] = step(COMPOSITES[case.loss])
        if compiled and case.loss != "turned":  # of its sorting the compiler makes code that takes fifteen seconds per step
            torch._dynamo.reset()
            found["torch.compile"] = step(torch.compile(COMPOSITES[case.loss], fullgraph=True))
    found |= {name: step(side) for name, side in peers(case.loss).items()}
    plain, other = a.detach(), b.detach()
    matrix = torch.zeros(case.rows, case.columns or 1)
    return found | {"floor": (lambda: torch.add(plain, other)) if not case.columns else (lambda: (matrix.sum(), matrix.clone()))}


def extra_memory(index: int) -> dict[str, float]:
    """`cases.extra_memory` of a case, in units of the matrix."""
    case = CASES[index]
    a, b = inputs(case)
    return cases.extra_memory(steps(case, a, b, compiled=False), 4 * case.rows * case.columns, a, b)


def markdown(results: dict[str, Any]) -> str:
    """The page's part on boxes."""
    about = results["machine"]
    lines = [
        "# Benchmark: boxes",
        "",
        f"{about['cpu']}, {about['threads']} threads, Python {about['python']}, torch {about['torch']}, {about['system']}.",
        f"Command: `{about['command']}`.",
        "Forward and backward where a case does not say otherwise; medians of interleaved repeats; every figure is a ratio within this run. `floor` is",
        "`torch.add(a, b)` of aligned boxes, the sum and a copy of a matrix.",
        f"Memory: {MEMORY[results['memory']]}",
        "",
        *cases.table(results["rows"], "boxes", ("composite", "torch.compile", "torchvision")),
        "",
        "Bold: missed.",
        *cases.memory_lines(results["extra memory"], "matrix"),
    ]
    return "\n".join([*lines, ""])


def main() -> None:
    """The command."""
    options = cases.options("boxes", __doc__)
    settle_memory(options.memory, 1 << 24)
    rows = []
    for case in CASES:
        a, b = inputs(case)
        rows.append(cases.measured(case.name, torch.float32, steps(case, a, b, compiled=not options.quick), case.targets, options.quick, case.at_a_time))
    memory = {} if options.quick else {CASES[MATRIX].name: cases.memory_apart("boxes", MATRIX)}
    cases.publish("boxes", options, markdown, {"rows": rows, "extra memory": memory})


if __name__ == "__main__":
    main()
