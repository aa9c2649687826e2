"""Windows over pictures in PyTorch operations: weighted means and variances around each position, and losses made of those of two pictures.

A window is the same row of weights, `taps`, along every axis of a picture. Its means are sums of shifted pictures, one axis after the other: on a CPU that takes a
third to a twentieth of PyTorch's convolutions, and on a GPU no sum is rounded to TF32.

Of two pictures x and t all is said by their sum and their difference: the means of x + t and x - t, and the variances of both. Where x = t the difference is 0, so a
loss made of its mean and variance is 0 there, not a rest of rounding. Variances do not change with the level of a picture, so half-way between its largest and
smallest number is taken off first: the squares then lose no digits to it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from losskit.engines import dispatch
from losskit.engines.call import real_dtype
from losskit.engines.fused import must_be_watched
from losskit.engines.private import compiling
from losskit.engines.torch.elementwise import bound

Average = Callable[[Tensor, tuple[float, ...], int], Tensor]
BLOCK = 1 << 18  # numbers of a picture worked on at a time on a CPU, so that what is made of them stays in its caches


class Windows(NamedTuple):
    """A loss of windows: a formula, its parameters, the weights of a window along an axis, and what both pictures are multiplied by.

    The formula takes the means of sum and difference, and their variances, and returns its value and the derivatives by the four. `apart`: what is given in place
    of two pictures is their sum and their difference already.
    """

    formula: Callable[..., Any]
    params: tuple[float, ...]
    taps: tuple[float, ...]
    scale: float
    apart: bool = False


def means(x: Tensor, taps: tuple[float, ...], axes: int) -> Tensor:
    """The weighted mean of every whole window along the last `axes` axes."""
    add = torch.add if compiling() else Tensor.add_
    for axis in range(-axes, 0):
        count = x.shape[axis] - len(taps) + 1
        total = x.narrow(axis, 0, count) * taps[0]
        for k in range(1, len(taps)):
            total = add(total, x.narrow(axis, k, count), alpha=taps[k])
        x = total
    return x


def spread(x: Tensor, taps: tuple[float, ...], axes: int) -> Tensor:
    """The transpose of `means`: what each position gets back from the windows that it is in."""
    rest = len(taps) - 1
    return means(torch.nn.functional.pad(x, (rest, rest) * axes), taps[::-1], axes)


@dataclass(frozen=True)
class Row:
    """How means are taken: not a tuple, of which a transform would look at every number."""

    taps: tuple[float, ...]
    axes: int
    back: bool  # whether it is the transpose


class Means(torch.autograd.Function):
    """`means`, or its transpose: each is the other's derivative."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, row: Row) -> Tensor:
        return (spread if row.back else means)(x, row.taps, row.axes)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.row = inputs[1]

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor, None]:
        return Means.apply(incoming, replace(ctx.row, back=not ctx.row.back)), None  # type: ignore[no-untyped-call]

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        return Means.apply(tangent, ctx.row)  # type: ignore[no-untyped-call, no-any-return]


def followed(x: Tensor, taps: tuple[float, ...], axes: int) -> Tensor:
    """`means` for autograd to follow, and for every transform. The compiler refuses a Function with forward mode, and joins the sums by itself."""
    return means(x, taps, axes) if compiling() else Means.apply(x, Row(taps, axes, False))  # type: ignore[no-untyped-call]


def followed_back(x: Tensor, taps: tuple[float, ...], axes: int) -> Tensor:
    """`spread`, likewise."""
    return Means.apply(x, Row(taps, axes, True))  # type: ignore[no-untyped-call, no-any-return]


def whole(mask: Tensor, width: int, axes: int) -> Tensor:
    """Which windows have no position left out."""
    for axis in range(-axes, 0):
        count = mask.shape[axis] - width + 1
        total = mask.narrow(axis, 0, count)
        for k in range(1, width):
            total = total & mask.narrow(axis, k, count)
        mask = total
    return mask


def picture_sum(x: Tensor, axes: int) -> Tensor:
    """The sum over the last `axes` axes; of rows, then of those in float64: the same bits with any number of threads."""
    exact = torch.float32 if x.device.type == "mps" else torch.float64
    return x.sum(-1).to(exact).sum(tuple(range(-axes + 1, 0))).to(x.dtype)


class Kept(NamedTuple):
    """What a mask leaves: which positions count, which windows are whole, and one over the number of those in each picture."""

    positions: Tensor | None
    windows: Tensor | None
    share: float | Tensor

    def of(self, begin: int, end: int) -> "Kept":
        """Of some samples."""
        positions, windows, share = (x[begin:end] if isinstance(x, Tensor) and x.shape[0] > 1 else x for x in self)
        return Kept(positions, windows, share)  # type: ignore[arg-type]


def kept(mask: Tensor | None, x: Tensor, width: int, axes: int) -> Kept:
    """Of a mask of x's number of axes and size of pictures."""
    if mask is None:
        return Kept(None, None, 1.0 / math.prod([n - width + 1 for n in x.shape[-axes:]]))
    windows = whole(mask, width, axes)
    count = windows.sum(tuple(range(-axes, 0)), keepdim=True).to(real_dtype(x.dtype))
    return Kept(mask, windows, 1.0 / count.clamp(min=1.0))


class Side(NamedTuple):
    """The sum, or the difference, of two pictures: what it is above its level, its mean and its variance in each window, the mean above the level first."""

    x: Tensor
    above: Tensor
    mean: Tensor
    variance: Tensor


def side(x: Tensor, call: Windows, mask: Tensor | None, axes: int, average: Average) -> Side:
    """Of the sum or the difference."""
    inner, space = x.detach(), tuple(range(-axes, 0))
    high, low = (inner, inner) if mask is None else (torch.where(mask, inner, -math.inf), torch.where(mask, inner, math.inf))
    level = 0.5 * high.amax(space, keepdim=True) + 0.5 * low.amin(space, keepdim=True)
    if mask is None:
        x = x - level
    else:
        level = torch.where(high.amax(space, keepdim=True) > -math.inf, level, 0.0)
        x = torch.where(mask, x - level, 0.0)
    above = average(x, call.taps, axes)
    return Side(x, above, above + level, (average(x * x, call.taps, axes) - above * above).clamp(min=0.0))


def sides(call: Windows, x: Tensor, t: Tensor, mask: Tensor | None, axes: int, average: Average) -> tuple[Side, Side]:
    """The sum and the difference of two pictures, scaled."""
    real = real_dtype(x.dtype)
    x, t = x.to(real), t.to(real)
    both, between = (x, t) if call.apart else (x + t, x - t)
    return side(both * call.scale, call, mask, axes, average), side(between * call.scale, call, mask, axes, average)


def of_pictures(value: Tensor, left: Kept, axes: int) -> Tensor:
    """The mean over the windows of each picture."""
    return picture_sum((value if left.windows is None else torch.where(left.windows, value, 0.0)) * left.share, axes)


def losses(call: Windows, x: Tensor, t: Tensor, left: Kept, axes: int) -> Tensor:
    """The mean loss of the windows of each picture, by operations that autograd follows to any order."""
    s, d = sides(call, x, t, left.positions, axes, followed)
    return of_pictures(bound(call.formula)(s.mean, d.mean, s.variance, d.variance, *call.params)[0], left, axes)


def derived(
    call: Windows, x: Tensor, t: Tensor, left: Kept, axes: int, wants: tuple[bool, bool], average: Average = means, back: Average = spread
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The same, and the gradients of each picture's mean by both; by `followed` and `followed_back` these can be differentiated again."""
    s, d = sides(call, x, t, left.positions, axes, average)
    value, *slopes = bound(call.formula)(s.mean, d.mean, s.variance, d.variance, *call.params)
    result = of_pictures(value, left, axes)
    if not any(wants):
        return result, None, None
    share = left.share * call.scale if left.windows is None else torch.where(left.windows, left.share * call.scale, 0.0)
    by_sum, by_difference, by_sums_variance, by_differences_variance = (slope * share for slope in slopes)
    once, twice = [], []  # a variance is the mean of squares less the square of the mean
    for each, by_mean, by_variance in ((s, by_sum, by_sums_variance), (d, by_difference, by_differences_variance)):
        double = 2.0 * by_variance
        once.append(by_mean - double * each.above)
        twice.append(each.x * back(double, call.taps, axes))
    if not wants[1] and not call.apart:
        return result, twice[0] + twice[1] + back(once[0] + once[1], call.taps, axes), None
    of_sum, of_difference = (more + back(y, call.taps, axes) for more, y in zip(twice, once, strict=True))
    if call.apart:
        return result, of_sum, of_difference
    return result, of_sum + of_difference if wants[0] else None, of_sum - of_difference


def in_blocks(call: Windows, x: Tensor, t: Tensor, left: Kept, axes: int, wants: tuple[bool, bool]) -> tuple[Tensor, list[Tensor | None]]:
    """`derived`, some samples at a time."""
    samples = max(1, BLOCK * x.shape[0] // max(x.numel(), 1)) if x.is_cpu else max(1, x.shape[0])
    values: list[Tensor] = []
    gradients = [torch.empty_like(y, dtype=real_dtype(x.dtype)) if wanted else None for y, wanted in zip((x, t), wants, strict=True)]
    for begin in range(0, max(x.shape[0], 1), samples):
        end = begin + samples
        value, *found = derived(call, x[begin:end], t[begin:end], left.of(begin, end), axes, wants)
        values.append(value)
        for whole_gradient, part in zip(gradients, found, strict=True):
            if whole_gradient is not None and part is not None:
                whole_gradient[begin:end] = part
    return torch.cat(values), gradients


class Pictures(torch.autograd.Function):
    """The mean loss of each picture, with the gradients from the same pass: nothing else is kept, and of what is made on the way there is one block at a time."""

    @staticmethod
    def forward(ctx: Any, call: Windows, left: Kept, axes: int, x: Tensor, t: Tensor) -> Tensor:
        ctx.call, ctx.share, ctx.axes = call, left.share, axes
        value, ctx.gradients = in_blocks(call, x, t, left, axes, ctx.needs_input_grad[3:])
        ctx.save_for_backward(x, t, left.positions, left.windows)
        return value

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        given, ctx.gradients = ctx.gradients, None
        x, t, positions, windows = ctx.saved_tensors
        left, wants = Kept(positions, windows, ctx.share), ctx.needs_input_grad[3:]
        if must_be_watched(incoming):
            _, *given = derived(ctx.call, x, t, left, ctx.axes, wants, followed, followed_back)
        elif given is None:
            _, given = in_blocks(ctx.call, x, t, left, ctx.axes, wants)
        outer = incoming.reshape(*incoming.shape, *(1,) * ctx.axes)
        return None, None, None, *(None if g is None else (g * outer).to(y.dtype) for g, y in zip(given, (x, t), strict=True))


def each_picture(call: Windows, x: Tensor, t: Tensor, mask: Tensor | None, axes: int) -> tuple[Tensor, Tensor | None]:
    """The mean loss of each picture's windows, and which pictures have one, where a mask could leave none. The mask: as many axes as x, and pictures of its size."""
    left = kept(mask, x, len(call.taps), axes)
    some = None if left.windows is None else left.windows.any(-1).any(-1) if axes == 2 else left.windows.any(-1).any(-1).any(-1)
    if dispatch.obstacle((x, t)) is None and (mask is None or dispatch.unreadable(mask) is None):
        value: Tensor = Pictures.apply(call, left, axes, x, t)  # type: ignore[no-untyped-call]
    else:
        value = losses(call, x, t, left, axes)
    return value, None if some is None else some.expand(value.shape)


def halved(x: Tensor, axes: int) -> Tensor:
    """Pictures of half the size: means of two positions along every axis; the last of an odd number is left out. Pooling would keep its input for the backward."""
    for axis in range(-axes, 0):
        even = x.narrow(axis, 0, x.shape[axis] // 2 * 2).unflatten(axis, (-1, 2))
        x = 0.5 * (even.select(axis, 0) + even.select(axis, 1))
    return x


def halved_mask(mask: Tensor, axes: int) -> Tensor:
    """Which positions of the halved pictures are made of positions that all count."""
    for axis in range(-axes, 0):
        even = mask.narrow(axis, 0, mask.shape[axis] // 2 * 2).unflatten(axis, (-1, 2))
        mask = even.all(axis)
    return mask
