"""Binary cross-entropy, from logits or from probabilities."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from losskit.contract import checks
from losskit.contract.checks import Numbers, Reduction
from losskit.contract.reduction import Normalizer, elementwise
from losskit.contract.registry import loss
from losskit.engines.language import absolute, exp_neg, log1m_floored, log1p_unit, log_floored, maximum, minimum, reciprocal, unit, where


def from_logits_plain(x, t):
    """No weights, no smoothing: the two sides share what the general form keeps apart."""
    t = unit(t)
    a = absolute(x)
    e = exp_neg(a)
    log1pe = log1p_unit(e)
    sure = 1.0 / (1.0 + e)  # probability of the side the logit is on
    rest = e * sure
    up = x > 0.0
    wrong = where(up, 1.0 - t, t)
    slope = wrong - rest
    return where(wrong == 0.0, 0.0, wrong * a) + log1pe, where(up, slope, -slope), -x


def from_logits_formula(x, t, positive, negative, keep, smooth):
    t = unit(t)
    a = absolute(x)
    e = exp_neg(a)
    log1pe = log1p_unit(e)
    sure = 1.0 / (1.0 + e)  # probability of the side the logit is on
    rest = e * sure
    up = x > 0.0
    yes = positive * (t * keep + smooth)
    no = negative * ((1.0 - t) * keep + smooth)  # not 1 - yes: little smoothing would drown in its rounding
    wrong = where(up, no, yes)
    right = where(up, yes, no)
    value = where(wrong == 0.0, 0.0, wrong * a) + (wrong + right) * log1pe  # nothing cancels: every term is positive
    slope = wrong * sure - right * rest
    softplus_minus = minimum(maximum(-x, 0.0) + log1pe, 1e30)
    return value, where(up, slope, -slope), keep * ((positive - negative) * softplus_minus - negative * x)


def from_probabilities_formula(x, t, positive, negative, keep, smooth):
    t = unit(t)
    p = unit(x)
    yes = positive * (t * keep + smooth)
    no = negative * ((1.0 - t) * keep + smooth)
    log_p = log_floored(p)
    log_q = log1m_floored(p)
    return -(yes * log_p + no * log_q), no * reciprocal(1.0 - p) - yes * reciprocal(p), keep * (negative * log_q - positive * log_p)


def textbook(mp, x, t, weight, pos_weight, label_smoothing, from_logits):
    p, q = (1 / (1 + mp.exp(-x)), 1 / (1 + mp.exp(x))) if from_logits else (x, 1 - x)
    t = t * (1 - label_smoothing) + label_smoothing / 2
    yes, no = (t if pos_weight is None else pos_weight * t), 1 - t
    return (1 if weight is None else weight) * -((yes * mp.log(p) if yes else 0) + (no * mp.log(q) if no else 0))  # 0 log 0 = 0


@loss(
    textbook=textbook,
    module="BinaryCrossEntropyLoss",
    task="binary classification",
    formula="-(t log p + (1 - t) log(1 - p)),  p = sigmoid(x)",
    input="logit",
    target="unit",
    torch="binary_cross_entropy_with_logits",
    arguments=(
        {},
        {"label_smoothing": 0.1},
        {"label_smoothing": 1e-5},
        {"from_logits": False},
        {"from_logits": False, "label_smoothing": 0.2},
        {"from_logits": False, "label_smoothing": 1e-4},
        {"pos_weight": [3.0]},
        {"weight": [0.5]},
    ),
    chinese="""
    二元交叉熵：输入默认是 logits(from_logits=False 时是概率)，目标是 0/1 标签或 [0, 1] 内的概率。
    何时用：二分类与多标签分类的默认选择；正例稀少时用 pos_weight，难例淹没在易例中时用 focal。
    边界：logit 为 ±1e4 时数值与梯度仍然准确；概率恰为 0 或 1 且判错时按最小正数计(float32 下损失 103.28)，不会出现无穷大。
    """,
)
def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    *,
    weight: Numbers | None = None,
    pos_weight: Numbers | None = None,
    label_smoothing: float = 0.0,
    from_logits: bool = True,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Binary cross-entropy of logits (default) or, with from_logits=False, of probabilities; binary and multi-label.

    Formula:
        -(w t' log p + (1 - t') log(1 - p)), p = sigmoid(x), w = pos_weight, t' = t (1 - s) + s/2 with s = label_smoothing.
        Derivative by x: (1 - t') p - w t' (1 - p); by a probability: (1 - t')/(1 - p) - w t'/p.

    Args:
        input: logits x, any shape, any real value; or probabilities p in [0, 1].
        target: 0/1 labels of any dtype, or probabilities in [0, 1]; the same shape.
        weight: rescales each loss; broadcasts to the input. Not part of the denominator of "mean" (as in torch; `sample_weight` is).
        pos_weight: multiplies the positive term; one value, or one a class along the last dimension. No gradient.
        label_smoothing: s in [0, 1], pulls targets towards 1/2.
        from_logits: False if the input is probabilities. Rounding outside [0, 1] up to 1e-6 is forgiven.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape; in [0, inf).

    Raises:
        TypeError: `input` is not floating point, an argument is not a number. ValueError: a target or probability outside [0, 1], `label_smoothing` outside [0, 1],
        shapes differ, weights are not finite, `reduction` is unknown.

    When to use:
        The default for two classes and for several labels at once. Rare positives: `pos_weight`; many easy items: `focal_loss`.

    Edge cases:
        A wrong logit of 1e4 costs 1e4; a right one 0; at -inf and inf the limits hold. A probability of exactly 0 or 1 on the wrong side is read as the
        smallest positive number: it costs 103.28 in float32, with a large but finite gradient.

    Differs from torch:
        One function for both inputs; targets outside [0, 1] raise; works under autocast from probabilities; log is not cut off at -100, so that tiny
        probabilities keep their gradients; small losses keep their digits (a logit of 20 on the right side: 2.06e-9).

    Reference:
        Good, Rational Decisions, 1952.

    Example:
        >>> import torch
        >>> binary_cross_entropy(torch.tensor([2.0, -1.0]), torch.tensor([1.0, 1.0]), reduction="none")
        tensor([0.1269, 1.3133])
        >>> binary_cross_entropy(torch.tensor([0.7, 0.2]), torch.tensor([1.0, 0.0]), from_logits=False, reduction="none")
        tensor([0.3567, 0.2231])
    """
    smoothing = checks.number("label_smoothing", label_smoothing, low=0.0, high=1.0)
    checks.flag("from_logits", from_logits)
    tail = (1.0, 1.0 - smoothing, 0.5 * smoothing)
    params: tuple[float, ...] = tail if pos_weight is not None else (1.0, *tail)
    form: Callable[..., Any] = from_logits_formula if from_logits else from_probabilities_formula
    if from_logits and pos_weight is None and smoothing == 0.0:
        form, params = from_logits_plain, ()
    return elementwise(
        form,
        input,
        target,
        params,
        field=None if pos_weight is None else ("pos_weight", pos_weight),
        weight=weight,
        unit=("target",) if from_logits else ("input", "target"),
        mask=mask,
        sample_weight=sample_weight,
        normalizer=normalizer,
        reduction=reduction,
    )
