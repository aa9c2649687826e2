"""The contract for rows whose targets are distributions, and for inputs that are distributions already."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from losskit.contract import checks, labels, reduce, tensors
from losskit.contract import items as row_items
from losskit.contract.checks import Numbers, Reduction
from losskit.contract.elementwise import Operand
from losskit.contract.passes import Counted, asked, census, reduced, weighed
from losskit.contract.reduce import Normalizer
from losskit.contract.together import unasked
from losskit.contract.topk import Shares, tell
from losskit.engines import dispatch
from losskit.engines.call import Call, Distributions, real_dtype
from losskit.engines.language import where
from losskit.engines.scores import Scores
from losskit.engines.torch import distributions as plain
from losskit.engines.torch import elementwise

TargetIs = Literal["probabilities", "log_probabilities", "labels", "positions", "numbers", "nothing"]  # numbers: any, unchecked

# what to do with a single class; {axis} is its axis
ONE_PROBABILITY = "For one score and a target in [0, 1] an item, try binary_cross_entropy_with_logits(input, target)"
ONE_LOG = "For one score and the logarithm of a target in [0, 1] an item, try binary_cross_entropy_with_logits(input, target.exp())"
ONE_ENTROPY = "For the entropy of one score's sigmoid, try torch.cat((torch.zeros_like(input), input), {axis})"
BOTH = "For a single probability per item, make both classes of it: try torch.cat((1 - input, input), {axis})"
BOTH_LOGS = "For a single probability per item, make both classes of it: try torch.cat(((-input.expm1()).log(), input), {axis})"
BOTH_TARGETS = "torch.cat((1 - target, target), {axis})"

SUM_TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 2e-3}  # how far from 1 a row may sum by rounding


class Masses(NamedTuple):
    """The same loss of a target that carries the class weights: what makes masses of it and of the operands, before the weights; and the formula of masses."""

    of: Callable[..., Tensor]
    formula: Callable[..., Any]
    params: tuple[float, ...] = ()


def check_pair(input: Tensor, target: Tensor, dim: int, fix: str) -> int:
    """Scores and distributions of one shape; the class axis is returned. `fix` is for a single class."""
    axis = labels.class_axis(input, dim)
    checks.pair(input, target)
    if not target.is_floating_point():
        raise TypeError(f"target must be probabilities of a floating-point dtype, got {target.dtype}: try target.float()")
    labels.several(input, axis, fix)
    return axis


def check_distribution(name: str, x: Tensor, axis: int, counts: Tensor | None, logs: bool = False) -> None:
    """Each item's numbers lie in [0, 1] and sum to 1, up to rounding; checked only where that forces no synchronisation."""
    if not checks.readable(x) or not x.numel():
        return
    allowed = SUM_TOLERANCE.get(x.dtype, 1e-4) * max(1.0, x.shape[axis] ** 0.5 / 100)
    plain_memory = x.is_cpu and x.dtype in SUM_TOLERANCE and dispatch.obstacle((x,) if counts is None else (x, counts)) is None
    if plain_memory and not dispatch.pattern("cpu", "distributions").suspicious(x, axis, counts, allowed, logs):
        return
    values = x.detach().exp() if logs else x
    bad = ~(plain.sums_to_one(values, axis) <= allowed) & ~values.isnan().any(axis)
    if counts is not None:
        bad = bad & (counts != 0)
    if not bool(bad.any()):
        return
    for narrow in (torch.float16, torch.bfloat16) if x.dtype in (torch.float32, torch.float64) else ():
        if bool(((x.to(narrow) == x) | x.isnan()).all()):  # numbers of half precision, widened: they were rounded there
            return check_distribution(name, x.to(narrow), axis, counts, logs)
    place = tuple(bad.nonzero()[0].tolist()) if bad.dim() else ()
    row = values.movedim(axis, -1)[place].double()
    where = f" at index {place}" if place else ""
    kind = "log-probabilities" if logs else "probabilities"
    if bool(((row < 0) | (row > 1 + 1e-6)).any()):
        worst = row[(row < 0) | (row > 1 + 1e-6)][0].item()
        what = f"holds {'exp of ' if logs else ''}{worst:.6g}, outside [0, 1]"
    else:
        what = f"sums to {row.sum().item():.7g}, expected 1"
    fix = (
        ("these are no scores" if logs else "leave from_logits=True for scores")
        if name == "input"
        else "for class labels give integers, without the class axis"
    )
    attempt = f"{name}.log_softmax({axis})" if logs else f"{name} / {name}.sum({axis}, keepdim=True)"
    raise ValueError(f"{name} must hold {kind} along dim={axis}: the row{where} {what}. Try {attempt}; {fix}")


def distributions(
    formula: Callable[..., Any],
    input: Tensor,
    target: Tensor,
    params: tuple[float, ...] = (),
    *,
    dim: int,
    mask: Tensor | None,
    sample_weight: Tensor | None,
    normalizer: Normalizer | None,
    reduction: Reduction,
    weight: Numbers | None = None,
    link: tuple[Callable[..., Any], float] | None = None,
    shift: bool = False,
    square: float = 0.0,
    target_is: TargetIs = "probabilities",
    ignore_index: int = -100,
    return_parts: bool = False,
    operands: tuple[Operand, ...] = (),
    temperature: tuple[Operand, ...] = (),
    masses: Masses | None = None,
) -> Any:
    """A loss of scores against a distribution each (labels: all mass on one class; positions: on the two beside it), or of scores alone (no target).

    `square` multiplies the squared log-sum-exp, weighted like the item, which is added. `shift` takes the largest input from all of them before the link: no
    digits are lost to a large common part, and no loss depends on it. `operands` have one number per item, which the formula reads; `temperature` is one that divides
    the scores, or none. `masses`: what a weight that requires a gradient needs.
    """
    reduce.check(reduction, normalizer)
    normalizer = unasked(normalizer)
    if target_is == "nothing":
        kind: Literal["distribution", "label", "position", "none"] = "none"
        axis = check_pair(input, input, dim, ONE_ENTROPY)
        target = torch.empty(0, dtype=input.dtype, device=input.device)
    elif target_is == "labels":
        kind, axis = "label", labels.pair(input, target, dim)
        labels.index(ignore_index)
    elif target_is == "positions":
        kind, axis = "position", labels.positions(input, target, dim)
    else:
        labels.only_labels(ignore_index, input)
        if target_is == "log_probabilities" and type(target) is Scores:
            raise ValueError("target is what linear_probabilities gives, which are no logarithms: leave log_target out")
        kind, axis = "distribution", check_pair(input, target, dim, ONE_LOG if target_is == "log_probabilities" else ONE_PROBABILITY)
    own = None if weight is None else labels.class_weights(weight, input, input.shape[axis], learned=masses is not None)
    if own is not None and masses is not None and reduce.needs_gradient(own):
        how: dict[str, Any] = dict(link=link, temperature=temperature, return_parts=return_parts)
        weighing: dict[str, Any] = dict(mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
        return _weighed(
            masses, tensors.whole(input), tensors.whole(target), own, axis, ignore_index if kind == "label" else None, square, operands, how, **weighing
        )
    one_class = input.select(axis, 0)
    to = "input" if kind == "none" else "target"
    factor = reduce.item_factor(one_class, mask, sample_weight, real_dtype(input.dtype), reduce.by_weights(reduction, normalizer), to)
    function, parameter = link or (None, 0.0)
    operands = (*temperature, *operands)
    numbers = row_items.checked(operands, input, axis)
    call = Distributions(formula, params, own, function, parameter, shift, square, kind, ignore_index, axis, factor, bool(temperature))
    apart = not return_parts and reduce.learned(sample_weight)
    if apart:
        factor = reduce.unless_nothing_counts(factor, normalizer, input, one_class.shape)
        assert factor is not None
        call = call._replace(factor=(factor != 0).expand(one_class.shape))
    engine, given, call = tensors.on_engine((input, target, *numbers), call, products=True)
    told = factor
    if kind == "label" and isinstance(normalizer, Shares):
        told = asked(call._replace(factor=factor), input, target, False)
    if kind == "label":
        counted = (
            census("torch", call._replace(factor=factor), input, target, False)
            if apart
            else census(engine, call, input, target, False, normalizer, reduction, return_parts)
        )
    else:
        if kind == "distribution" and target_is != "numbers":
            check_distribution("target", target, axis, factor, logs=target_is == "log_probabilities")
        mass: int | float | Tensor = one_class.numel()
        items: int | Tensor = one_class.numel()
        if factor is not None:
            items = factor.count_nonzero()  # (a sum of bools would first widen them to int64)
            mass = items if factor.dtype is torch.bool else reduce.weight_of(factor, items, real_dtype(input.dtype))
        counted = Counted(mass, items)
    if apart:
        each = reduced("distributions", engine, call, given, counted, None, "none", False, False)
        result = reduce.reduced(each, factor, counted.total, input, normalizer=normalizer, reduction=reduction, shares=told)
    else:
        tell(normalizer, told)
        result = reduced("distributions", engine, call, given, counted, normalizer, reduction, False, return_parts)
    if kind == "position" and reduce.nan_seen(engine, input, result[0] if return_parts else result):
        labels.refuse_positions(target, input.shape[axis], factor)  # looked for when a NaN has been seen, as what is outside an elementwise loss's domain
    if operands:
        counts = row_items.counting(target, ignore_index, factor) if kind == "label" else None if factor is None else factor != 0
        row_items.refuse(operands, numbers, engine, one_class, counts, result[0] if return_parts else result)
    return result


def _weighed(
    masses: Masses, input: Tensor, target: Tensor, weight: Tensor, axis: int, ignore_index: int | None, square: float,
    operands: tuple[Operand, ...], how: dict[str, Any],
    *, mask: Tensor | None, sample_weight: Tensor | None, normalizer: Normalizer | None, reduction: Reduction,
) -> Any:  # fmt: skip
    """The same with class weights that require a gradient, which become part of the target."""
    real, one_class = real_dtype(input.dtype), input.select(axis, 0)
    factor = reduce.item_factor(one_class, mask, sample_weight, real, reduce.by_weights(reduction, normalizer))
    factor = reduce.unless_nothing_counts(factor, normalizer, input, one_class.shape)
    if ignore_index is None:
        check_distribution("target", target, axis, factor)
        counts = None if factor is None else factor != 0
        t = reduce.present(target.to(real), None if counts is None else counts.unsqueeze(axis), 0.0)
    else:
        counts = row_items.counting(target, ignore_index, factor)
        if checks.readable(target):
            labels.refuse(target, input.shape[axis], ignore_index, factor)
        label = (target if counts is None else torch.where(counts, target, 0)).long()
        t = (torch.arange(input.shape[axis], dtype=torch.int64, device=input.device) == label[..., None]).to(real).movedim(-1, axis)
    own = labels.along(weight.to(real), input, axis)
    numbers = row_items.checked(operands, input, axis)
    wide = [reduce.present(y.to(real).expand(one_class.shape), counts, 0.0).unsqueeze(axis) for y in numbers]
    alone: dict[str, Any] = dict(dim=axis, mask=counts, sample_weight=None, normalizer=None, reduction="none", target_is="numbers")
    mass = masses.of(t, *wide)
    apart = bool(square) and mass is not t
    input = input.to(real) if apart else input  # two passes, and the gradient of half precision is rounded once
    found = distributions(masses.formula, input, own * mass, masses.params, square=0.0 if apart else square, **alone, **how)
    each, parts = found if how["return_parts"] else (found, None)
    if apart:
        each = each + distributions(nothing, input, own * t, square=square, **alone, **how | {"return_parts": False})
    shares = None if counts is None else counts if factor is None else torch.where(counts, factor, 0)
    total = one_class.numel() if shares is None else shares.sum()
    result = weighed(each, parts, factor, counts, total, input, normalizer=normalizer, reduction=reduction, shares=shares)
    row_items.refuse(operands, numbers, "torch", one_class, counts, result if parts is None else result[0])
    return result


def of_masses(logp: Any, p: Any, q: Any, t: Any, weight: Any) -> Any:
    """-t log p of one class. Without mass it may be ruled out, and then no weight has a gradient from it."""
    return where(t == 0.0, 0.0, -t * logp), -t, where(t == 0.0, where(logp < -1e30, 0.0, -logp), -logp)


def nothing(logp: Any, p: Any, q: Any, t: Any, weight: Any) -> Any:
    """No loss besides the squared log-sum-exp."""
    return 0.0 * p, 0.0 * p, 0.0 * p


def from_distributions(
    formula: Callable[..., Any],
    input: Tensor,
    target: Tensor,
    params: tuple[float, ...] = (),
    *,
    logs: bool,
    dim: int,
    weight: Numbers | None,
    ignore_index: int,
    label_smoothing: float | tuple[Operand],
    mask: Tensor | None,
    sample_weight: Tensor | None,
    normalizer: Normalizer | None,
    reduction: Reduction,
    mean_by_weight: bool = True,
) -> Tensor:
    """A loss of probabilities, or of their logarithms, against labels or distributions: the sum over the classes of `formula` on (input, mass of the target)."""
    reduce.check(reduction, normalizer)
    normalizer = unasked(normalizer)
    soft = labels.soft(input, target)
    if soft:
        labels.only_labels(ignore_index, input)
    fix = BOTH_LOGS if logs else BOTH
    axis = check_pair(input, target, dim, fix + ", " + BOTH_TARGETS) if soft else labels.pair(input, target, dim, fix)
    classes = input.shape[axis]
    real = real_dtype(input.dtype)
    items = input.select(axis, 0)
    factor = reduce.item_factor(items, mask, sample_weight, real, reduce.by_weights(reduction, normalizer))
    factor = reduce.unless_nothing_counts(factor, normalizer, input, items.shape)
    input, target = tensors.lasting(input), tensors.lasting(target)
    engine, _ = dispatch.choice((input, target), plain="from_logits=False reads one number per item and needs no fused pass")
    own = torch.ones(classes, dtype=real, device=input.device) if weight is None else labels.class_weights(weight, input, classes, learned=True)
    counts = torch.ones((), dtype=real, device=input.device) if factor is None else factor.to(real)
    if soft:
        check_distribution("target", target, axis, factor)
        mass = target.movedim(axis, -1).to(real)
        mass = mass if factor is None else torch.where((counts != 0).expand(mass.shape[:-1])[..., None], mass, 0.0)
    else:
        labels.index(ignore_index)
        if checks.readable(target):
            labels.refuse(target, classes, ignore_index, factor)
        kept = labels.kept(target, ignore_index)
        counts = torch.where(kept & (counts != 0), counts, 0.0)
        place = torch.where(counts != 0, target, 0).long()[..., None]
        mass = (torch.arange(classes, dtype=torch.int64, device=input.device) == place).to(real)
    counts = counts.expand(mass.shape[:-1])
    check_distribution("input", input, axis, counts, logs)
    alive = (counts != 0)[..., None]
    smooth: float | Tensor
    if isinstance(label_smoothing, tuple):
        (given,) = row_items.checked(label_smoothing, input, axis)
        if checks.readable(given):
            checks.in_range("label_smoothing", given, label_smoothing[0].range, counts, counts != 0)
        smooth = torch.where(alive, given.to(real).expand(counts.shape)[..., None], 0.0)
    else:
        smooth = label_smoothing
    learned = reduce.needs_gradient(own)
    own = labels.exact(own) if learned else own.to(real)
    mass = ((mass * (1.0 - smooth) + smooth / classes) * own).to(real)
    x = torch.where(alive, input.movedim(axis, -1).to(real), 0.0 if logs else 1.0)
    x = torch.where((mass == 0.0) & x.isinf(), 0.0, x) if learned else x  # a class without mass may be ruled out
    each = elementwise.losses(Call(formula, params), x, torch.where(alive, mass, 0.0)).sum(-1)
    weighed = counts if soft or not mean_by_weight else counts * labels.of_labels(own, place[..., 0])
    denominator = reduce.weight_of(weighed, each.numel(), real)
    return reduce.reduced(each, counts, denominator, input, normalizer=normalizer, reduction=reduction, engine=engine, shares=weighed)
