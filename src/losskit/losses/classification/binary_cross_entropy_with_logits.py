"""Binary cross-entropy of logits."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from losskit.contract import checks
from losskit.contract.checks import Numbers, Reduction
from losskit.contract.elementwise import Operand, elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.engines.language import absolute, exp_neg, log1p_unit, maximum, minimum, one_over, unit, where


def plain(x, t):
    """No weights, no smoothing: the two sides share what the general form keeps apart."""
    t = unit(t)
    a = absolute(x)
    e = exp_neg(a)
    log1pe = log1p_unit(e)
    sure = one_over(1.0 + e)  # probability of the side the logit is on
    rest = e * sure
    up = x > 0.0
    wrong = where(up, 1.0 - t, t)
    slope = wrong - rest
    return where(wrong == 0.0, 0.0, wrong * a) + log1pe, where(up, slope, -slope), -x


def formula(x, t, positive, negative, keep, smooth):
    t = unit(t)
    a = absolute(x)
    e = exp_neg(a)
    log1pe = log1p_unit(e)
    sure = one_over(1.0 + e)  # probability of the side the logit is on
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


def with_tensor(x, t, pos_weight, negative, keep, smooth):
    """pos_weight is read beside the input."""
    value, slope, slope_t = formula(x, t, pos_weight, negative, keep, smooth)
    share = unit(t) * keep + smooth
    return value, slope, slope_t, where(share == 0.0, 0.0, share * (maximum(-x, 0.0) + log1p_unit(exp_neg(absolute(x)))))


def parameters(label_smoothing: float, pos_weight: Numbers | None) -> tuple[float, ...]:
    """Of the formula: the weights of both sides, that of positives left out where it varies by element; what smoothing keeps, and what it adds to each."""
    smoothing = checks.number("label_smoothing", label_smoothing, low=0.0, high=1.0)
    tail = (1.0, 1.0 - smoothing, 0.5 * smoothing)
    return tail if pos_weight is not None else (1.0, *tail)


def textbook(mp, x, t, weight, pos_weight, label_smoothing):
    p, q = 1 / (1 + mp.exp(-x)), 1 / (1 + mp.exp(x))
    t = t * (1 - label_smoothing) + label_smoothing / 2
    yes, no = (t if pos_weight is None else pos_weight * t), 1 - t
    return (1 if weight is None else weight) * -((yes * mp.log(p) if yes else 0) + (no * mp.log(q) if no else 0))  # 0 log 0 = 0


@loss(
    textbook=textbook,
    module="BCEWithLogitsLoss",
    task="binary classification",
    formula="-(t log p + (1 - t) log(1 - p)),  p = sigmoid(x)",
    input="logit",
    target="unit",
    torch="binary_cross_entropy_with_logits",
    arguments=(
        {},
        {"label_smoothing": 0.1},
        {"label_smoothing": 1e-5},
        {"pos_weight": [3.0]},
        {"weight": [0.5]},
    ),
    chinese="""
    二元交叉熵：输入是 logits，目标是 0/1 标签或 [0, 1] 内的概率；输入是概率时用 binary_cross_entropy，与 torch 同名函数一致。
    何时用：二分类与多标签分类的默认选择；正例稀少时用 pos_weight，难例淹没在易例中时用 focal。
    边界：logit 为 ±1e4 时数值与梯度仍然准确，±inf 处取极限；等于 ignore_index 或 missing（可为 NaN）的目标视为不存在。
    """,
)
def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    *,
    weight: Numbers | None = None,
    pos_weight: Numbers | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    missing: float | None = None,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Binary cross-entropy of logits; binary and multi-label.

    Formula:
        -(w t' log p + (1 - t') log(1 - p)), p = sigmoid(x), w = pos_weight, t' = t (1 - s) + s/2 with s = label_smoothing.
        Derivative by x: (1 - t') p - w t' (1 - p); by w: -t' log p.

    Args:
        input: logits x, any shape, any real value. Probabilities: `binary_cross_entropy`.
        target: 0/1 labels of any dtype, or probabilities in [0, 1]; the same shape.
        weight: rescales each loss; one number per class, (C,), or a tensor that broadcasts to the input. Not part of the denominator of "mean" (as in torch;
            `sample_weight` is).
        pos_weight: multiplies the positive term; likewise, with or without a gradient. A vector of C numbers lies along the class axis of (N, C, ...), as in
            `cross_entropy`; classes last are (N, L, C) with pos_weight[None, None].
        label_smoothing: s in [0, 1], pulls targets towards 1/2.
        ignore_index: the number that marks absent elements: a target that equals it is as good as deleted. None: nothing is left out, and nothing looked for.
        missing: the same for any number, or math.nan: targets that are NaN are absent.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape; in [0, inf).

    Raises:
        TypeError: `input` is not floating point, an argument is not a number. ValueError: a target outside [0, 1], `label_smoothing` outside [0, 1],
        shapes differ, weights are not finite, `reduction` is unknown.

    When to use:
        The default for two classes and for several labels at once. Rare positives: `pos_weight`; many easy items: `focal_loss`.

    Edge cases:
        A wrong logit of 1e4 costs 1e4; a right one 0; at -inf and inf the limits hold.

    Differs from torch:
        A vector `weight` or `pos_weight` beside (N, C, H, W) has one number per class; torch lays it along the last axis, and multiplies columns where W = C.
        Shapes of more axes broadcast as in torch. Targets outside [0, 1] raise; small losses keep their digits (a logit of 20 on the right side: 2.06e-9).
        `label_smoothing` is new.

    Reference:
        Good, Rational Decisions, 1952.

    Example:
        >>> import torch
        >>> binary_cross_entropy_with_logits(torch.tensor([2.0, -1.0]), torch.tensor([1.0, 1.0]), reduction="none")
        tensor([0.1269, 1.3133])
    """
    form: Callable[..., Any] = formula if pos_weight is None else with_tensor
    params = parameters(label_smoothing, pos_weight)
    if params == (1.0, 1.0, 1.0, 0.0):
        form, params = plain, ()
    return elementwise(
        form,
        input,
        target,
        params,
        operands=() if pos_weight is None else (Operand("pos_weight", pos_weight, weight=True),),
        weight=weight,
        unit=checks.UNIT_TARGET,
        mask=mask,
        ignore_index=ignore_index,
        missing=missing,
        sample_weight=sample_weight,
        normalizer=normalizer,
        reduction=reduction,
    )
