"""What a step of training leaves behind: the gradient, in the very buffer that the kernel wrote, and nothing else of the input's size.

Measured as users train, with `.backward()`, on a leaf and behind a layer, and with the loss kept: what its graph still holds counts as left behind.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from cases import SUBJECTS, named
from torch import Tensor

import losskit
from losskit import LOSSES
from losskit.engines import margins
from losskit.testing.boxes import BoxSubject
from losskit.testing.overlap import OverlapSubject
from losskit.testing.rows import RowSubject
from losskit.testing.subject import Subject
from losskit.testing.windows import WindowSubject
from losskit.tour.memory import Allocated, allocated

SHAPES: dict[type[Subject], tuple[int, ...]] = {Subject: (1 << 16,), RowSubject: (1 << 14,), OverlapSubject: (2, 1 << 14), BoxSubject: (1 << 14,)}
SHAPES[WindowSubject] = (2, 2, 100, 100)
KNOWN = [s for s in SUBJECTS if s.loss.pattern != "vectors"]  # vectors go through PyTorch operations, whose graphs keep them
# one of each way through the contract into a loop, with what is computed in front of it or beside it: what is kept is no matter of the formula
WAYS = (
    "smooth_l1_loss", "binary_cross_entropy_with_logits", "focal_loss", "gaussian_nll_loss", "student_t_nll_loss", "evidential_nll_loss", "quantile_loss",
    "cross_entropy", "kl_divergence", "entropy", "distribution_focal_loss", "nll_loss", "multi_margin_loss", "multilabel_soft_margin_loss", "giou_loss",
    "dice_loss", "dice_ce_loss", "boundary_loss", "lovasz_loss", *LOSSES.of("windows"),
)  # fmt: skip
HELD = [s for s in KNOWN if s.loss.name in WAYS]
SMALL = 0.03  # of the input: sums of tasks, one number per box
SORTS = ("lovasz_loss",)  # sorted errors are as large as the input, and so are their places
PIECES = ("multi_margin_loss",)  # what a pass writes beside the gradient is as large as a piece of the input


def measured(step: Callable[[], object]) -> Allocated:
    """Of a step, once all that is compiled, loaded and made once is there."""
    step()
    return allocated(step)


def stepping(s: Subject, x: Tensor, t: Tensor, layer: bool, **extra: Any) -> Callable[[], object]:
    """A step of training that starts without a gradient, as after `zero_grad`."""

    def step() -> object:
        x.grad = None
        value = s(x * 1.0 if layer else x, t, **extra).sum()
        value.backward()
        return value

    return step


def sample(s: Subject) -> tuple[Tensor, Tensor, int]:
    """A batch, its input a leaf, and the input's bytes."""
    x, t = s.batch(SHAPES[type(s)])
    x = x.contiguous().requires_grad_()
    return x, t, x.nbytes


@pytest.mark.parametrize("s", HELD, ids=named)
def test_nothing_but_the_gradient_is_left(s: Subject) -> None:
    """On a leaf and behind a layer."""
    x, t, size = sample(s)
    for layer in (False, True):
        _, left = measured(stepping(s, x, t, layer))
        assert left <= (1 + SMALL) * size, f"{left / size:.2f} times the input is left {'behind a layer' if layer else 'on a leaf'}"


FUSED = [s for s in KNOWN if s.loss.name not in (*SORTS, *PIECES) and losskit.engine_for(s, *s.batch()).engine == "cpu"]  # PyTorch operations promise nothing


@pytest.mark.parametrize("s", [s for s in FUSED if s.loss.name in WAYS], ids=named)
def test_the_gradient_is_the_kernels_buffer(s: Subject) -> None:
    """Were it copied, both would live for a moment."""
    x, t, size = sample(s)
    peak, _ = measured(stepping(s, x, t, layer=False))
    assert peak <= (1 + SMALL) * size, f"{peak / size:.2f} times the input at the peak"


@pytest.mark.parametrize("s", [s for s in KNOWN if s.loss.name in PIECES], ids=named)
def test_pieces_are_small(s: Subject) -> None:
    """The gradient, one number per item, and four numbers for each score of a piece."""
    x, t = s.batch((1 << 21,))
    x = x.contiguous().requires_grad_()
    peak, left = measured(stepping(s, x, t, layer=False))
    assert left <= (1 + SMALL) * x.nbytes, f"{left / x.nbytes:.2f} times the input is left"
    assert peak <= x.nbytes + 40 * len(x) + 16 * margins.PIECE, f"{peak / x.nbytes:.2f} times the input at the peak"


def test_all_patterns_are_measured() -> None:
    """A loss that falls out of the fused ones is seen."""
    assert set(LOSSES) - {s.loss.name for s in FUSED} == {
        *SORTS,
        *PIECES,
        "nll_loss",
        "multilabel_margin_loss",
        *LOSSES.of("windows"),
        *LOSSES.of("vectors"),
        *LOSSES.of("linear"),
    }


def items_of(s: Subject, x: Tensor, t: Tensor) -> tuple[int, ...]:
    """The shape of a mask."""
    if isinstance(s, RowSubject):
        return (x.shape[0], *x.shape[2:])
    return tuple(x.shape[:-1] if isinstance(s, BoxSubject) else t.shape)


# one of each pattern: a mask and weights are multiplied in front of any formula
MASKED = ("smooth_l1_loss", "cross_entropy", "kl_divergence", "multi_margin_loss", "giou_loss", "dice_loss", "boundary_loss", "lovasz_loss")
MASKED += tuple(LOSSES.of("windows"))


@pytest.mark.sparse(2)
@pytest.mark.parametrize("s", [s for s in HELD if s.offers("mask") and s.loss.name in MASKED], ids=named)
def test_masks_and_weights_are_let_go(s: Subject) -> None:
    """And so is their product, and the losses of single items."""
    x, t, size = sample(s)
    shape = items_of(s, x, t)
    weighted = s.offers("sample_weight") and not isinstance(s, OverlapSubject)

    def step(reduction: str) -> object:
        x.grad = None
        extra: dict[str, Any] = {"mask": torch.rand(shape) < 0.5}
        if weighted:
            extra |= {"sample_weight": torch.rand(shape[:2] if s.loss.pattern == "windows" else shape), "reduction": reduction}
        value = s(x, t, **extra)
        value.backward(torch.rand(value.shape))
        return value.shape if reduction == "none" else value

    for reduction in ("mean", "none")[: 2 if weighted else 1]:
        _, left = measured(lambda reduction=reduction: step(reduction))
        assert left <= (1 + SMALL) * size, f'{left / size:.2f} times the input is left of reduction="{reduction}"'


def test_by_products_cost_what_they_hold() -> None:
    """Two numbers per item stay with the user; the gradient is handed over nevertheless."""
    x, t = torch.randn(1 << 12, 64, requires_grad=True), torch.randint(0, 64, (1 << 12,))

    def step() -> object:
        x.grad = None
        value, parts = losskit.cross_entropy(x, t, return_parts=True)
        value.backward()
        return value, parts

    peak, left = measured(step)
    assert left <= (1 + SMALL) * x.nbytes + 2 * 4 * len(t)
    assert peak <= (1 + SMALL) * x.nbytes + 3 * 4 * len(t)


def test_in_place_nothing_is_allocated() -> None:
    """The logits themselves become the gradient, and the layer's input takes it over."""
    x, t = torch.randn(1 << 12, 64, requires_grad=True), torch.randint(0, 64, (1 << 12,))

    def step() -> object:
        x.grad = None
        value = losskit.cross_entropy(x * 1.0, t, inplace=True)
        value.backward()
        return value

    peak, left = measured(step)
    assert peak <= (2 + SMALL) * x.nbytes  # the logits, and the gradient behind the layer
    assert left <= (1 + SMALL) * x.nbytes
