"""The contract for elements: an input, a target, as a rule of its shape, and whatever else the formula takes. What all patterns share is in `reduce.py`."""

from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

import torch
from torch import Tensor

from losskit.contract import checks, labels, reduce, tensors
from losskit.contract.checks import Numbers, Reduction
from losskit.contract.groups import Ranks
from losskit.contract.reduce import Normalizer, needs_gradient
from losskit.contract.registry import LABELS, Range
from losskit.contract.together import Offer
from losskit.contract.topk import Shares
from losskit.engines import dispatch, operators, private
from losskit.engines.call import Call, real_dtype
from losskit.engines.dispatch import EngineName
from losskit.engines.language import derivatives, weighted
from losskit.engines.protocol import ENGINES
from losskit.engines.scores import made_of
from losskit.engines.torch.elementwise import combined

NOWHERE: Mapping[str, str] = {}
NO_RANGES: Mapping[str, tuple[str, str]] = {}


class Operand(NamedTuple):
    """One more argument of a formula that is a tensor: one number per element, per item, per class, or one in all.

    `range` says which numbers it may hold, where not all: "> 0" or ">= 0". The formula gives NaN for others (`positive`, `non_negative`), and the contract
    then says where. `weight`: a setting like a class weight, whose numbers must be finite where they count.
    """

    name: str
    value: Numbers | float
    range: Range = "real"
    weight: bool = False


def elementwise(
    formula: Callable[..., Any],
    input: Tensor,
    target: Tensor,
    params: tuple[float, ...],
    *,
    mask: Tensor | None,
    sample_weight: Tensor | None,
    normalizer: Normalizer | None,
    reduction: Reduction,
    weight: Numbers | None = None,
    operands: Sequence[Operand] = (),
    unit: Mapping[str, str] = NOWHERE,
    ranges: Mapping[str, tuple[str, str]] = NO_RANGES,
    mass: bool = False,
    ignore_index: int | None = None,
    missing: float | None = None,
    shared: bool = False,
) -> Tensor:
    """An elementwise loss under the contract. The formula takes a number of the input, of the target, of each of `operands`, then `params`.

    `weight` multiplies the losses but not the denominator (as torch's argument of that name); `unit` names the arguments that must lie in [0, 1], with a hint each:
    the formula gives NaN for what does not, and the range is checked only after a NaN has appeared. `ranges` names those with another range likewise, each with the range
    (a key of `checks.OUTSIDE`) and a hint. `mass` makes the sum of the targets, at least 1, the
    denominator in place of the count. Elements whose target is `ignore_index`, or `missing`, are absent. `shared`: one number of the target may serve several elements,
    as of any operand: its shape broadcasts to the input's.
    """
    if normalizer is not None and isinstance(normalizer, Offer):
        narrow = ranges or "input" in unit  # who looks for what is outside, if the pass is another's?
        more = mass or shared or operands or sample_weight is not None or weight is not None or missing is not None
        if not narrow and not more and input.dim():
            checks.pair(input, target)
            return normalizer.of_numbers(Call(formula, params), ignore_index, "target" in unit)  # type: ignore[return-value]  # see together.py
        normalizer = None
    if reduction != "mean":
        reduce.check(reduction, normalizer)
    usual = dispatch.usual(input, target)
    if not (usual and input.is_floating_point() and input.shape == target.shape):
        if shared:
            checks.both(input, target)
            checks.broadcastable("target", target, input)
        else:
            checks.pair(input, target)
    if ignore_index is not None or missing is not None:
        if mask is not None:
            checks.mask(mask, input)
        mask = labels.present(target, ignore_index, missing, mask)
    factors: tuple[Tensor, ...] = ()
    numbers: tuple[Tensor, ...] = (input, target)
    for place, operand in enumerate(operands):
        constant = needs_gradient(operand.value) and not reduce.followed() and derived(formula) <= place + 2
        numbers = (*numbers, _checked(operand, input, mask, not constant))
    extra = numbers[2:]
    if mask is not None or sample_weight is not None or weight is not None:
        sample_weight = tensors.widened(sample_weight) if isinstance(sample_weight, Tensor) else sample_weight
        factors = _factors(input, mask, sample_weight, weight, reduce.by_weights(reduction, normalizer))
        if not reduce.followed():
            formula, numbers, factors = _learned(formula, numbers, factors)
    if normalizer is not None and isinstance(normalizer, Shares):
        own = tuple(x for x in (mask, sample_weight) if x is not None)
        normalizer.tell(combined(own, real_dtype(input.dtype)).expand(input.shape) if own else None)
    if mass and reduction != "mean":
        raise ValueError(f'normalizer replaces the denominator of reduction="mean", but reduction is {reduction!r}: divide the result instead')
    engine, numbers, call = tensors.on_engine(numbers, Call(formula, params, factors), usual, products=True)
    scale: float | Tensor | None = None if reduction == "none" else 1.0
    if reduction == "mean":
        scale = _scale(engine, input, target, mask, sample_weight, normalizer, mass)
    learned = scale if isinstance(scale, Tensor) and scale.requires_grad else None  # the weights in the denominator have a gradient, too
    if learned is not None:
        scale = learned.detach() if not ENGINES[engine].on_host else float(learned.detach())
    result, _ = reduce.run("elementwise", engine, call, numbers, scale)
    if learned is not None:  # a 1 that carries it: the pass has finished its gradients, and none of them is multiplied again
        held = learned.detach()
        result = result * torch.where(held == 0.0, 1.0, learned / torch.where(held == 0.0, 1.0, held))
    if (unit or ranges or operands) and reduce.nan_seen(engine, input, result):
        counts = combined(factors, torch.float64) != 0 if factors else None
        named = {"input": input, "target": target}
        checks.in_unit(unit, [named[name].detach() for name in unit], counts)
        for name, (range, hint) in ranges.items():
            checks.in_range(name, named[name].detach(), range, input, counts, hint)
        for operand, x in zip(operands, extra, strict=True):
            if operand.range != "real":
                checks.in_range(operand.name, x, operand.range, input, counts)
    return result


def keep_weighted(formula: Callable[..., Any]) -> None:
    """Make the formula times a weight the first time that it is asked for, as an attribute of it, where the compiler can find it."""
    if not hasattr(formula, "weighted"):
        formula.weighted = weighted(formula)  # type: ignore[attr-defined]


private.constant_to_the_compiler(keep_weighted)  # it cannot trace the making of a function


@private.constant_to_the_compiler
def derived(formula: Callable[..., Any]) -> int:
    """By how many operands a formula has a derivative: calling it on numbers is nothing to trace."""
    return derivatives(formula)


def _learned(
    formula: Callable[..., Any], numbers: tuple[Tensor, ...], factors: tuple[Tensor, ...]
) -> tuple[Callable[..., Any], tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Weights that require a gradient become operands of the formula times them."""
    for factor in factors:
        if needs_gradient(factor):
            place = derived(formula)
            keep_weighted(formula)
            formula = formula.weighted  # type: ignore[attr-defined]
            numbers = (*numbers[:place], factor, *numbers[place:])
    return formula, numbers, tuple(x for x in factors if not needs_gradient(x))


def _checked(operand: Operand, input: Tensor, mask: Tensor | None, differentiable: bool) -> Tensor:
    """The operand as a tensor that broadcasts to the input."""
    value: Any = operand.value
    if isinstance(value, Real) and not operand.weight:
        low, above = (0.0 if operand.range == sign else None for sign in (">= 0", "> 0"))
        number = checks.number(operand.name, operand.value, low=low, above=above)  # type: ignore[arg-type]
        return torch.full((), number, dtype=real_dtype(input.dtype), device=input.device)
    x = labels.class_vector(operand.name, value, input)
    if operand.weight:
        checks.weights(operand.name, x, input, mask)
    else:
        checks.broadcastable(operand.name, x, input)
    if not x.is_floating_point() and (operand.range != "real" or not operand.weight) and operand.range != LABELS:
        raise TypeError(f"{operand.name} must be a floating-point tensor, got {x.dtype}: try {operand.name}.float()")
    if x.dtype is torch.float64 and input.dtype is not torch.float64 and operand.weight:
        _check_range(operand.name, x)
    if not differentiable:
        raise ValueError(f"{operand.name} must not require a gradient, none is defined for it: try {operand.name}.detach()")
    return x


def _factors(input: Tensor, mask: Tensor | None, sample_weight: Tensor | None, weight: Numbers | None, summed: bool) -> tuple[Tensor, ...]:
    """The checked factors, the mask first."""
    if mask is not None:
        checks.mask(mask, input)
    own = None if weight is None else labels.class_vector("weight", weight, input)
    for name, x in (("sample_weight", sample_weight), ("weight", own)):
        if x is not None:
            checks.weights(name, x, input, mask, summed=summed and x is sample_weight)
            if x.dtype is torch.float64 and input.dtype is not torch.float64:
                _check_range(name, x)
    return tuple(x for x in (mask, sample_weight, own) if x is not None)


def _check_range(name: str, x: Tensor) -> None:
    """float64 weights of a loss in float32 must still be numbers there."""
    if checks.readable(x):
        narrow = x.detach().float()
        if bool(((narrow == 0) & (x != 0) | narrow.isinf()).any()):
            raise ValueError(f"{name} holds float64 numbers beyond the range of float32, which the loss is computed in: try {name} / {name}.max()")


def count(x: Any, t: Any) -> Any:
    """1 per item."""
    return 1.0, 0.0, 0.0


def positives(x: Any, t: Any) -> Any:
    """The target itself: its sum over 0/1 labels is the number of positives."""
    return t, 0.0, 0.0


def _scale(
    engine: EngineName,
    input: Tensor,
    target: Tensor,
    mask: Tensor | None,
    sample_weight: Tensor | None,
    normalizer: Normalizer | None,
    mass: bool,
) -> float | Tensor:
    """One over the denominator of "mean"; 0 where that is 0, for then nothing is left to count."""
    own: float | Tensor = input.numel()
    if not mass and mask is None and sample_weight is None:
        if normalizer is None:
            return 1.0 / max(own, 1)  # of no items the sum is 0, whatever it is divided by
    elif normalizer is None or isinstance(normalizer, Ranks):
        factors = tuple(x for x in (mask, sample_weight) if x is not None)
        if needs_gradient(sample_weight):
            own, engine = _followed(engine, input, target, factors, mass), "torch"  # PyTorch operations follow it
        else:
            own = _denominator(engine, input, target, factors, mass)
    return reduce.scale_of(engine, input, reduce.denominator_of(own, normalizer, input, 1.0 if mass else 0.0))


class Added(torch.autograd.Function):
    """The sum of all weights, found already, with its gradient."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, total: Tensor) -> Tensor:
        """The sum."""
        ctx.like = weights.shape, weights.dtype
        return total.view_as(total)

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor, None]:
        """The same for each weight."""
        shape, dtype = ctx.like
        return incoming.to(dtype).expand(shape), None


def _followed(engine: EngineName, input: Tensor, target: Tensor, factors: tuple[Tensor, ...], mass: bool) -> Tensor:
    """The same where a weight requires a gradient, which is that of the denominator, too: of one weight per element by the loop that adds them, else by PyTorch operations."""
    if ENGINES[engine].on_host and not mass and len(factors) == 1 and factors[0].shape == input.shape:
        total = _denominator(engine, input, target, (factors[0].detach(),), mass)
        return Added.apply(factors[0], total)  # type: ignore[no-any-return, no-untyped-call]
    return _denominator("torch", input, target, factors, mass)


def _denominator(engine: EngineName, input: Tensor, target: Tensor, factors: tuple[Tensor, ...], mass: bool) -> Tensor:
    """The weights of the items that count, summed; or, weighted likewise, their targets."""
    total: Tensor
    plain = ENGINES[engine].plain
    if not plain or (operators.compiled() and made_of(input) is None and not any(map(needs_gradient, factors))):
        with torch.no_grad():
            call, given = Call(positives if mass else count, (), factors), (tensors.shape_alone(input), target.detach())
            if not plain:
                total = dispatch.pattern(engine, "elementwise").run(call, given).total
                return total
            if (found := operators.run("elementwise", call, given, 1.0, False)) is not None:
                return found[0]
    # weights that require a gradient get that of the denominator too
    real = torch.float64 if input.dtype is torch.float64 else torch.float32
    each = torch.ones((), dtype=real, device=input.device) if not mass else target.detach().to(real)
    if factors:
        factor = combined(factors, real)
        each = torch.where(factor != 0, each * factor, 0.0) if mass else factor
    total = each.expand(input.shape).sum(dtype=torch.float64 if input.is_cpu else real).to(real)
    return total
