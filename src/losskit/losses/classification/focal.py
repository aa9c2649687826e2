"""Focal loss: cross-entropy that down-weights well-classified items; binary, multi-label and multi-class."""

from collections.abc import Callable
from numbers import Real
from typing import Any, Literal, get_args

from torch import Tensor

from losskit.contract import checks, labels, reduce
from losskit.contract.checks import Numbers, Reduction
from losskit.contract.elementwise import Operand, elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import OperandFacts, loss
from losskit.engines.language import (
    absolute,
    exp_neg,
    exp_product,
    log1m_floored,
    log1p_unit,
    log_floored,
    minimum,
    non_negative,
    one_over,
    reciprocal,
    unit,
    where,
)
from losskit.losses.classification.binary_cross_entropy import formula as of_probabilities
from losskit.losses.classification.binary_cross_entropy_with_logits import formula as of_logits
from losskit.losses.classification.binary_cross_entropy_with_logits import plain as of_logits_plain
from losskit.losses.classification.focal_of_classes import of_classes

FocalTask = Literal["binary", "multilabel", "multiclass"]
TASKS = get_args(FocalTask)


def from_logits_formula(x, t, positive, negative, gamma):
    a = absolute(x)
    e = exp_neg(a)
    log1pe = log1p_unit(e)
    hard = exp_product(-gamma, log1pe)  # sure ** gamma, with sure = 1 / (1 + e)
    return weighted(x, t, positive, negative, gamma, a, e, log1pe, hard, exp_product(-gamma, a) * hard)


def from_logits_squared(x, t, positive, negative, gamma):
    """gamma = 2, the usual one: two multiplications in place of two exponentials."""
    a = absolute(x)
    e = exp_neg(a)
    sure = one_over(1.0 + e)
    rest = e * sure
    return weighted(x, t, positive, negative, gamma, a, e, log1p_unit(e), sure * sure, rest * rest)


def weighted(x, t, positive, negative, gamma, a, e, log1pe, hard, easy):
    """Value and slopes; `hard` and `easy` are the modulating factors of a wrong and of a right logit of size `a`."""
    t = unit(t)
    sure = one_over(1.0 + e)
    rest = e * sure
    up = x > 0.0
    yes = positive * t
    no = negative * (1.0 - t)
    wrong = where(up, no, yes)
    right = where(up, yes, no)
    nll = a + log1pe
    wrong = wrong * hard
    right = right * easy
    value = where(wrong == 0.0, 0.0, wrong * nll) + right * log1pe
    slope = wrong * (gamma * rest * minimum(nll, 1e30) + sure) - right * (gamma * sure * log1pe + rest)
    slope_t = where(up, positive * (easy * log1pe) - negative * (hard * nll), positive * (hard * nll) - negative * (easy * log1pe))
    return value, where(up, slope, -slope), slope_t


def from_probabilities_formula(x, t, positive, negative, gamma):
    p = unit(x)
    log_p = log_floored(p)
    log_q = log1m_floored(p)
    p_gamma = where(p == 0.0, 0.0, exp_product(gamma, log_p))
    q_gamma = where(p == 1.0, 0.0, exp_product(gamma, log_q))
    return weighted_probability(p, t, positive, negative, gamma, log_p, log_q, p_gamma, q_gamma)


def from_probabilities_squared(x, t, positive, negative, gamma):
    """gamma = 2: exact squares in place of exponentials."""
    p = unit(x)
    log_p = log_floored(p)
    q = 1.0 - p
    return weighted_probability(p, t, positive, negative, gamma, log_p, log1m_floored(p), p * p, q * q)


def weighted_probability(p, t, positive, negative, gamma, log_p, log_q, p_gamma, q_gamma):
    """Value and slopes; `p_gamma` and `q_gamma` are p and 1 - p to the power gamma."""
    t = unit(t)
    by_p = reciprocal(p)
    by_q = reciprocal(1.0 - p)
    yes = positive * t
    no = negative * (1.0 - t)
    value = -(yes * (q_gamma * log_p) + no * (p_gamma * log_q))
    slope = no * (p_gamma * (by_q - gamma * log_q * by_p)) - yes * (q_gamma * (by_p - gamma * log_p * by_q))
    return value, slope, negative * (p_gamma * log_q) - positive * (q_gamma * log_p)


def by_element(x, t, gamma, positive, negative):
    """gamma is read beside the input."""
    gamma = non_negative(gamma)
    a = absolute(x)
    e = exp_neg(a)
    log1pe = log1p_unit(e)
    hard = exp_product(-gamma, log1pe)
    easy = exp_product(-gamma, minimum(a, 1e30)) * hard
    value, slope, slope_t = weighted(x, t, positive, negative, gamma, a, e, log1pe, hard, easy)
    yes, no = positive * unit(t), negative * (1.0 - unit(t))
    both = where(x > 0.0, no * hard + yes * easy, yes * hard + no * easy)
    return value, slope, slope_t, -(both * minimum(a + log1pe, 1e30) * log1pe)


def by_element_probability(x, t, gamma, positive, negative):
    gamma = non_negative(gamma)
    p = unit(x)
    log_p = log_floored(p)
    log_q = log1m_floored(p)
    nothing = where(gamma == 0.0, 1.0, 0.0)  # to the power gamma
    p_gamma = where(p == 0.0, nothing, exp_product(gamma, log_p))
    q_gamma = where(p == 1.0, nothing, exp_product(gamma, log_q))
    value, slope, slope_t = weighted_probability(p, t, positive, negative, gamma, log_p, log_q, p_gamma, q_gamma)
    both = positive * unit(t) * q_gamma + negative * (1.0 - unit(t)) * p_gamma
    return value, slope, slope_t, -(both * (log_p * log_q))


def by_element_and_class(x, t, gamma, alpha):
    """The weight of positives varies by class, too."""
    return by_element(x, t, gamma, alpha, 1.0 - alpha)


def by_element_and_class_probability(x, t, gamma, alpha):
    return by_element_probability(x, t, gamma, alpha, 1.0 - alpha)


def one_a_class(x, t, alpha, gamma):
    """The weight of positives varies by class."""
    return from_logits_formula(x, t, alpha, 1.0 - alpha, gamma)


def one_a_class_squared(x, t, alpha):
    return from_logits_squared(x, t, alpha, 1.0 - alpha, 2.0)


def one_a_class_unfaded(x, t, alpha):
    """gamma = 0."""
    return of_logits(x, t, alpha, 1.0 - alpha, 1.0, 0.0)


def one_a_class_probability(x, t, alpha, gamma):
    return from_probabilities_formula(x, t, alpha, 1.0 - alpha, gamma)


def one_a_class_probability_unfaded(x, t, alpha):
    """gamma = 0."""
    return of_probabilities(x, t, alpha, 1.0 - alpha, 1.0, 0.0)


def textbook(mp, x, t, task, alpha, gamma, from_logits, label_smoothing):
    if task == "multiclass":
        total = mp.fsum(mp.exp(v) for v in x)
        p = [mp.exp(v) / total if from_logits else v for v in x]
        mass = [(1 - label_smoothing) * (j == t) + label_smoothing / len(x) for j in range(len(x))]
        alphas = alpha if isinstance(alpha, (list, tuple)) else [1 if alpha is None else alpha] * len(x)
        return -mp.fsum(a * m * (1 - v) ** gamma * mp.log(v) for a, m, v in zip(alphas, mass, p, strict=True) if a * m)
    p, q = (1 / (1 + mp.exp(-x)), 1 / (1 + mp.exp(x))) if from_logits else (x, 1 - x)
    yes, no = (t, 1 - t) if alpha is None else (alpha * t, (1 - alpha) * (1 - t))
    return -((yes * q**gamma * mp.log(p) if yes else 0) + (no * p**gamma * mp.log(q) if no else 0))  # 0 log 0 = 0


@loss(
    textbook=textbook,
    module="FocalLoss",
    task="binary classification",
    formula="-alpha_t (1 - p_t)^gamma log p_t,  p = sigmoid(x);  p_t = p, alpha_t = alpha where t = 1, else 1 - p, 1 - alpha",
    input="logit",
    target="unit",
    arguments=(
        {"alpha": 0.25, "gamma": 2.0},
        {"gamma": 0.5},
        {"gamma": 0.0, "alpha": 0.7},
        {"gamma": 1.0},
        {"gamma": 5.0, "alpha": 0.9},
        {"from_logits": False, "gamma": 2.0},
        {"from_logits": False, "gamma": 0.5, "alpha": 0.25},
    ),
    rows=(
        {"task": "multiclass", "gamma": 2.0},
        {"task": "multiclass", "gamma": 0.5, "alpha": [0.25, 1.0, 0.5]},
        {"task": "multiclass", "gamma": 0.0},
        {"task": "multiclass", "gamma": 3.0, "alpha": 0.25},
        {"task": "multiclass", "gamma": 1.5, "label_smoothing": 0.1},
        {"task": "multiclass", "gamma": 2.0, "from_logits": False},
    ),
    operands=(OperandFacts("gamma", ">= 0", numbers=(0.0, 1e-6, 0.03, 0.5, 1.0, 1.5, 2.0, 5.0, 30.0)),),
    tolerance=1e-5,
    chinese="""
    Focal 损失：输入默认是 logits，目标是 0/1 标签（或 [0, 1] 内的概率）；task="multiclass" 时输入是各类别的 logits，目标是类别编号。
    在交叉熵上乘以 (1 - p_t)^gamma，使已经判对的样本几乎不起作用。
    何时用：正负极不均衡、易例极多的任务，如单阶段检测器；gamma 常取 2（越大越忽略易例），alpha 是正例的权重（论文取 0.25）；gamma 也可以是张量（整体、每类、每样本或每元素一个，可带梯度）。
    边界：gamma = 0 即（加权的）二元交叉熵；gamma < 1 时在饱和处也没有 NaN；按正例数归一化用 normalizer="positives"；等于 ignore_index 或 missing（可为 NaN）的目标视为不存在。
    """,
)
def focal_loss(
    input: Tensor,
    target: Tensor,
    *,
    task: FocalTask = "binary",
    alpha: float | Numbers | None = None,
    gamma: float | Numbers = 2.0,
    from_logits: bool = True,
    label_smoothing: float = 0.0,
    dim: int = 1,
    ignore_index: int | None = None,
    missing: float | None = None,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | Literal["positives"] | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Focal loss of logits (default) or, with from_logits=False, of probabilities: cross-entropy that down-weights items already classified well.

    Formula:
        -alpha t (1 - p)^gamma log p - (1 - alpha) (1 - t) p^gamma log(1 - p), p = sigmoid(x); both alpha factors are 1 with alpha=None.
        For a 0/1 label this is -alpha_t (1 - p_t)^gamma log p_t. Derivative by x, t = 0: (1 - alpha) p^gamma (p - gamma (1 - p) log(1 - p)).
        Multi-class: -alpha_y (1 - p_y)^gamma log p_y, p = softmax(x); with smoothing, the expectation over the smoothed label.

    Args:
        input: logits x, any shape, any real value; or probabilities p in [0, 1]. Multi-class: (C,), (N, C) or (N, C, d1, ...), the class axis is `dim`.
        target: 0/1 labels of any dtype, or probabilities in [0, 1], for which the loss is the expected one; the same shape. Multi-class: class labels of
            any integer dtype, the input's shape without the class axis.
        task: "binary": every element is classified by itself; "multilabel": the same for (N, C, ...), with one yes or no per class; "multiclass":
            one right class per item.
        alpha: weight of positives in [0, 1], 1 - alpha for negatives; the paper's detector uses 0.25. Multi-label: a number for all, or one per class, (C,).
            Multi-class: the weight of the class, a number >= 0 for all, or one per class; such a tensor may require a gradient.
        gamma: how strongly well-classified items are down-weighted, any number >= 0; 0 is cross-entropy. Or a tensor of such numbers, per class, item or element,
            or one in all, which may require a gradient. Multi-class: per item, or one in all; for one per class, give
            gamma[target.clamp(min=0)].
        from_logits: False if the input is probabilities. Rounding outside [0, 1] up to 1e-6 is accepted.
        label_smoothing: s in [0, 1], multi-class only.
        dim: the class axis of multi-class and multi-label; "binary" has none.
        ignore_index: the number that marks absent elements: a target that equals it is as good as deleted. None: nothing is left out; multi-class -100.
        missing: the same for any number, or math.nan: targets that are NaN are absent. Not multi-class, whose labels are integers.
        normalizer: a number or 0-d tensor, or "positives" (not multi-class): the (weighted) sum of the targets that count, at least 1, as detectors do.
            alpha is no part of the denominator, which is held constant in the gradient to the target.
        mask, sample_weight, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape (multi-class: without the class axis); in [0, inf).

    Raises:
        TypeError: `input` is not floating point, an argument is not a number, class labels are not integers. ValueError: `gamma` < 0, `alpha` outside [0, 1],
            a target or probability outside [0, 1],
        "multilabel" on less than two dimensions, "multiclass" with one class, shapes differ, weights are not finite, `task` or `reduction` is unknown.

    When to use:
        Thousands of easy negatives for each positive (one-stage detectors, small lesions). Start with gamma = 2. Small loss values are normal.

    Edge cases:
        gamma below 1 has a finite gradient at every logit. gamma = 0 is `binary_cross_entropy_with_logits` (of probabilities, `binary_cross_entropy`) to the
        last bit; alpha weights its two sides.

    Differs from torchvision:
        `sigmoid_focal_loss` has alpha=0.25 and reduction="none" by default, and -1 to switch alpha off; for soft targets it mixes p_t, here the two cases are
        averaged. mmdetection's `FocalLoss` has alpha=0.25 by default. MONAI's "sum" averages over positions first. kornia's is that of classes (here
        task="multiclass") and has reduction="none" by default; segmentation_models.pytorch's, of classes, adds up one sigmoid per class.

    Reference:
        Lin et al., Focal Loss for Dense Object Detection, 2017.

    Example:
        >>> import torch
        >>> focal_loss(torch.tensor([2.0, -1.0]), torch.tensor([1.0, 1.0]), alpha=0.25, gamma=2.0, reduction="none")
        tensor([0.0005, 0.1755])
        >>> focal_loss(torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), torch.tensor([0, 2]), task="multiclass", reduction="none")
        tensor([0.0109, 0.9635])
    """
    checks.one_of("task", task, TASKS)
    checks.flag("from_logits", from_logits)
    beside = checks.is_tensor_or_list("gamma", gamma)
    fading = Operand("gamma", gamma, ">= 0", weight=True) if beside else checks.number("gamma", gamma, low=0.0)  # type: ignore[arg-type]
    smoothing = checks.number("label_smoothing", label_smoothing, low=0.0, high=1.0)
    mass, normalizer = reduce.positives(normalizer)
    if task == "multiclass":
        if mass:
            raise ValueError('normalizer must be a number or a 0-d tensor for task="multiclass", which has no positives, got "positives"')
        if missing is not None:
            raise ValueError(f'missing={missing!r} needs task="binary" or "multilabel": class labels are integers, of which ignore_index= marks what is absent')
        return of_classes(
            input, target, alpha, fading, smoothing, from_logits, -100 if ignore_index is None else ignore_index,
            dict(dim=dim, mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction),
        )  # fmt: skip
    if smoothing:
        raise ValueError(
            f'label_smoothing needs task="multiclass", got {smoothing!r} with task={task!r}: smooth the targets, which may be any number in [0, 1]'
        )
    labels.beside(input, dim, task)
    if task == "multilabel" and isinstance(input, Tensor) and input.dim() < 2:
        raise ValueError(f'task="multilabel" needs an input of shape (N, C, ...), got {checks.shown(input.shape)}: try task="binary"')
    if isinstance(target, Tensor) and not target.is_floating_point() and target.dim() + 1 == (input.dim() if isinstance(input, Tensor) else 0):
        raise ValueError(
            f"target has shape {checks.shown(target.shape)} and {target.dtype}, as class labels have beside scores of shape {checks.shown(input.shape)}, but task={task!r} "
            'needs a number for each score: try task="multiclass"'
        )
    alphas = class_alphas(input, alpha, task, dim)
    form, params = binary(alpha, fading, from_logits) if alphas is None else binary_by_class(fading, from_logits)  # type: ignore[arg-type]
    own = (fading,) if isinstance(fading, Operand) else ()
    return elementwise(
        form,
        input,
        target,
        params,
        operands=own if alphas is None else (*own, Operand("alpha", alphas, weight=True)),
        unit=checks.UNIT_TARGET if from_logits else checks.UNIT_INPUT | checks.UNIT_TARGET,
        mass=mass,
        ignore_index=ignore_index,
        missing=missing,
        mask=mask,
        sample_weight=sample_weight,
        normalizer=normalizer,
        reduction=reduction,
    )


def class_alphas(input: Tensor, alpha: float | Numbers | None, task: FocalTask, dim: int) -> Tensor | None:
    """One weight of positives a class of task="multilabel", in a shape that broadcasts to the input; None where alpha is none, or one number."""
    if alpha is None or isinstance(alpha, Real):
        return None
    if task == "binary":
        raise TypeError(f'alpha must be a number for task="binary", got {type(alpha).__name__}: one number per class needs task="multilabel" or "multiclass"')
    axis = labels.class_axis(input, dim)
    alphas = labels.class_weights(alpha, input, input.shape[axis], "alpha")  # type: ignore[arg-type]
    if checks.readable(alphas) and not bool(((alphas >= 0) & (alphas <= 1)).all()):
        raise ValueError(f"alpha must be >= 0 and <= 1, got {alphas.tolist()!r}")
    return labels.along(alphas, input, axis)


def binary(alpha: float | None, gamma: float | Operand, from_logits: bool) -> tuple[Callable[..., Any], tuple[float, ...]]:
    """The formula of a number alone, or of one beside its gamma, and its parameters."""
    positive = 1.0 if alpha is None else checks.number("alpha", alpha, low=0.0, high=1.0)
    sides = (positive, 1.0 if alpha is None else 1.0 - positive)
    if isinstance(gamma, Operand):
        return by_element if from_logits else by_element_probability, sides
    if gamma == 0.0:
        if from_logits and alpha is None:
            return of_logits_plain, ()
        return of_logits if from_logits else of_probabilities, (*sides, 1.0, 0.0)
    if from_logits:
        return from_logits_squared if gamma == 2.0 else from_logits_formula, (*sides, gamma)
    return from_probabilities_squared if gamma == 2.0 else from_probabilities_formula, (*sides, gamma)


def binary_by_class(gamma: float | Operand, from_logits: bool) -> tuple[Callable[..., Any], tuple[float, ...]]:
    """The same where alpha is read beside the input."""
    if isinstance(gamma, Operand):
        return by_element_and_class if from_logits else by_element_and_class_probability, ()
    if gamma == 0.0:
        return one_a_class_unfaded if from_logits else one_a_class_probability_unfaded, ()
    if from_logits and gamma == 2.0:
        return one_a_class_squared, ()
    return one_a_class if from_logits else one_a_class_probability, (gamma,)
