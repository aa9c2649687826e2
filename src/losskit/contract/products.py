"""The contract for scores that are a product of two matrices: what the factors may be, and when there is no need for the product to be whole."""

from typing import Literal, get_args

import torch
from torch import Tensor

from losskit.contract import checks, labels, tensors
from losskit.contract.checks import shown
from losskit.engines import dispatch
from losskit.engines.call import Alike
from losskit.engines.scores import Made, Scores, alike_of, linear, probabilities, remembered, scores_of, together

Accumulate = Literal["float32", "input"]


def scores(
    input: Tensor,
    linear_weight: Tensor,
    linear_bias: Tensor | None,
    chunk: int | None = None,
    accumulate: str = "float32",
    temperature: float | None = None,
    hidden: bool = False,
) -> Tensor:
    """input @ linear_weight^T + linear_bias, or their softmax, never whole; while transforms, the compiler or subclasses look on, all of it.

    `hidden`: they go into a loss along the last axis and nowhere else, so that a compiled one may take the factors.
    """
    checked(input, linear_weight, linear_bias)
    checks.one_of("accumulate", accumulate, get_args(Accumulate))
    if chunk is not None:
        if isinstance(chunk, bool) or not isinstance(chunk, int):
            raise TypeError(f"chunk must be a whole number of items, or None, got {type(chunk).__name__}: {chunk!r}")
        if chunk < 1:
            raise ValueError(f"chunk must be at least 1 item, got {chunk}: leave it out to let losskit choose")
    factors: tuple[Tensor, ...] = (input, linear_weight) if linear_bias is None else (input, linear_weight, linear_bias)
    if (dtype := autocast(input)) is not None:  # as `linear` does
        factors = tuple(x if x.dtype is torch.float64 else x.to(dtype) for x in factors)
    if temperature is not None:  # a target
        factors = tuple(x.detach() for x in factors)
    if (dispatch.watched() or dispatch.unreadable(*factors)) is not None:
        whole = linear(*factors)
        if hidden:
            return remembered(whole, Made(factors, chunk, accumulate == "float32"))
        return whole if temperature is None else probabilities(whole, temperature)
    return scores_of(Made(tuple(map(tensors.lasting, factors)), chunk, accumulate == "float32", temperature))


def of_sets(rows: Tensor, columns: Tensor, bias: Tensor | None, without: Tensor | None, summed: bool = False) -> Tensor:
    """The scores of every row with every column, vectors that have been looked at: never whole, or all of them, likewise."""
    made = Made((rows, columns) if bias is None else (rows, columns, bias), without=without, summed=summed)
    return remembered(made.whole(), made) if (dispatch.watched() or dispatch.unreadable(*made.factors)) is not None else scores_of(made)


def target_of_sets(made: Alike, scores: Tensor, without: Tensor | None) -> Tensor:
    """Which rows and columns belong together: made with the scores, unless those are whole."""
    return alike_of(made, scores) if type(scores) is Scores else remembered(together(made, made.factors[0], scores.dtype, without), made)


def autocast(x: Tensor) -> torch.dtype | None:
    """The dtype in which matrices multiply under `torch.autocast`; None outside of it."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device) else None


def checked(input: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    """Matrices that multiply, of one dtype, on one device."""
    first, second, third = "input", "linear_weight", "linear_bias"
    checks.floating(first, input)
    checks.floating(second, weight, first)
    if input.dim() < 1 or weight.dim() != 2:
        name, x, form = (second, weight, "(classes, width)") if weight.dim() != 2 else (first, input, "(..., width)")
        raise ValueError(f"{name} must have shape {form}, got {shown(x.shape)}")
    if input.shape[-1] != weight.shape[1]:
        fix = f". It is multiplied transposed, as that of torch.nn.Linear: try {second}.t()" if input.shape[-1] == weight.shape[0] else ""
        raise ValueError(
            f"{first} of shape {shown(input.shape)} and {second} of shape {shown(weight.shape)} do not multiply: "
            f"rows of {input.shape[-1]} numbers against rows of {weight.shape[1]}{fix}"
        )
    others = [(second, weight)]
    if bias is not None:
        checks.floating(third, bias, first)
        if bias.shape != (weight.shape[0],):
            raise ValueError(
                f"{third} has shape {shown(bias.shape)}, expected one number for each of the {weight.shape[0]} classes: {shown((weight.shape[0],))}"
            )
        others.append((third, bias))
    for name, x in others:
        tensors.beside(name, x, first, input)
        if x.dtype is not input.dtype and autocast(input) is None:
            wide, narrow = (name, first) if x.dtype.itemsize > input.dtype.itemsize else (first, name)
            kept = x.dtype if wide == name else input.dtype
            raise TypeError(f"{first} is {input.dtype} but {name} is {x.dtype}, and matrices of one dtype multiply: try {narrow}.to({kept}), or torch.autocast")


def moved(target: Tensor, ignore_index: int, **of_items: Tensor | None) -> tuple[Tensor, dict[str, Tensor | None]]:
    """The labels of next items along the last axis, and what belongs to them; the last item has none."""
    tensors.check("target", target)
    labels.index(ignore_index)
    if target.is_floating_point() or not target.dim():
        raise ValueError(
            f"shift=True moves class labels along their last axis, and target has shape {shown(target.shape)} and {target.dtype}: shift it yourself"
        )
    target = target if target.dtype.is_signed else target.long()

    def next_of(y: Tensor | None, last: int) -> Tensor | None:
        if y is None or not y.dim() or y.shape[-1] != target.shape[-1]:
            return y
        return torch.cat((y[..., 1:], torch.full_like(y[..., :1], last)), -1)

    found = next_of(target, ignore_index)
    assert found is not None
    return found, {name: next_of(y, 0) for name, y in of_items.items()}
