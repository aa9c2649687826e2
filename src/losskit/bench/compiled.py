"""The benchmark of compiled steps: ours in a compiled graph, the same compiled from plain operations, what users write and compile, and ours in an eager call.

`python -m losskit.bench.compiled --help`. As in `losskit.bench`: sides in turns, medians, ratios only; forward and `.backward()` on the first operand.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

import losskit
from losskit.bench import cases
from losskit.bench.report import MEMORY
from losskit.bench.run import settle_memory

Side = Callable[..., Tensor]


def focal(x: Tensor, t: Tensor) -> Tensor:
    """Focal loss as it is usually written."""
    p = torch.sigmoid(x)
    entropy = F.binary_cross_entropy_with_logits(x, t, reduction="none")
    return (entropy * (1 - (p * t + (1 - p) * (1 - t))) ** 2).mean()


def giou(a: Tensor, b: Tensor) -> Tensor:
    """As torchvision writes it, of corners in order."""

    def area(sides: Tensor) -> Tensor:
        return sides[:, 0] * sides[:, 1]

    overlap = area((torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0))
    union = area(a[:, 2:] - a[:, :2]) + area(b[:, 2:] - b[:, :2]) - overlap
    hull = area(torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2]))
    return (1 - overlap / union + (hull - union) / hull).mean()


def dice_ce(x: Tensor, t: Tensor) -> Tensor:
    """Dice of one-hot labels and cross-entropy, as usually written."""
    p, hot = x.softmax(1), F.one_hot(t, x.shape[1]).movedim(-1, 1).to(x.dtype)
    axes = tuple(range(2, x.dim()))
    return (1 - (2 * (p * hot).sum(axes) + 1) / (p.sum(axes) + hot.sum(axes) + 1)).mean() + F.cross_entropy(x, t)


def logits(items: int, classes: int) -> tuple[Tensor, ...]:
    """Class scores and labels."""
    return torch.randn(items, classes), torch.randint(0, classes, (items,))


def boxes(count: int) -> tuple[Tensor, ...]:
    """Pairs of boxes that overlap."""
    low = torch.rand(count, 2)
    return torch.cat((low, low + torch.rand(count, 2) + 0.1), 1), torch.cat((low + 0.05, low + torch.rand(count, 2) + 0.2), 1)


class Case(NamedTuple):
    """A loss, what users write, its operands, and what is to be reached."""

    name: str
    ours: Side
    composite: Side
    operands: Callable[[], tuple[Tensor, ...]]
    targets: Mapping[str, float] = {}


CASES = (
    Case("cross-entropy, 8,192 x 4,096", losskit.cross_entropy, F.cross_entropy, lambda: logits(8192, 4096), {"torch": 1 / 1.5}),
    Case("cross-entropy, 1,024 x 131,072", losskit.cross_entropy, F.cross_entropy, lambda: logits(1024, 131072), {"torch": 1 / 1.5}),
    Case(
        "Dice + CE, 2 x 14 x 96 x 96 x 96", lambda x, t: losskit.dice_ce_loss(x, t, task="multiclass"), dice_ce,
        lambda: (torch.randn(2, 14, 96, 96, 96), torch.randint(0, 14, (2, 96, 96, 96))), {"torch": 1 / 2.3},
    ),
    Case("GIoU, 1,000,000", losskit.giou_loss, giou, lambda: boxes(1_000_000), {"torch": 1 / 5}),
    Case("focal, 8,388,608", losskit.focal_loss, focal, lambda: (torch.randn(1 << 23), torch.rand(1 << 23)), {"torch": 1 / 3.5}),
    Case(
        "linear cross-entropy, 1,024 x 512 x 16,000", lambda h, w, t: losskit.linear_cross_entropy(h, w, t), lambda h, w, t: F.cross_entropy(F.linear(h, w), t),
        lambda: (torch.randn(1024, 512), torch.randn(16000, 512), torch.randint(0, 16000, (1024,))), {"torch": 1.0},
    ),
    Case("mean squared error, 64", losskit.mse_loss, F.mse_loss, lambda: (torch.randn(64), torch.rand(64)), {"torch": 1.0}),
)  # fmt: skip


def steps_of(case: Case, quick: bool) -> dict[str, Callable[[], object]]:
    """The sides of a case on the same tensors, each compiled for itself."""
    torch.manual_seed(0)
    torch.compiler.reset()
    x, *rest = case.operands()
    x.requires_grad_()

    def plain(*operands: Tensor) -> Tensor:
        return case.ours(*operands)

    backend = "aot_eager" if quick else "inductor"
    sides: dict[str, Side] = {
        "losskit": torch.compile(case.ours, fullgraph=True, backend=backend),
        "torch": torch.compile(case.composite, fullgraph=True, backend=backend),
        "plain operations": torch.compile(plain, fullgraph=True, backend=backend),
        "eager": case.ours,
    }

    def called(name: str) -> Tensor:
        if name != "plain operations":
            return sides[name](x, *rest)
        with losskit.use_engine("torch"):
            return sides[name](x, *rest)

    return {name: cases.training(lambda name=name: called(name), x) for name in sides}  # type: ignore[misc]


def markdown(results: dict[str, Any]) -> str:
    """The results as a page."""
    about = results["machine"]
    lines = [
        "# Benchmark of compiled steps",
        "",
        f"{about['cpu']}, {about['threads']} threads, Python {about['python']}, torch {about['torch']}, {about['system']}.",
        f"Command: `{about['command']}`.",
        f"Memory: {MEMORY[results['memory']]}",
        "float32; forward and `.backward()` of a loss alone, compiled. `torch` is what users write, compiled; `plain operations` is our own loss without operators, compiled;",
        "`eager` our own, not compiled. Multiples of ours, compiled.",
        "",
        "| loss | torch | plain operations | eager | wanted |",
        "|---|---|---|---|---|",
    ]
    for row in results["cases"]:
        s, wanted = row["seconds"], 1.0 / row["targets"]["torch"]
        ratio = {name: s[name] / s["losskit"] for name in ("torch", "plain operations", "eager")}
        first = f"{ratio['torch']:.2f}" if ratio["torch"] >= wanted else f"**{ratio['torch']:.2f}**"
        lines.append(f"| {row['case']} | {first} | {ratio['plain operations']:.2f} | {ratio['eager']:.2f} | torch {wanted:.2g} |")
    return "\n".join([*lines, "", "Bold: missed."]) + "\n"


def main() -> None:
    """The command."""
    options = cases.options("compiled", __doc__)
    settle_memory(options.memory, 1 << 27)
    found = [cases.measured(case.name, torch.float32, steps_of(case, options.quick), case.targets, options.quick) for case in CASES]
    cases.publish("compiled", options, markdown, {"cases": found})


if __name__ == "__main__":
    main()
