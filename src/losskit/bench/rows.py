"""The benchmark of losses on rows: ours, torch's own, `torch.compile` of it and the floor, side by side in one run. `python -m losskit.bench.rows --help`.

As in `losskit.bench`: forward and backward of "mean", sides in turns, medians, ratios only. The logits are no leaf, as behind a layer; on a leaf ours is measured as well. The floor is
`torch.add(x, 1.0)`: it reads the logits once and writes as many bytes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

import losskit
from losskit.bench import cases
from losskit.bench.report import MEMORY
from losskit.bench.run import settle_memory

Side = Callable[[Tensor, Tensor], Tensor]


class Case(NamedTuple):
    """Logits of a shape (classes along axis 1), and what is to be reached: at most this share of another side's time."""

    name: str
    shape: tuple[int, ...]
    labels: torch.dtype
    targets: dict[str, float]
    loss: str = "cross_entropy"


CASES = (
    Case("262,144 x 10", (262_144, 10), torch.int64, {"torch": 1 / 12, "torch.compile": 1 / 4}),
    Case("65,536 x 100", (65_536, 100), torch.int64, {"torch": 1 / 1.6, "torch.compile": 1 / 1.6}),
    Case("8,192 x 4,096", (8_192, 4_096), torch.int64, {"torch": 1 / 2.5, "torch.compile": 1 / 1.8}),
    Case("1,024 x 131,072", (1_024, 131_072), torch.int64, {"torch": 1 / 2.5, "torch.compile": 1 / 1.5}),
    Case("1,024 x 131,072, inplace=True", (1_024, 131_072), torch.int64, {"torch": 1 / 4}, "inplace"),
    Case("(2, 14, 96, 96, 96), uint8 labels", (2, 14, 96, 96, 96), torch.uint8, {"torch": 1 / 3.5, "torch.compile": 1 / 2}),
    Case("softmax focal, 65,536 x 100", (65_536, 100), torch.int64, {"torch": 1 / 3, "torch.compile": 1 / 2.5}, "focal"),
    Case("32 x 10", (32, 10), torch.int64, {"torch": 1.25}),
)


def focal_composite(x: Tensor, t: Tensor) -> Tensor:
    """The softmax focal loss as it is commonly written."""
    log_p = F.log_softmax(x, 1).gather(1, t[:, None])[:, 0]
    return (-((1 - log_p.exp()) ** 2) * log_p).mean()


def torch_cross_entropy(x: Tensor, t: Tensor) -> Tensor:
    """torch's own; it takes labels of int64 only."""
    return F.cross_entropy(x, t)


OURS: dict[str, Side] = {
    "cross_entropy": lambda x, t: losskit.cross_entropy(x, t),
    "inplace": lambda x, t: losskit.cross_entropy(x, t, inplace=True),
    "focal": lambda x, t: losskit.focal_loss(x, t, task="multiclass", gamma=2.0),
}


def inputs(case: Case, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Logits, a leaf, and labels."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(case.shape, generator=generator).mul_(2.0).to(dtype).requires_grad_()
    return x, torch.randint(0, min(case.shape[1], 256), (case.shape[0], *case.shape[2:]), generator=generator).to(case.labels)


def steps(case: Case, x: Tensor, t: Tensor, compiled: bool) -> dict[str, Callable[[], object]]:
    """One forward and backward of every side."""
    theirs = focal_composite if case.loss == "focal" else torch_cross_entropy
    wide = t.long()

    def step(side: Side, labels: Tensor) -> Callable[[], object]:
        return cases.training(lambda: side(x.view_as(x), labels), x)

    found = {"losskit": step(OURS[case.loss], t), "torch": step(theirs, wide)}
    if compiled and case.loss != "inplace":
        torch._dynamo.reset()
        found["torch.compile"] = step(torch.compile(theirs, fullgraph=True), wide)
    if case.loss != "inplace":
        found[cases.LEAF] = cases.training(lambda: OURS[case.loss](x, t), x)
    plain = x.detach()
    return found | {"floor": lambda: torch.add(plain, 1.0)}


def extra_memory(index: int) -> dict[str, float]:
    """`cases.extra_memory` of a case, in units of the logits."""
    x, t = inputs(CASES[index], torch.float32)
    return cases.extra_memory(steps(CASES[index], x, t, compiled=False), x.nbytes, x)


def markdown(results: dict[str, Any]) -> str:
    """The page's part on rows."""
    about = results["machine"]
    lines = [
        "# Benchmark: rows",
        "",
        f"{about['cpu']}, {about['threads']} threads, Python {about['python']}, torch {about['torch']}, {about['system']}.",
        f"Command: `{about['command']}`.",
        'Forward and backward of "mean"; medians of interleaved repeats; every figure is a ratio within this run. `floor` is `torch.add(x, 1.0)`.',
        f"Memory: {MEMORY[results['memory']]}",
        "",
        *cases.table(results["rows"], "logits", ("torch", "torch.compile")),
    ]
    halves = {r["case"]: r["seconds"]["losskit"] for r in results["rows"] if r["dtype"] == "bfloat16"}
    lines += ["", "Bold: missed. bfloat16 in multiples of float32's time (wanted: at most 1):", ""]
    lines += [f"- {r['case']}: {halves[r['case']] / r['seconds']['losskit']:.2f}" for r in results["rows"] if r["dtype"] == "float32" and r["case"] in halves]
    lines += cases.leaf_lines(results["rows"])
    lines += cases.memory_lines(results["extra memory"], "logits")
    return "\n".join([*lines, ""])


def main() -> None:
    """The command."""
    options = cases.options("rows", __doc__)
    settle_memory(options.memory, 1 << 26)
    rows = []
    for case in CASES:
        for dtype in (torch.float32,) if options.quick or case.loss == "inplace" else (torch.float32, torch.bfloat16):
            x, t = inputs(case, dtype)
            rows.append(cases.measured(case.name, dtype, steps(case, x, t, compiled=not options.quick), case.targets, options.quick))
    memory = {} if options.quick else {CASES[i].name: cases.memory_apart("rows", i) for i in (3, 4, 5)}
    cases.publish("rows", options, markdown, {"rows": rows, "extra memory": memory})


if __name__ == "__main__":
    main()
