"""Class weights that require a gradient: what the tests and the mutations ask of them."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from losskit.contract.registry import Loss
from losskit.testing import inputs

ITEMS, CLASSES = 7, 4
KEEP = torch.tensor([True, True, False, True, True, False, True])
WAYS: list[dict[str, Any]] = [
    {"reduction": "mean"}, {"reduction": "sum"}, {"reduction": "none"}, {"reduction": "mean", "mask": KEEP}, {"reduction": "mean", "ignore_index": 1},
    {"reduction": "mean", "sample_weight": torch.linspace(0.5, 2.0, ITEMS, dtype=torch.float64)}, {"reduction": "none", "mask": KEEP, "ignore_index": 1},
]  # fmt: skip
SCORES = torch.tensor([[-torch.inf, 0.0, 1.0], [0.0, 1.0, 2.0], [1.0, 0.0, 0.5]])
MASSES = torch.tensor([[0.0, 0.5, 0.5], [0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
LABELS = torch.tensor([1, 2, 0])
TAKEN = torch.tensor([True, True, False])


def drawn(loss, settings, soft=False):
    """Scores, or what the settings make of them, and targets."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(ITEMS, CLASSES, generator=draw, dtype=torch.float64)
    probabilities = not settings.get("from_logits", True)
    if probabilities or loss.input == "log-probability":
        x = x.log_softmax(1) if settings.get("log_input") or loss.input == "log-probability" else x.softmax(1)
    x = inputs.cosines(x) if loss.input == "cosine" else x
    t = (
        torch.randint(0, 2, (ITEMS, CLASSES), generator=draw)
        if loss.target == "unit" and settings.get("task") != "multiclass"
        else torch.randint(0, CLASSES, (ITEMS,), generator=draw)
    )
    return x, torch.randn(ITEMS, CLASSES, generator=draw, dtype=torch.float64).softmax(1) if soft else t


def named(loss):
    return "alpha" if loss.name == "focal_loss" else "weight"


def examined(loss, x, t, settings, ways):
    zero = 0.0 if t.dim() == 1 or t.is_floating_point() else 1.0  # a weight of 0 takes elements out, and they give it no gradient; of rows it does
    weight = torch.tensor([0.5, 2.0, zero, 1.5], dtype=torch.float64, requires_grad=True)
    scores = not settings.get("from_logits", True) or loss.input == "log-probability"  # whose rows must sum to 1
    for way in ways:

        def function(w, z=x, way=way):
            return loss.function(z, t, **settings, **way, **{named(loss): w})

        assert torch.autograd.gradcheck(function, weight)
        assert torch.autograd.gradgradcheck(function, weight)
        plain = loss.function(x, t, **settings, **way, **{named(loss): weight.detach()})
        torch.testing.assert_close(function(weight).detach(), plain, rtol=1e-12, atol=1e-14)
        if scores:
            continue
        held = x.clone().requires_grad_()  # the gradient to the scores is what it is without one to the weights
        if way is ways[0]:  # by both, which takes long: of the mean, whose denominator is of the weights as well
            assert torch.autograd.gradgradcheck(function, (weight, held))
        incoming = torch.linspace(-1.0, 2.0, plain.numel(), dtype=torch.float64).reshape(plain.shape)
        (found,) = torch.autograd.grad(function(weight, held), held, incoming)
        (expected,) = torch.autograd.grad(function(weight.detach(), held), held, incoming)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-13)


def by_differences(loss, settings, soft):
    """All ways to reduce."""
    examined(loss, *drawn(loss, settings, soft), settings, [way for way in WAYS if "ignore_index" not in way or ("ignore_index" in loss.settings and not soft)])


def fresh():
    return torch.tensor([0.5, 2.0, 1.0], requires_grad=True)


def ruled_out(loss, settings, soft):
    """A class that is ruled out where it has no mass gives no weight a NaN: beside distributions, and in an item whose smoothing is 0."""
    t, settings = (MASSES, settings) if soft else (LABELS, {**settings, "label_smoothing": torch.tensor([0.0, 0.1, 0.2])})
    found = []
    for x in (SCORES, SCORES.clamp(min=-1e4)):
        weight = fresh()
        value = loss.function(x, t, weight=weight, **settings)
        found.append((value.detach(), torch.autograd.grad(value, weight)[0]))
    for got, expected in zip(*found, strict=True):
        torch.testing.assert_close(got, expected)


def absent(loss, settings, soft):
    """NaN in scores and targets that a mask, or a normalizer of 0, leaves out reaches no weight."""
    logits = settings.get("from_logits", True)
    x, t = (torch.where(TAKEN[:, None], y, torch.nan) for y in (SCORES if logits else SCORES.softmax(1), MASSES))
    t, weight = t if soft else LABELS, fresh()
    value = loss.function(x, t, mask=TAKEN, weight=weight, **settings)
    kept = loss.function(x[TAKEN], t[TAKEN], weight=weight, **settings)
    torch.testing.assert_close(value, kept)
    torch.testing.assert_close(*(torch.autograd.grad(y, weight)[0] for y in (value, kept)))
    if logits:
        value = loss.function(x, t, normalizer=0, weight=weight, **settings)
        assert value == 0 and not torch.autograd.grad(value, weight)[0].any()


def half_precision(loss, settings, soft):
    """The gradients to scores and weights of half precision are those in float32, rounded once."""
    draw = torch.Generator().manual_seed(0)
    x, weight = torch.randn(300, 8, generator=draw), torch.rand(8, generator=draw)
    t = torch.randn(300, 8, generator=draw).softmax(1) if soft else torch.randint(0, 8, (300,), generator=draw)
    for dtype in (torch.bfloat16, torch.float16):
        half, wide = ([y.to(dtype).to(d).requires_grad_() for y in (x, weight)] for d in (dtype, torch.float32))
        values = [loss.function(z, t, weight=w, reduction="sum", **settings) for z, w in (half, wide)]
        assert values[0].dtype is torch.float32
        for got, expected in zip(torch.autograd.grad(values[0], half), torch.autograd.grad(values[1], wide), strict=True):
            assert torch.equal(got, expected.to(dtype))


LAWS: Mapping[str, Callable[[Loss, Mapping[str, Any], bool], None]] = {
    "textbook": by_differences, "ruled_out": ruled_out, "mask_deletes": absent, "half_precision": half_precision,
}  # fmt: skip
