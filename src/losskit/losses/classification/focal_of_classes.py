"""Focal loss of class scores: what `focal_loss` does with task="multiclass"."""

from numbers import Real
from typing import Any

import torch
from torch import Tensor

from losskit.contract import checks, labels
from losskit.contract.checks import Numbers
from losskit.contract.distributions import Masses, distributions, from_distributions
from losskit.contract.elementwise import Operand
from losskit.contract.rows import Labelled, rows
from losskit.engines.language import exp_product, log1m_floored, log_floored, minimum, non_negative, reciprocal, unit, where
from losskit.losses.classification import cross_entropy


def multiclass(nll, hit, miss, spread, lse, weight, gamma):
    power = where(miss == 0.0, 0.0, exp_product(gamma, log_floored(miss)))
    ratio = minimum(nll, 1e30) / where(miss == 0.0, 1.0, miss)
    return weight * power * nll, weight * power * (1.0 + gamma * hit * ratio), 0.0, 0.0


def multiclass_squared(nll, hit, miss, spread, lse, weight, gamma):
    """gamma = 2."""
    return weight * miss * miss * nll, weight * miss * (miss + 2.0 * hit * minimum(nll, 1e30)), 0.0, 0.0


def multiclass_by_item(nll, hit, miss, spread, lse, weight, gamma):
    """gamma is read beside the scores."""
    gamma = non_negative(gamma)
    log_miss = where(hit < 0.5, log1m_floored(hit), log_floored(miss))
    power = where(miss == 0.0, where(gamma == 0.0, 1.0, 0.0), exp_product(gamma, log_miss))
    nll_here = minimum(nll, 1e30)
    ratio = nll_here / where(miss == 0.0, 1.0, miss)
    return weight * power * nll, weight * power * (1.0 + gamma * hit * ratio), 0.0, 0.0, weight * power * (nll_here * log_miss)


def multiclass_soft(logp, p, q, t, weight, gamma, keep, smooth):
    """One class of an item with smoothed labels: the loss is the expected one."""
    mass = weight * (t * keep + smooth)
    power = where(q == 0.0, 0.0, exp_product(gamma, log_floored(q)))
    ratio = minimum(-logp, 1e30) / where(q == 0.0, 1.0, q)
    return where(mass == 0.0, 0.0, -mass * power * logp), -mass * power * (1.0 + gamma * p * ratio), where(weight == 0.0, 0.0, -weight * keep * power * logp)


def multiclass_probability(x, t, gamma):
    """One class, x its probability."""
    p = unit(x)
    log_p = log_floored(p)
    q = 1.0 - p
    power = where(q == 0.0, 0.0, exp_product(gamma, log1m_floored(p)))
    ratio = log_p / where(q == 0.0, 1.0, q)
    return where(t == 0.0, 0.0, -t * power * log_p), t * power * (gamma * ratio - reciprocal(p)), -power * log_p


def of_items(gamma: Operand, input: Tensor, target: Tensor) -> Operand:
    """The gamma of each item, as a tensor."""
    gammas = checks.numbers("gamma", gamma.value, torch.get_default_dtype(), input.device)
    if isinstance(target, Tensor) and not checks.fits(gammas.shape, target.shape):
        raise ValueError(
            f"gamma has shape {checks.shown(gammas.shape)}, which does not broadcast to the target's shape {checks.shown(target.shape)}: "
            'with task="multiclass" it is one number per item. For one per class, give gamma[target.clamp(min=0)]'
        )
    return gamma._replace(value=gammas)


def of_classes(
    input: Tensor,
    target: Tensor,
    alpha: float | Numbers | None,
    gamma: float | Operand,
    smoothing: float,
    from_logits: bool,
    ignore_index: int,
    common: dict[str, Any],
) -> Tensor:
    """The loss; gamma may be read beside the scores."""
    if isinstance(gamma, Operand) and (smoothing or not from_logits):
        raise ValueError("gamma must be a number beside label_smoothing or probabilities of classes; a tensor of gammas needs logits and plain labels")
    classes = labels.several(input, labels.class_axis(input, common["dim"]), labels.ONE_LABEL)
    weight: Tensor | None = None
    if isinstance(alpha, Real):
        dtype = torch.promote_types(input.dtype, torch.float32)
        weight = torch.full((classes,), checks.number("alpha", alpha, low=0.0), dtype=dtype, device=input.device)
    elif alpha is not None:
        weight = labels.class_weights(alpha, input, classes, "alpha", learned=True)  # type: ignore[arg-type]
    result: Tensor
    if isinstance(gamma, Operand):
        described = Labelled(multiclass_by_item, operands=(of_items(gamma, input, target),), mean_by_weight=False)
        result = rows(described, input, target, ignore_index=ignore_index, weight=weight, **common)
        return result
    if not from_logits:
        result = from_distributions(
            multiclass_probability,
            input,
            target,
            (gamma,),
            logs=False,
            weight=weight,
            ignore_index=ignore_index,
            label_smoothing=smoothing,
            mean_by_weight=False,
            **common,
        )
        return result
    if smoothing:
        params = (gamma, 1.0 - smoothing, smoothing / classes)
        masses = Masses(lambda t: t * (1.0 - smoothing) + smoothing / classes, multiclass_soft, (gamma, 1.0, 0.0))
        result = distributions(multiclass_soft, input, target, params, target_is="labels", ignore_index=ignore_index, weight=weight, masses=masses, **common)
        return result
    form = multiclass_squared if gamma == 2.0 else multiclass
    described = Labelled(form, (gamma,), mean_by_weight=False) if gamma else Labelled(cross_entropy.formula, mean_by_weight=False)
    result = rows(described, input, target, ignore_index=ignore_index, weight=weight, **common)
    return result
