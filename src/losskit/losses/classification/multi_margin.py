"""Multi-class margin loss: the label's score above every other by a margin."""

from typing import Any, Literal

from torch import Tensor

from losskit.contract import checks
from losskit.contract.checks import Numbers, Reduction
from losskit.contract.margins import beside_label
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.engines.language import maximum, sign, where


def linear(x, other, own, margin, share):
    """Of one class, beside the label's score; 0 for the label itself, which is no `other`."""
    short = where(other == 0.0, 0.0, maximum(x - own + margin, 0.0))
    pull = share * sign(short)
    return share * short, pull, 0.0, -pull


def square(x, other, own, margin, share):
    short = where(other == 0.0, 0.0, maximum(x - own + margin, 0.0))
    pull = share * short
    return pull * short, 2.0 * pull, 0.0, -2.0 * pull


def textbook(mp, x, t, p, margin, weight):
    short = [max(mp.mpf(0), margin - x[t] + v) for j, v in enumerate(x) if j != t]
    return (1 if weight is None else weight[t]) * mp.fsum(v**p for v in short) / len(x)


FORMS = {1: linear, 2: square}


@loss(
    textbook=textbook,
    module="MultiMarginLoss",
    task="classification",
    pattern="rows",
    formula="w_y / C sum_j max(margin - x_y + x_j, 0)^p,  over classes: all but y",
    input="logit",
    target="label",
    torch="multi_margin_loss",
    arguments=({}, {"p": 2, "margin": 2.0}, {"weight": [0.5, 2.0, 1.0]}, {"p": 2, "margin": 0.5, "weight": [0.5, 2.0, 1.0, 3.0]}),
    tolerance=2e-6,
    chinese="""
    多分类间隔损失（多分类支持向量机）：输入是各类别的得分，目标是类别编号；真实类别的得分要比其他每个类别至少高 margin，不足的部分（p=2 时取平方）求和后除以类别数。
    何时用：只需要分对、不需要概率时；已经分对且间隔足够的样本不再产生梯度。需要概率时用 cross_entropy。
    边界：间隔恰为 margin 时梯度取 0；weight 按真实类别给每个样本加权，"mean" 的分母仍是样本数，与 torch 一致；得分全部相同时损失为 margin^p (C - 1) / C。
    """,
)
def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    *,
    p: Literal[1, 2] = 1,
    margin: float = 1.0,
    weight: Numbers | None = None,
    ignore_index: int = -100,
    dim: int = 1,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Multi-class margin (hinge) loss of class scores (logits) against class labels: the label's score is to be above every other by `margin`.

    Formula:
        w_y / C times the sum of max(margin - x_y + x_j, 0)^p over the classes j other than y, where C is the number of classes. Derivative with p=1: w_y / C by
        each x_j that is too near, minus their sum by x_y.

    Args:
        input: scores x, (C,), (N, C) or (N, C, d1, ...), any real value.
        target: class labels y of any integer dtype, the input's shape without the class axis.
        p: 1, or 2 for squares.
        margin: by how much the label's score is to be above, any real number.
        weight: one number per class; the label's multiplies the item. Not part of the denominator of "mean" (as in torch; `sample_weight` is). It may require a
            gradient.
        ignore_index, dim, mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape without the class axis; in [0, inf).

    Raises:
        TypeError: `input` is not floating point, labels are not integers, `margin` is not a number. ValueError: `p` is neither 1 nor 2, shapes do not fit, there is one
        class only, a label is no class, weights are not finite, `reduction` is unknown.

    When to use:
        Support vector machines, and wherever the right class is to win and nobody reads probabilities: items that win by the margin teach nothing. For
        probabilities take `cross_entropy`.

    Edge cases:
        At exactly the margin the loss and its gradient are 0. Equal scores cost margin^p (C - 1) / C. The gradient adds up to 0 over an item's classes. A class
        whose score is -inf costs nothing, and C still counts it.

    Differs from torch:
        The same values and gradients. Further axes, `ignore_index`, half precision and integer labels of any dtype are taken: torch takes (C,) and (N, C) with
        int64 alone. A label of -100 raises in torch.

    Reference:
        Crammer and Singer, On the Algorithmic Implementation of Multiclass Kernel-based Vector Machines, 2001; with a sum in place of their largest term: Weston
        and Watkins, Support Vector Machines for Multi-Class Pattern Recognition, 1999.

    Example:
        >>> import torch
        >>> x = torch.tensor([[0.1, 0.2, 0.4, 0.8], [2.0, 0.5, 0.0, 1.5]])
        >>> multi_margin_loss(x, torch.tensor([3, 0]), reduction="none")
        tensor([0.3250, 0.1250])
    """
    if p not in FORMS:
        raise ValueError(f"p must be 1, or 2 for squares, got {p!r}")
    margin = checks.number("margin", margin)
    how: dict[str, Any] = dict(weight=weight, mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
    return beside_label(FORMS[p], (margin,), input, target, dim=dim, ignore_index=ignore_index, **how)
