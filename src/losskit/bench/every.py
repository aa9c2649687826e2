"""The benchmark of every loss: the fused pass against the same loss in PyTorch operations, as eager code runs it.

`python -m losskit.bench.every --help`. As in `losskit.bench`: sides in turns, medians, ratios only; forward and `.backward()` on the input. The operations are losskit's own
(`use_engine("torch")`), as exact as the pass: whoever writes a loss with fewer of them, and less care, takes less time than they do.
"""

import math
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

import losskit
from losskit.bench import cases
from losskit.bench.run import settle_memory
from losskit.contract.registry import LOSSES, Loss

NUMBERS, SCORES, PICTURES, PICTURE, BATCH, BOXES = 1 << 20, (8192, 100), (4, 4, 128, 128), (4, 3, 96, 96), 512, 1 << 17
COMPOSED = ("operations", "vectors", "windows")  # patterns that are PyTorch operations on every engine


def settings_of(loss: Loss) -> dict[str, Any]:
    """The first settings; of tasks, the one with classes where there is one."""
    settings = {name: loss.arguments[0][name] for name in loss.required if name != "task"}
    settings |= {operand.name: loss.arguments[0][operand.name] for operand in loss.operands if operand.predicted and operand.name in loss.arguments[0]}
    if "task" in loss.required:
        settings["task"] = "multiclass"
    return settings


def batch(loss: Loss, settings: Mapping[str, Any]) -> tuple[Tensor, ...]:
    """Tensors of a call, of a size that takes milliseconds."""
    if loss.pattern in ("overlap", "ranked", "operations"):
        x = torch.randn(PICTURES)
        return x, torch.randn_like(x) if loss.target == "real" else torch.randint(PICTURES[1], (PICTURES[0], *PICTURES[2:]))
    if loss.pattern == "boxes":
        x = torch.rand(BOXES, 4)
        x[:, 2:] += x[:, :2] + 0.1
        return x, x + 0.2 * torch.rand(BOXES, 4)
    if loss.pattern == "windows":
        return torch.rand(PICTURE), torch.rand(PICTURE)
    if loss.pattern == "vectors":
        x = torch.randn(BATCH, 64)
        if loss.target == "none":
            return tuple(torch.randn(BATCH, 64) for _ in loss.tensors)
        labels = torch.ones(BATCH) if loss.ranges else torch.randint(BATCH // 4, (BATCH,))
        return *(torch.randn(BATCH, 64) for _ in loss.tensors[1:]), labels
    if loss.pattern == "linear":
        return torch.randn(512, 256), torch.randn(4096, 256), torch.randint(4096, (512,))
    if loss.pattern in ("rows", "distributions") or loss.multilabel:
        return scores(loss)
    x = torch.rand(NUMBERS) if loss.input == "probability" else torch.randn(NUMBERS)
    if loss.target == "none":
        return (x,)
    if loss.tensors[0] == "input1":
        return x, torch.randn(NUMBERS)
    t = torch.rand(NUMBERS) if loss.target == "unit" else torch.randn(NUMBERS)
    t = t.sign() if "target" in loss.ranges and loss.ranges["target"][0] == "-1 or 1" else t.abs() if "target" in loss.ranges else t
    return (x.abs() if "input" in loss.ranges and loss.input == "real" else x), t


def scores(loss: Loss) -> tuple[Tensor, ...]:
    """Scores of classes, and what stands beside them."""
    x, items = torch.randn(SCORES), SCORES[:1]
    x = {"cosine": x.tanh(), "probability": x.softmax(1), "log-probability": x.log_softmax(1)}.get(loss.input, x)
    kinds = {"none": (), "set": (x > 1,), "distribution": (torch.randn(SCORES).softmax(1),), "position": ((SCORES[1] - 1) * torch.rand(items),)}
    if loss.target == "unit" and loss.multilabel:
        return x, (torch.randn(SCORES) > 1).float()
    return x, *kinds.get(loss.target, (torch.randint(SCORES[1], items),))


def measured(loss: Loss, quick: bool) -> dict[str, Any]:
    """One loss."""
    torch.manual_seed(0)
    settings = settings_of(loss)
    x, *rest = batch(loss, settings)
    x.requires_grad_()

    def value() -> Tensor:
        return loss.function(x, *rest, **settings)

    def plain() -> Tensor:
        with losskit.use_engine("torch"):
            return value()

    steps = {"losskit": cases.training(value, x)}
    if loss.pattern not in COMPOSED:
        steps["operations"] = cases.training(plain, x)
    shape = " x ".join(f"{size:,}" for size in x.shape)
    found = cases.measured(f"{loss.name}, {shape}", torch.float32, steps, {}, quick)
    return {**found, "loss": loss.name, "pattern": loss.pattern}


def markdown(results: dict[str, Any]) -> str:
    """The results as a page."""
    about = results["machine"]
    lines = [
        "# Benchmark of every loss",
        "",
        f"{about['cpu']}, {about['threads']} threads, Python {about['python']}, torch {about['torch']}, {about['system']}.",
        f"Command: `{about['command']}`.",
        "Forward and `.backward()`, float32, defaults; multiples of ours. Losses without a number are made of PyTorch operations on every engine.",
        "",
        "| loss | size | pattern | the same in PyTorch operations |",
        "|---|---|---|---|",
    ]
    for row in results["cases"]:
        s, (name, size) = row["seconds"], row["case"].split(", ", 1)
        lines.append(f"| {name} | {size} | {row['pattern']} | {s.get('operations', math.nan) / s['losskit']:.1f} |".replace("nan", ""))
    return "\n".join(lines) + "\n"


def main() -> None:
    """The command."""
    options = cases.options("every", __doc__)
    warnings.simplefilter("ignore")
    settle_memory(options.memory, NUMBERS)
    found = [measured(loss, True) for loss in LOSSES.values()]
    cases.publish("every", options, markdown, {"cases": found})


if __name__ == "__main__":
    main()
