"""The benchmark of losses on products: ours, PyTorch's whole scores, `torch.compile` of them, PyTorch's chunks and the floor, side by side in one run.
`python -m losskit.bench.products --help`.

As in `losskit.bench`: forward and backward of "mean", sides in turns, medians, ratios only. The floor is the matrix products alone, into memory that is there: three of
them, two where the head is frozen.
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
from losskit.engines import private


class Case(NamedTuple):
    """Hidden states (items, width) and a head (classes, width); `loss` of them, and what is to be reached: at most this share of another side's time."""

    name: str
    items: int
    width: int
    classes: int
    targets: dict[str, float]
    loss: str = "cross-entropy"
    ignored: float = 0.0
    frozen: bool = False
    at_a_time: int = 1
    dtype: torch.dtype = torch.float32


FIRST = {"floor": 1.08, "torch": 0.9, "torch.compile": 1.0, "torch's chunks": 0.35}
CASES = (
    Case("2,048 x 1,024 x 32,768", 2_048, 1_024, 32_768, FIRST),
    *([Case("2,048 x 1,024 x 32,768", 2_048, 1_024, 32_768, FIRST, dtype=torch.bfloat16)] if private.multiplies_bfloat16() else []),
    Case("2,048 x 1,024 x 32,768, 75% ignored", 2_048, 1_024, 32_768, {"floor": 0.3}, ignored=0.75),
    Case("2,048 x 1,024 x 32,768, frozen head", 2_048, 1_024, 32_768, {"floor": 1.1}, frozen=True),
    Case("1,024 x 2,048 x 128,256", 1_024, 2_048, 128_256, {"floor": 1.13}),
    Case("InfoNCE, 8,192 x 512", 8_192, 512, 8_192, {"floor": 1.15, "torch": 0.8}, "InfoNCE"),
    Case("SigLIP, 8,192 x 512", 8_192, 512, 8_192, {"floor": 1.22, "torch": 0.65}, "SigLIP"),
    Case("CLIP, 8,192 x 512", 8_192, 512, 8_192, {"floor": 1.75, "torch": 0.65}, "CLIP"),
    Case("64 x 64 x 100", 64, 64, 100, {"torch": 1.0}, at_a_time=20),
)
SCALE = 20.0


def ours(case: Case, x: Tensor, head: Tensor, t: Tensor) -> Tensor:
    """The loss as losskit computes it."""
    if case.loss == "cross-entropy":
        return losskit.linear_cross_entropy(x, head, t)
    if case.loss == "InfoNCE":
        return losskit.info_nce_loss(x, head, temperature=1 / SCALE)
    if case.loss == "CLIP":
        return losskit.clip_loss(x, head, SCALE)
    return losskit.siglip_loss(x, head, SCALE, -SCALE / 2)


def whole(case: Case, x: Tensor, head: Tensor, t: Tensor) -> Tensor:
    """The loss as it is commonly written."""
    if case.loss == "cross-entropy":
        return F.cross_entropy(F.linear(x, head), t)
    scores = SCALE * x @ head.T
    if case.loss == "InfoNCE":
        return F.cross_entropy(scores, t)
    if case.loss == "CLIP":
        return 0.5 * (F.cross_entropy(scores, t) + F.cross_entropy(SCALE * head @ x.T, t))
    return -F.logsigmoid((2 * torch.eye(case.items) - 1) * (scores - SCALE / 2)).sum() / case.items


def inputs(case: Case) -> tuple[Tensor, Tensor, Tensor]:
    """Both factors, leaves, and labels."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(case.items, case.width, generator=draw)
    if case.loss == "cross-entropy":
        head = torch.randn(case.classes, case.width, generator=draw) / case.width**0.5
        t = torch.randint(case.classes, (case.items,), generator=draw)
        t[torch.rand(case.items, generator=draw) < case.ignored] = -100
    else:
        x, head = F.normalize(x, dim=1), F.normalize(torch.randn(case.classes, case.width, generator=draw), dim=1)
        t = torch.arange(case.items)
    x, head = x.to(case.dtype), head.to(case.dtype)
    return x.requires_grad_(), head.requires_grad_(not case.frozen), t


def floor(x: Tensor, head: Tensor, scores: Tensor, by_x: Tensor, by_head: Tensor | None) -> None:
    """The products alone."""
    torch.mm(x, head.t(), out=scores)
    torch.mm(scores, head, out=by_x)
    if by_head is not None:
        torch.mm(scores.t(), x, out=by_head)


def steps(case: Case, x: Tensor, head: Tensor, t: Tensor, compiled: bool, floors: bool = True) -> dict[str, Callable[[], object]]:
    """One forward and backward of every side."""
    leaves = [z for z in (x, head) if z.requires_grad]
    found: dict[str, Callable[[], object]] = {
        "losskit": cases.training(lambda: ours(case, x, head, t), *leaves),
        "torch": cases.training(lambda: whole(case, x, head, t), *leaves),
    }
    if compiled:
        torch._dynamo.reset()
        fused = torch.compile(whole)
        found["torch.compile"] = cases.training(lambda: fused(case, x, head, t), *leaves)
    if case.loss == "cross-entropy" and case.at_a_time == 1:
        chunked = torch.nn.LinearCrossEntropyOptions()
        found["torch's chunks"] = cases.training(lambda: F.linear_cross_entropy(x, head, t, options=chunked), *leaves)
    if floors:
        a, b = x.detach(), head.detach()
        scores, by_x, by_head = a.new_empty(case.items, case.classes), torch.empty_like(a), None if case.frozen else torch.empty_like(b)
        found["floor"] = lambda: floor(a, b, scores, by_x, by_head)
    return found


def extra_memory(index: int) -> dict[str, float]:
    """`cases.extra_memory` of a case, in units of all scores."""
    case = CASES[index]
    x, head, t = inputs(case)
    leaves = [z for z in (x, head) if z.requires_grad]
    return cases.extra_memory(steps(case, x, head, t, compiled=False, floors=False), case.items * case.classes * case.dtype.itemsize, *leaves)


def errors() -> list[dict[str, Any]]:
    """Of value and gradients, relative to float64 on the same rounded factors: norm of the difference over norm. 2,048 x 256 x 4,000, also in chunks of 64."""
    found = []
    t = torch.randint(4_000, (2_048,), generator=torch.Generator().manual_seed(1))
    chunked = torch.nn.LinearCrossEntropyOptions()
    ways: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "losskit": lambda x, w: losskit.linear_cross_entropy(x, w, t),
        "losskit, chunk=64": lambda x, w: losskit.linear_cross_entropy(x, w, t, chunk=64),
        'losskit, chunk=64, accumulate="input"': lambda x, w: losskit.linear_cross_entropy(x, w, t, chunk=64, accumulate="input"),
        "torch": lambda x, w: F.cross_entropy(F.linear(x, w), t),
        "torch's chunks": lambda x, w: F.linear_cross_entropy(x, w, t, options=chunked),
    }
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        draw = torch.Generator().manual_seed(0)
        factors = [z.to(dtype) for z in (torch.randn(2_048, 256, generator=draw), torch.randn(4_000, 256, generator=draw) / 16)]
        exact = [z.double().requires_grad_() for z in factors]
        value = F.cross_entropy(F.linear(*exact), t)
        wanted = (value.detach(), *torch.autograd.grad(value, exact))
        for name, loss in ways.items():
            leaves = [z.clone().requires_grad_() for z in factors]
            got = loss(*leaves)
            pairs_of = zip((got.detach(), *torch.autograd.grad(got, leaves)), wanted, strict=True)
            found.append({"side": name, "dtype": str(dtype)[6:], "errors": [((a.double() - b).norm() / b.norm()).item() for a, b in pairs_of]})
    return found


def markdown(results: dict[str, Any]) -> str:
    """The page's part on products."""
    about = results["machine"]
    lines = [
        "# Benchmark: products",
        "",
        f"{about['cpu']}, {about['threads']} threads, Python {about['python']}, torch {about['torch']}, {about['system']}.",
        f"Command: `{about['command']}`.",
        'Items x width x classes, forward and backward of "mean"; medians of interleaved repeats; every figure is a ratio within this run. `floor` is the matrix '
        "products alone. `torch's chunks` is `F.linear_cross_entropy` with options.",
        f"Memory: {MEMORY[results['memory']]}",
        "",
        *cases.table(results["rows"], "product", ("torch", "torch.compile", "torch's chunks")),
        "",
        "Bold: missed.",
        *cases.memory_lines(results["extra memory"], "whole scores"),
    ]
    if not results["errors"]:
        return "\n".join([*lines, ""])
    lines += [
        "",
        "Errors of cross-entropy relative to float64 on the same factors, 2,048 x 256 x 4,000: value, gradient to the input, gradient to the head.",
        "",
        "| | dtype | value | input | head |",
        "|---|---|---|---|---|",
        *(f"| {e['side']} | {e['dtype']} | " + " | ".join(f"{v:.1e}" for v in e["errors"]) + " |" for e in results["errors"]),
    ]
    return "\n".join([*lines, ""])


def main() -> None:
    """The command."""
    options = cases.options("products", __doc__, ("cross-entropy", "contrastive"))
    settle_memory(options.memory, 1 << 26)
    rows, chosen = [], [case for case in CASES if options.losses in (None, "cross-entropy" if case.loss == "cross-entropy" else "contrastive")]
    for case in chosen:
        plain = case.targets is FIRST or case.loss != "cross-entropy" or case.at_a_time > 1  # beside every side; variants of a case beside PyTorch alone
        sides = steps(case, *inputs(case), compiled=not options.quick and plain)
        if not plain:
            del sides["torch's chunks"]
        rows.append(cases.measured(case.name, case.dtype, sides, case.targets, options.quick, case.at_a_time))
    large = [i for i, case in enumerate(CASES) if case in chosen and case.at_a_time == 1 and case.classes < 1 << 16]
    memory = (
        {}
        if options.quick
        else {f"{CASES[i].name}{', bfloat16' if CASES[i].dtype is torch.bfloat16 else ''}": cases.memory_apart("products", i) for i in large}
    )
    cases.publish("products", options, markdown, {"rows": rows, "extra memory": memory, "errors": errors() if CASES[0] in chosen else []})


if __name__ == "__main__":
    main()
