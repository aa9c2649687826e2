"""What tests of compiled graphs share: a loss of each pattern, what it gives, and which operators its graph holds."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

import losskit
from losskit.engines import operators


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def labels(items: int, classes: int) -> Tensor:
    found = torch.randint(0, classes, (items,), generator=torch.Generator().manual_seed(items))
    found[0] = -100
    return found


def corners(items: int) -> Tensor:
    low = drawn(items, 2)
    return torch.cat((low, low + 1.0 + drawn(items, 2).abs()), 1)


Loss = Callable[..., Tensor]
# of each pattern: a loss, and operands of it for a number of items; the first three want gradients if they are floating point
KINDS: dict[str, tuple[Loss, Callable[[int], tuple[Tensor, ...]]]] = {
    "elementwise": (lambda x, t, w, **how: losskit.huber_loss(x, t, delta=0.7, sample_weight=w.detach().abs(), **how), lambda n: (drawn(n, 3), drawn(n, 3).sin(), drawn(n, 3) + 9.0)),
    "rows": (
        lambda x, t, **how: losskit.cross_entropy(x, t, weight=torch.arange(1.0, 1 + x.shape[1]), label_smoothing=0.1, **how),
        lambda n: (drawn(n, 5), labels(n, 5)),
    ),
    "distributions": (lambda x, t, **how: losskit.kl_divergence(x, t.softmax(1), **how), lambda n: (drawn(n, 5), drawn(n, 5) * 2)),
    "boxes": (losskit.giou_loss, lambda n: (corners(n), corners(n + 1)[1:])),
    "overlap": (
        lambda x, t, reduction="mean": losskit.dice_ce_loss(x, t, task="multiclass") if reduction == "mean" else losskit.dice_loss(x, t, task="multiclass", average="none"),
        lambda n: (drawn(2, 3, n), labels(2 * n, 3).reshape(2, n)),
    ),
    "products": (lambda x, w, t, **how: losskit.linear_cross_entropy(x, w, t, **how), lambda n: (drawn(n, 4), drawn(7, 4), labels(n, 7))),
    "pairs": (
        lambda a, b, reduction="mean": losskit.pairwise_iou(a, b, "ciou") if reduction == "none" else losskit.pairwise_iou(a, b, "giou").square().sum(),
        lambda n: (corners(n), corners(n + 2)[3:]),
    ),
    "margins": (
        lambda x, t, **how: losskit.multi_margin_loss(x, t, p=2, weight=torch.arange(1.0, 1 + x.shape[1]), **how),
        lambda n: (drawn(n, 5), labels(n, 5)),
    ),
    "ranked": (
        lambda x, t, reduction="mean": losskit.lovasz_loss(x, t, task="multiclass", average="none" if reduction == "none" else "macro"),
        lambda n: (drawn(2, 3, n), labels(2 * n, 3).reshape(2, n)),
    ),
    "both": (
        lambda x, y, scale, **how: losskit.clip_loss(x, y, scale.exp(), sample_weight=torch.arange(1.0, 1 + len(x)) % 4, **how),
        lambda n: (drawn(n, 4), drawn(n + 1, 4)[1:].sin(), drawn(2)[0]),
    ),
}  # fmt: skip
SHOWN = ["rows"]
thorough = [pytest.param(name, marks=pytest.mark.thorough) for name in KINDS if name not in SHOWN]


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch):
    """Nothing compiled before; and no pass is too small."""
    monkeypatch.setattr(operators, "SMALL", 0)
    monkeypatch.setattr(operators, "SMALL_ELEMENTWISE", 0)
    torch.compiler.reset()
    yield
    torch.compiler.reset()


TOTAL = ["losskit.total.default", "losskit.rescaled.default"]


def flat(found: Any) -> list[Tensor]:
    """The tensors that a call gives."""
    return [y for x in found for y in flat(x)] if isinstance(found, tuple) else [] if found is None else [found]


def results(loss: Loss, operands: tuple[Tensor, ...], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """The value, and the gradients for something different coming in for each number; by-products."""
    leaves = [x.to(dtype).clone().requires_grad_() if x.is_floating_point() else x for x in operands]
    value, *parts = flat(loss(*leaves))
    assert not any(x.requires_grad for x in parts)
    wanted = [x for x in leaves if x.requires_grad]
    incoming = torch.linspace(0.5, 2.0, value.numel(), dtype=value.dtype).reshape(value.shape) if value.dim() else torch.full_like(value, 3.7)
    given = torch.autograd.grad(value, wanted, incoming, allow_unused=True)
    return [value.detach(), *parts, *(g for g in given if g is not None)]


def graphs(counter: CompileCounterWithBackend) -> int:
    """How many were made, of more than nothing: what the compiler calls while it traces may leave an empty one."""
    return sum(bool(len(graph.graph.nodes)) for graph in counter.graphs)


def operators_in(loss: Loss, *operands: Tensor) -> list[str]:
    """The operators of losskit in the graph of a loss, and products of matrices."""
    seen: list[str] = []

    def backend(graph: Any, _: Any) -> Any:
        from functorch.compile import nop
        from torch._dynamo.backends.common import aot_autograd

        def note(module: Any, inputs: Any) -> Any:
            seen.extend(str(node.target) for node in module.graph.nodes if node.op == "call_function")
            return nop(module, inputs)

        return aot_autograd(fw_compiler=note, bw_compiler=note)(graph, _)

    results(torch.compile(loss, fullgraph=True, backend=backend), operands)
    return [name for name in seen if name.startswith("losskit.") or name.startswith(("aten.mm", "aten.addmm"))]
