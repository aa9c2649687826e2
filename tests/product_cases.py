"""Losses of class scores that are a product of two factors, and the same of the whole scores."""

from typing import NamedTuple

import torch
import torch.nn.functional as F

import losskit
from losskit import linear_scores
from losskit.contract.registry import LOSSES
from losskit.testing import RowSubject, Subject, inputs

ITEMS, WIDTH = 37, 6
REFUSING = {"multi_margin_loss", "multilabel_margin_loss"}  # they read a label's score beside the others, in PyTorch operations


class Case(NamedTuple):
    loss: losskit.Loss
    settings: dict
    pattern: str


CASES = [
    Case(loss, dict(settings), pattern)
    for pattern in ("rows", "elementwise")
    for loss, settings in LOSSES.cases(pattern)
    if loss.input == "logit" and settings.get("from_logits", True)
]
FIRST = {case.loss.name: case for case in reversed(CASES)}
ids = lambda case: f"{case.loss.name}-{'-'.join(map(str, case.settings.values())) or 'plain'}-{case.pattern}"  # noqa: E731


def batch(case, dtype=torch.float64, items=ITEMS):
    """Factors, and the target that belongs to their product."""
    kind = RowSubject if case.pattern == "rows" else Subject
    subject = kind(case.loss.function, case.loss, case.settings, dtype)
    x, t = subject.batch((items,) if case.pattern == "rows" else (items, 9), seed=3)
    draw = torch.Generator().manual_seed(1)
    make = lambda *shape: torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype).requires_grad_()  # noqa: E731
    return (make(items, WIDTH), make(x.shape[1], WIDTH), make(x.shape[1])), (() if case.loss.target == "none" else (t,))


def outcome(call, leaves):
    """The value, and gradients of what comes in differently for each item."""
    value = call()
    incoming = torch.linspace(-0.5, 1.5, value.numel(), dtype=torch.float64).reshape(value.shape).to(value.dtype)
    return value.detach(), *torch.autograd.grad(value, leaves, incoming, allow_unused=True)


def check(got, expected, tolerance=1e-12):
    for a, b in zip(got, expected, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            a, b = a.detach(), b.detach()
            assert a.shape == b.shape and a.dtype is b.dtype
            torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * max(float(b.abs().max()) if b.numel() else 0.0, 1e-300))


def compared(case, chunk, extra=None, more=()):
    """The loss of the product against the loss of the whole scores, in every way to reduce."""
    factors, target = batch(case)
    settings = inputs.as_arguments(case.settings) | (extra or {})
    function, leaves = case.loss.function, (*factors, *more)
    for reduction in ("mean", "sum", "none"):
        with losskit.use_engine("torch"):
            expected = outcome(lambda: function(F.linear(*factors), *target, reduction=reduction, **settings), leaves)  # noqa: B023
        got = outcome(lambda: function(linear_scores(*factors, chunk=chunk), *target, reduction=reduction, **settings), leaves)  # noqa: B023
        check(got, expected)


# a loop of each kind: of labels, of distributions, of elements
ON_CPU = [FIRST[name] for name in ("cross_entropy", "kl_divergence", "binary_cross_entropy_with_logits")]
