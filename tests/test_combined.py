"""Every two features combined: each pair of options in each context, with items masked (and ignored), whatever lies there, and the class axis elsewhere.

A cell is right, the value and gradient in float32 being those in float64 after the items were deleted; or it is refused. In PyTorch operations: that the engines
agree, option by option, is for the laws and grids of each pattern, whose kernels are compiled there.
"""

import inspect
import itertools
from typing import Any

import pytest
import torch
from cases import thorough
from contexts import CONTEXTS, Context
from test_options import alternatives
from torch import Tensor

import losskit
from losskit.testing.inputs import domain

KEPT = torch.tensor([True, False, True, True, False])
MASK = torch.tensor([True, False, True, True, True])  # the last item is ignored by its label, where there are labels
SAID = ("task", "from_logits", "log_input", "log_target", "dim", "process_group")  # by the context, or by where the classes lie


def features(context: Context) -> list[tuple[str, Any]]:
    """Each option with another value than its default, and what every call takes."""
    names = [name for name in context.loss.settings if name not in context.settings and name not in SAID]
    found = [(name, value) for name in names for value in alternatives(context, name)[-1:]]
    found += [("reduction", "none"), ("reduction", "sum")] if "reduction" in context.loss.settings else []
    found += [("sample_weight", None)] if "sample_weight" in inspect.signature(context.loss.function).parameters else []
    return [*found, ("normalizer", 3.0)]


def weights(context: Context) -> Tensor:
    """One per position."""
    count = 5 if context.loss.pattern == "boxes" else (4, 5) if context.axis == 1 else 5
    return torch.linspace(0.5, 2.0, 20).reshape(4, 5)[(0,) if isinstance(count, int) else ...]


def spoiled(x: Tensor, axis: int, gone: Tensor, bad: float) -> Tensor:
    """Nonsense where items are left out."""
    shape = [1] * x.dim()
    shape[axis] = -1
    return x.masked_fill(gone.reshape(shape), bad)


def measured(context: Context, tensors: tuple[Tensor, ...], options: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Value and gradient."""
    leaf = tensors[0].detach().clone().requires_grad_()
    result = context(leaf + 0.0, *tensors[1:], **options)
    value = result[0] if isinstance(result, tuple) else result
    steps = torch.linspace(0.5, 1.5, value.numel(), dtype=value.dtype).reshape(value.shape)
    return value.detach(), torch.autograd.grad(value, leaf, steps if value.dim() == 0 else torch.ones_like(value))[0]


def deleted(context: Context, options: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """In float64, of the items that count."""
    place = 0 if context.loss.pattern in ("boxes", "vectors") else -1
    kept = KEPT if context.kind == "label" else MASK
    where = kept.nonzero()[:, 0]
    tensors = tuple(z.index_select(place, where) for z in context.tensors(torch.float64))
    options = {name: value for name, value in options.items() if name != "inplace"}  # where the gradient lies, not what it is
    if "sample_weight" in options:
        options |= {"sample_weight": options["sample_weight"].double()[..., kept]}
    with losskit.use_engine("torch"):
        return measured(context, tensors, options)


def left_out(context: Context, options: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """In float32, with the others left out, and the classes last."""
    place = 0 if context.loss.pattern in ("boxes", "vectors") else -1
    x, *target = (spoiled(z, place, ~MASK, 99 if not z.is_floating_point() else torch.nan) for z in context.tensors())
    if context.kind == "label":
        target = [spoiled(z, place, MASK & ~KEPT, options.get("ignore_index", -100)) for z in target]
    mask = MASK
    if context.axis == 1:
        options = options | {"dim": -1}
        x, *target = (z.movedim(1, -1).contiguous() if z.dim() == 3 else z for z in (x, *target))
        mask = MASK.expand(4, 5)
    with losskit.use_engine("torch"):
        value, slope = measured(context, (x, *target), options | {"mask": mask})
    return value, slope.movedim(-1, 1) if "dim" in options else slope


def require_right(context: Context, options: dict[str, Any]) -> bool:
    """Whether a cell was computed (and right), or refused."""
    try:
        value, slope = left_out(context, options)
    except (TypeError, ValueError):
        return False
    expected, exact = deleted(context, options)
    place = 0 if context.loss.pattern in ("boxes", "vectors") else -1
    kept = KEPT if context.kind == "label" else MASK
    if options.get("reduction") == "none":
        assert not value[..., ~kept].any()
        value = value[..., kept]
    gone = (~kept).nonzero()[:, 0]
    assert not slope.index_select(place, gone).any(), "what is left out has a gradient"
    torch.testing.assert_close(value.double(), expected, rtol=2e-5, atol=2e-6)
    torch.testing.assert_close(slope.index_select(place, kept.nonzero()[:, 0]).double(), exact, rtol=1e-4, atol=1e-5 * max(float(exact.abs().max()), 1e-3))
    return True


# distances, and windows, know of their neighbours: nothing can be deleted (of pictures, see test_ssim.py)
COMPUTED = [c for c in CONTEXTS if c.loss.pattern != "windows" and (c.loss.name != "boundary_loss" or c.kind == "real")]


# what `dice_loss` takes is the contract's: two such options are combined for it, for a loss that weighs classes itself, and for a compound
WHOLE = ("dice_loss", "generalized_dice_loss", "dice_ce_loss")
SHARED = {*losskit.LOSSES["dice_loss"].settings, "normalizer"}


def is_shared(context: Context, *names: str) -> bool:
    """Whether these options are the contract's alone, and examined with another loss."""
    return context.loss.pattern == "overlap" and context.loss.name not in WHOLE and SHARED.issuperset(names)


@pytest.mark.sparse(8)
@pytest.mark.parametrize("context", COMPUTED, ids=str)
def test_two_features(context: Context) -> None:
    found = features(context)
    computed = require_right(context, {}) + sum(require_right(context, {a: p}) for a, p in found if is_shared(context, a))
    for (a, p), (b, q) in itertools.combinations(found, 2):
        if a == b or is_shared(context, a, b):
            continue
        options = {a: p, b: q}
        if "sample_weight" in options:
            options["sample_weight"] = weights(context)
        try:
            computed += require_right(context, options)
        except AssertionError as error:
            raise AssertionError(f"{context}: {a}={p!r}, {b}={q!r}: {error}") from None
    assert computed > 3, "nearly everything is refused"


def nothing_counts(context: Context, options: dict[str, Any]) -> None:
    """All masked, or nothing there: 0, and zero gradients."""
    place = 0 if context.loss.pattern in ("boxes", "vectors") else -1
    whole = context.tensors()
    empty = tuple(z.index_select(place, torch.tensor([], dtype=torch.long)) for z in whole)
    mask = torch.zeros(() if context.axis is None else (4, 5), dtype=torch.bool)
    spoiled_input = (torch.full_like(whole[0], torch.nan), *whole[1:])
    for tensors, more in ((empty, {}), (spoiled_input, {"mask": mask})):
        value, slope = measured(context, tensors, options | more)
        assert not value.any() and not slope.any() and slope.shape == tensors[0].shape


def far_out(context: Context, options: dict[str, Any]) -> None:
    """Scores of 1e4, and a class ruled out by -inf: what float32 gives is what float64 gives, inf included; no NaN, and no gradient of infinite size."""
    most = 80.0 if domain(context.loss, context.settings) == "log-mean" else torch.inf  # e^89 is no float32, nor is a slope of its size
    for change in (
        lambda x: (x * 1e4).clamp(-most, most),
        lambda x: x.index_fill(1, torch.tensor([2]), -torch.inf) if context.axis == 1 else (x * -1e4).clamp(-most, most),
    ):
        found = []
        for dtype in (torch.float32, torch.float64):
            x, *target = context.tensors(dtype)
            x = change(x.float()).to(dtype)
            target = [z.clamp(max=1) if context.kind == "label" else z for z in target]
            found.append(measured(context, (x, *target), options))
        (value, slope), (exact, exact_slope) = found
        assert slope.isfinite().all() and not value.isnan().any()
        torch.testing.assert_close(value.double(), exact, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(slope.double(), exact_slope, rtol=1e-3, atol=1e-4 * max(float(exact_slope.abs().max()), 1e-3))


@pytest.mark.parametrize("edge", [nothing_counts, *thorough([far_out])])
def test_each_feature_at_the_edges(edge: Any) -> None:
    for context in COMPUTED:
        if edge is far_out and (context.form not in ("logit", "real") or context.loss.pattern == "vectors"):
            continue  # of vectors it is a difference of lengths, see the error budget
        for name, value in [("reduction", "mean"), *features(context)]:
            if name == "sample_weight" or (is_shared(context, name) and name != "empty") or (name == "reduction" and name not in context.loss.settings):
                continue
            try:
                with losskit.use_engine("torch"):
                    edge(context, {} if (name, value) == ("reduction", "mean") else {name: value} if name != "inplace" else {})
            except (TypeError, ValueError) as error:
                assert str(error), context  # refused
            except AssertionError as error:
                raise AssertionError(f"{context}: {name}={value!r}: {error}") from None
