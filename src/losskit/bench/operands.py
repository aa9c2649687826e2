"""The benchmark of losses with several operands: ours, PyTorch operations, `torch.compile` of them, and the floor, side by side in one run.

`python -m losskit.bench.operands --help`. As in `losskit.bench`: sides in turns, medians, ratios only; forward and `.backward()` on leaves. The floor moves the bytes
that a step cannot do without (each operand read once, each gradient written once): additions into fresh tensors.
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
SIZE = 8_000_000


def gaussian(x: Tensor, t: Tensor, log_var: Tensor) -> Tensor:
    """As users write it with torch's own loss, for a network that predicts a log-variance."""
    return F.gaussian_nll_loss(x, t, log_var.exp())


def barron(x: Tensor, t: Tensor, alpha: Tensor, scale: Tensor) -> Tensor:
    """The general robust loss with a learned shape and scale, as the paper writes it."""
    b = (alpha - 2).abs()
    z = ((x - t) / scale) ** 2
    return (b / alpha * ((z / b + 1) ** (alpha / 2) - 1)).mean()


def huber(x: Tensor, t: Tensor, delta: Tensor) -> Tensor:
    """Huber's loss with a learned threshold."""
    a = (x - t).abs()
    return torch.where(a < delta, 0.5 * a * a, delta * (a - 0.5 * delta)).mean()


def weighed(x: Tensor, t: Tensor, weight: Tensor) -> Tensor:
    """Weights per item with a gradient, also through the denominator."""
    return (F.binary_cross_entropy_with_logits(x, t, reduction="none") * weight).sum() / weight.sum()


class Case(NamedTuple):
    """A loss, what it takes besides input and target (per element, or one number), what users write, and what is to be reached."""

    name: str
    ours: Side
    composite: Side
    extra: tuple[str, ...]  # "element" or "one" each
    targets: Mapping[str, float] = {}


CASES = (
    Case("Gaussian NLL, log-variance", lambda x, t, v: losskit.gaussian_nll_loss(x, t, log_var=v), gaussian, ("element",), {"torch": 1 / 4, "floor": 2.0}),
    Case("Barron, learned alpha and scale", lambda x, t, a, s: losskit.barron_loss(x, t, alpha=a, scale=s), barron, ("one", "one"), {"torch": 1 / 8}),
    Case("Huber, learned delta", lambda x, t, d: losskit.huber_loss(x, t, delta=d), huber, ("one",)),
    Case("Huber, delta per element", lambda x, t, d: losskit.huber_loss(x, t, delta=d), huber, ("element",)),
    Case("BCE, learned weights", lambda x, t, w: losskit.binary_cross_entropy_with_logits(x, t, sample_weight=w), weighed, ("element",)),
)


def steps_of(case: Case, quick: bool) -> dict[str, Callable[[], object]]:
    """The sides of a case on the same tensors."""
    generator = torch.Generator().manual_seed(0)
    x, t = torch.randn(SIZE, generator=generator), torch.rand(SIZE, generator=generator)
    extra = [torch.rand(SIZE if kind == "element" else (), generator=generator) * 0.5 + 0.75 for kind in case.extra]
    leaves = [y.requires_grad_() for y in (x, *extra)]
    sides: dict[str, Side] = {"losskit": case.ours, "torch": case.composite}
    if not quick:
        sides["torch.compile"] = torch.compile(case.composite)
    steps: dict[str, Callable[[], object]] = {name: cases.training(lambda side=side: side(x, t, *extra), *leaves) for name, side in sides.items()}  # type: ignore[misc]
    wide = [y.detach() for y in leaves if y.dim()]

    def floor() -> None:
        torch.add(x.detach(), t)
        for y in wide[1:]:
            torch.neg(y)

    steps["floor"] = floor
    return steps


def quantiles(quick: bool) -> dict[str, Any]:
    """Nine quantiles of each target in one pass, against one quantile of it, and against nine passes."""
    generator = torch.Generator().manual_seed(0)
    count = SIZE // 9
    x, t = torch.randn(count, 9, generator=generator).requires_grad_(), torch.randn(count, generator=generator)
    one = x.detach()[:, 4].clone().requires_grad_()
    levels = [k / 10 for k in range(1, 10)]
    steps = {
        "losskit": cases.training(lambda: losskit.quantile_loss(x, t, quantile=levels), x),
        "one quantile": cases.training(lambda: losskit.quantile_loss(one, t, quantile=0.5), one),
        "as many numbers": cases.training(lambda: losskit.quantile_loss(x, t[:, None].expand(-1, 9).contiguous(), quantile=0.5), x),
        "floor": lambda: torch.add(x.detach(), t[:, None]),
    }
    return cases.measured(f"9 quantiles of {count:,} targets", torch.float32, steps, {}, quick)


def markdown(results: dict[str, Any]) -> str:
    """The results as a page."""
    about = results["machine"]
    lines = [
        "# Benchmark of losses with several operands",
        "",
        f"{about['cpu']}, {about['threads']} threads, Python {about['python']}, torch {about['torch']}, {about['system']}.",
        f"Command: `{about['command']}`.",
        f"Memory: {MEMORY[results['memory']]}",
        f"{SIZE:,} elements, float32; forward and `.backward()` on leaves: gradients to the input and to every extra operand. The first column is in multiples of the",
        "floor, the others in multiples of ours.",
        "",
        *cases.table(results["cases"], "case", ("torch", "torch.compile")),
        "",
        "Bold: missed. torch: its own Gaussian likelihood and binary cross-entropy, else PyTorch operations as the paper writes them.",
        "",
    ]
    s = results["quantiles"]["seconds"]
    lines.append(
        f"{results['quantiles']['case']} in one pass take {s['losskit'] / s['one quantile']:.2f}x the time of one quantile of each (a ninth of the numbers), and "
        f"{s['losskit'] / s['as many numbers']:.2f}x that of one quantile of as many numbers."
    )
    return "\n".join(lines) + "\n"


def main() -> None:
    """The command."""
    options = cases.options("operands", __doc__)
    settle_memory(options.memory, SIZE)
    found = [cases.measured(case.name, torch.float32, steps_of(case, options.quick), case.targets, options.quick) for case in CASES]
    cases.publish("operands", options, markdown, {"cases": found, "quantiles": quantiles(options.quick)})


if __name__ == "__main__":
    main()
