"""The contract for losses of windows over pictures: what a picture and its mask may be, the window, the scales. An item is a picture, one channel of a sample."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from losskit.contract import checks, reduce, tensors
from losskit.contract.elementwise import elementwise
from losskit.contract.reduce import Normalizer
from losskit.engines import dispatch
from losskit.engines.call import real_dtype
from losskit.engines.torch import windows
from losskit.engines.torch.windows import Windows

Window = Literal["gaussian", "uniform"]
SIGMA = 1.5
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # the weights of the scales, the finest first: Wang, Simoncelli, Bovik 2003
PICTURES = {4: "(N, C, H, W)", 5: "(N, C, D, H, W)"}


class Seen(NamedTuple):
    """Checked pictures, as `of_pictures` takes them."""

    input: Tensor
    target: Tensor
    mask: Tensor | None

    @property
    def axes(self) -> int:
        """How many axes a picture has."""
        return self.input.dim() - 2


def taps_of(window: Window, window_size: int, sigma: float) -> tuple[float, ...]:
    """The weights of a window along an axis, which add up to 1."""
    checks.one_of("window", window, ("gaussian", "uniform"))
    if isinstance(window_size, bool) or not isinstance(window_size, int):
        raise TypeError(f"window_size must be an int, got {type(window_size).__name__}: {window_size!r}")
    if window_size < 1:
        raise ValueError(f"window_size must be >= 1, got {window_size}")
    sigma = checks.number("sigma", sigma, above=0.0)
    if window == "uniform":
        if sigma != SIGMA:
            raise ValueError('sigma is the width of window="gaussian", and window is "uniform", whose weights are equal: leave sigma out')
        return (1.0 / window_size,) * window_size
    weights = [math.exp(-0.5 * ((k - 0.5 * (window_size - 1)) / sigma) ** 2) for k in range(window_size)]
    total = math.fsum(weights)
    if not total:
        raise ValueError(f"sigma={sigma:g} is too small for a window of even size, which has no position in its middle: try window_size={window_size + 1}")
    return tuple(w / total for w in weights)


def seen(
    input: Tensor, target: Tensor, mask: Tensor | None, sample_weight: Tensor | None, normalizer: Normalizer | None, window_size: int, multi_scale: bool
) -> Seen:
    """The checked pictures; the mask with as many axes, and without the pictures whose weight is 0, or any of them if the normalizer is."""
    checks.pair(input, target)
    if input.dim() not in PICTURES:
        fix = "input.unsqueeze(0), and the same of target" if input.dim() == 3 else "input.reshape(N, C, H, W), and the same of target"
        raise ValueError(f"input must have shape {' or '.join(PICTURES.values())}, got {checks.shown(input.shape)}: try {fix}")
    axes = input.dim() - 2
    least = window_size * (2 ** (len(SCALES) - 1) if multi_scale else 1)
    if min(input.shape[2:]) < least:
        most = min(input.shape[2:]) // (least // window_size)
        what = f"{len(SCALES)} scales with a window of {window_size}" if multi_scale else f"a window of {window_size}"
        one = f"window_size={most}" if most else ""
        fix = " or ".join(filter(None, (one, "multi_scale=False" if multi_scale else "")))
        raise ValueError(f"input has pictures of {checks.shown(input.shape[2:])}, but {what} takes at least {least} along each axis{fix and f': try {fix}'}")
    if mask is not None:
        checks.mask(mask, input)
    if sample_weight is not None:
        checks.broadcastable("sample_weight", sample_weight, input.new_empty(()).expand(input.shape[:2]), "unreduced loss")
        mask = both(mask, (sample_weight.detach() != 0).reshape(*(1,) * (2 - sample_weight.dim()), *sample_weight.shape, *(1,) * axes))
    counts = reduce.unless_nothing_counts(None, normalizer, input, input.shape[:2])
    if counts is not None:
        mask = both(mask, counts.reshape(*counts.shape, *(1,) * axes))
    if mask is not None:
        mask = mask.reshape(*(1,) * (input.dim() - mask.dim()), *mask.shape)
        mask = tensors.lasting(mask.expand(*mask.shape[:2], *input.shape[2:]))
    input, target = tensors.lasting(input), tensors.lasting(target)
    dispatch.choice((input, target), plain="losses of windows run in PyTorch operations")
    return Seen(input, target, mask)


def both(mask: Tensor | None, other: Tensor) -> Tensor:
    """What two masks leave."""
    return other if mask is None else mask & other


def of_pictures(
    formula: Callable[..., Any], contrast: Callable[..., Any], params: Sequence[float], taps: tuple[float, ...], scale: float, given: Seen, multi_scale: bool
) -> tuple[Tensor, Tensor | None]:
    """One loss per picture, and which pictures count, where a mask could leave out whole ones.

    Over scales it is one minus a product of powers, each one minus a loss: `contrast` at all scales but the coarsest. A scale without likeness makes the loss 1.
    """
    call, axes = Windows(formula, tuple(params), taps, scale), given.axes
    if not multi_scale:
        return windows.each_picture(call, given.input, given.target, given.mask, axes)
    x, t = [y.to(real_dtype(given.input.dtype)) for y in given[:2]]
    mask, found = given.mask, []
    for place in range(len(SCALES)):
        if place:
            if not call.apart:  # halved apart from each other, pictures that are nearly equal would lose what they differ by
                x, t, call = x + t, x - t, call._replace(apart=True)
            x, t, mask = windows.halved(x, axes), windows.halved(t, axes), None if mask is None else windows.halved_mask(mask, axes)
        loss, present = windows.each_picture(call if place == len(SCALES) - 1 else call._replace(formula=contrast), x, t, mask, axes)
        found.append(loss if present is None else torch.where(present, loss, 0.0))
    alike = ~torch.stack([each.detach() >= 1.0 for each in found]).any(0)  # a NaN stays one
    total = sum(weight * torch.log1p(-torch.where(alike, each, 0.0)) for weight, each in zip(SCALES, found, strict=True))
    assert isinstance(total, Tensor)
    return torch.where(alike, -torch.expm1(total), 1.0), present


def mean_of_positions(formula: Callable[..., Any], given: Seen) -> Tensor:
    """One number per picture: the mean of an elementwise loss over the positions that count, 0 where none does."""
    each = elementwise(formula, given.input, given.target, (), mask=given.mask, sample_weight=None, normalizer=None, reduction="none")
    space = tuple(range(2, given.input.dim()))
    count = math.prod(given.input.shape[2:]) if given.mask is None else given.mask.sum(space).clamp(min=1)
    return windows.picture_sum(each, given.axes) / count
