"""Rows with distributions as the Triton engine is told of them, and as books write them."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from cases import thorough
from on_triton import DEVICE

from losskit.engines.call import Distributions
from losskit.engines.triton import distributions as engine
from losskit.losses.classification import cross_entropy, entropy, focal_of_classes, js_divergence, kl_divergence

INF, NAN = math.inf, math.nan
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-13}
# rows and planes, whole and block by block; with classes and items left over
SHAPES = {
    "rows": (7, 10), "two": (5, 2), "three": (3, 3), "31": (3, 31), "32": (3, 32), "33": (5, 33), "more rows": (3, 300), "long rows": (2, 5001),
    "planes": (2, 5, 3, 4), "three planes": (1, 3, 5), "31 planes": (3, 31, 3), "33 planes": (1, 33, 5), "tall planes": (2, 300, 9), "one class": (3, 1),
    "even planes": (2, 35, 4, 8), "few even planes": (1, 19, 4, 4), "even tall planes": (1, 603, 16),  # whose size is a multiple of 16, and their number is none
}  # fmt: skip
FIRST = [SHAPES["rows"], SHAPES["planes"]]  # the interpreter takes its time
by_shape = pytest.mark.parametrize("shape", [*FIRST, *thorough(shape for shape in SHAPES.values() if shape not in FIRST)], ids=str)
by_few = pytest.mark.parametrize("shape", [*FIRST, *thorough([SHAPES["long rows"]])], ids=str)


class Case(NamedTuple):
    """A loss as the engine is told of it and, classes last, as books write it; how its target is made of any numbers."""

    call: Distributions
    textbook: Callable[..., torch.Tensor]  # of (log p, mass, weight, lse), to be summed over the classes
    target: Callable[[torch.Tensor], torch.Tensor] = lambda t: t.softmax(-1)  # none so small that half precision makes it 0: no textbook has log 0
    scores: Callable[[torch.Tensor], torch.Tensor] = lambda x: x


def divergence(logp, t, weight, lse):
    return 9.0 * (torch.xlogy(t, t) - t * logp)


def divergence_of_logs(logp, t, weight, lse):
    return 0.25 * t.exp() * (t - logp)


def both_sides(logp, t, weight, lse):
    p = logp.exp()
    m = (p + t) / 2
    return (torch.xlogy(t, t / m) + torch.xlogy(p, p / m)) / 2


def crossed(logp, t, weight, lse):
    return -weight * (0.9 * t + 0.1 / t.shape[-1]) * logp + 1e-2 * t * weight * lse**2


def shared(logp, t, weight, lse):
    return -weight * t * logp


def focused(logp, t, weight, lse):
    return -weight * (0.8 * t + 0.2 / t.shape[-1]) * (1 - logp.exp()) ** 1.5 * logp


def scaled(x, temperature):
    """A link."""
    return x / temperature, 1.0 / temperature


def every(classes):
    """The cases for so many classes."""
    weight = torch.linspace(0.5, 2, classes, dtype=torch.float64)
    weight[1 : classes // 2 : 4] = 0.0
    temperature: dict[str, Any] = {"link": scaled, "shift": True}
    cap: dict[str, Any] = {"link": cross_entropy.soft_cap, "link_parameter": 15.0}
    labels = Distributions(focal_of_classes.multiclass_soft, (1.5, 0.8, 0.2 / classes), weight, kind="label")
    return {
        "kl": Case(Distributions(kl_divergence.formula, (9.0,), link_parameter=3.0, **temperature), divergence, scores=lambda x: x / 3),
        "kl of logs": Case(
            Distributions(kl_divergence.of_log_target, (0.25,), link_parameter=0.5, **temperature),
            divergence_of_logs, lambda t: t.log_softmax(-1), lambda x: x / 0.5,
        ),
        "js": Case(Distributions(js_divergence.formula), both_sides),
        "entropy": Case(Distributions(entropy.formula, kind="none"), lambda logp, t, weight, lse: -logp.exp() * logp, lambda t: torch.empty(0)),
        "soft": Case(Distributions(cross_entropy.soft, (0.9, 0.1 / classes), weight, square=1e-2, **cap), crossed, scores=lambda x: 15 * (x / 15).tanh()),
        "soft labels": Case(
            Distributions(cross_entropy.soft, (0.9, 0.1 / classes), weight, square=1e-2, kind="label"), crossed, lambda t: (t.abs().sum(-1) * 160).long() % classes
        ),
        "positions": Case(
            Distributions(cross_entropy.soft, (1.0, 0.0), weight, kind="position"), shared, lambda t: (t.abs().sum(-1) * 160).sin() ** 2 * (classes - 1)
        ),
        "focal labels": Case(labels, focused, lambda t: (t.abs().sum(-1) * 160).long() % classes),
    }  # fmt: skip


def drawn(case, shape, dtype=torch.float32, seed=0):
    """Scores and targets, the classes along `call.dim`."""
    draw = torch.Generator(DEVICE).manual_seed(seed)
    dim = case.call.dim
    x, t = (torch.randn(shape, generator=draw, dtype=torch.float64) * spread for spread in (4.0, 0.5))
    t = case.target(t.movedim(dim, -1))
    if case.call.kind == "distribution":
        t = t.movedim(-1, dim).contiguous().to(dtype)
    elif case.call.kind == "position":
        t = t.to(torch.float64 if dtype is torch.float64 else torch.float32)
        t.view(-1)[::3] = t.view(-1)[::3].round()
    return x.to(dtype), t


class Outcome(NamedTuple):
    value: torch.Tensor
    lse: torch.Tensor
    total: torch.Tensor
    by_input: torch.Tensor  # gradients of the sum
    by_target: torch.Tensor | None
    weighed_input: torch.Tensor  # times `uneven`
    weighed_target: torch.Tensor | None


def uneven(shape):
    """Incoming gradients with strides of their own, of both signs."""
    return torch.linspace(-1, 2.3, 2 * math.prod(shape), dtype=torch.float64).reshape(*shape, 2)[..., 1]


def exact(case, x, t):
    """By autograd, in float64."""
    call = case.call
    x, counts = x.double(), torch.ones(x.select(call.dim, 0).shape, dtype=torch.float64)
    if call.factor is not None:
        counts = call.factor.double()
    if call.kind == "label":
        counts = torch.where(t == call.ignore, 0.0, counts)
    alive = (counts != 0)[..., None]
    rows = torch.where(alive, x.movedim(call.dim, -1), 0.0).requires_grad_()
    if call.kind == "distribution":
        mass = torch.where(alive, t.double().movedim(call.dim, -1), 0.5).requires_grad_()
    elif call.kind == "label":
        place = torch.where(alive[..., 0], t.long(), 0)[..., None]
        mass = (torch.arange(rows.shape[-1]) == place).double().requires_grad_()
    elif call.kind == "position":
        place = torch.where(alive, t.double()[..., None], 0.0)
        mass = (1.0 - (torch.arange(rows.shape[-1]) - place).abs()).clamp(min=0.0).requires_grad_()
    else:
        mass = torch.zeros_like(rows).requires_grad_()
    weight = torch.ones(rows.shape[-1], dtype=torch.float64) if call.weight is None else call.weight.double()
    s = case.scores(rows)
    lse = s.logsumexp(-1, keepdim=True)
    value = counts * case.textbook(s.log_softmax(-1), mass, weight, lse).sum(-1)
    gradients = []
    for incoming in (torch.ones_like(value), uneven(value.shape)):
        found = torch.autograd.grad(value, (rows, mass), incoming, retain_graph=True, allow_unused=True)
        gradients += [g.movedim(-1, call.dim) if g is not None else None for g in found]
    if call.shift:  # of the scores that the link makes of the shifted input
        lse = lse - s.amax(-1, keepdim=True)
    return Outcome(value.detach(), torch.where(alive, lse, 0.0)[..., 0].detach(), value.detach().sum(), *gradients)


def found(call, x, t):
    soft = call.kind == "distribution"
    first = engine.run(call, (x, t), by_products=True, wants=(True, soft))
    incoming = uneven(first.value.shape).to(first.value.dtype)
    weighed = engine.run(call, (x, t), incoming=incoming, wants=(True, soft))
    assert first.right is None and weighed.total is weighed.value is None
    return Outcome(first.value, first.lse, first.total, first.gradients[0], first.gradients[1], weighed.gradients[0], weighed.gradients[1])


def close(got, exact, tolerance, rounded=0.0, name=""):
    """Errors relative to the largest number, for each is a sum of terms of both signs; `rounded`: of storing it in half precision, relative to its own."""
    floor = tolerance * exact.abs().max().item() if exact.numel() else 0.0
    if rounded and got.dtype is torch.float16:
        floor += 2.0**-25  # half of the smallest number
    torch.testing.assert_close(got.double(), exact.double(), rtol=max(tolerance, rounded), atol=floor, msg=lambda m: f"{name}: {m}")


def agree(case, x, t, tolerance=None, rounded=0.0):
    """The engine gives what the textbook gives."""
    got, should = found(case.call, x, t), exact(case, x, t)
    real = x.dtype if x.dtype is torch.float64 else torch.float32
    assert {v.dtype for v in (got.value, got.lse, got.total)} == {real}
    assert got.by_input.dtype is got.weighed_input.dtype is x.dtype and got.by_input.shape == x.shape
    tolerance = tolerance or TOLERANCE[real]
    for name, g, e in zip(Outcome._fields, got, should, strict=True):
        if g is None:
            assert case.call.kind != "distribution"
            continue
        if "target" in name:
            assert g.dtype is t.dtype and g.shape == t.shape
        close(g, e, tolerance, rounded if name.endswith(("input", "target")) else 0.0, name)
    return got
