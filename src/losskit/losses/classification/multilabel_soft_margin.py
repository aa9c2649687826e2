"""Multi-label soft margin loss: binary cross-entropy of every class, averaged over the classes of an item."""

from typing import Any

from torch import Tensor

from losskit.contract.checks import Numbers, Reduction
from losskit.contract.margins import label_for_each
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.losses.classification.binary_cross_entropy_with_logits import plain


def textbook(mp, x, t, weight):
    each = [v * mp.log(1 + mp.exp(-u)) + (1 - v) * mp.log(1 + mp.exp(u)) for u, v in zip(x, t, strict=True)]
    return mp.fsum((1 if weight is None else weight[j]) * v for j, v in enumerate(each)) / len(x)


@loss(
    textbook=textbook,
    module="MultiLabelSoftMarginLoss",
    task="classification",
    pattern="rows",
    formula="-1 / C sum_j w_j (t_j log p_j + (1 - t_j) log(1 - p_j)),  p = sigmoid(x)",
    input="logit",
    target="unit",
    torch="multilabel_soft_margin_loss",
    arguments=({}, {"weight": [0.5, 2.0, 1.0]}),
    chinese="""
    多标签软间隔损失：输入是各类别的 logits，目标是同形的 0/1 标签或 [0, 1] 内的概率；对每个类别取二元交叉熵，再对一个样本的各类别求平均。
    何时用：多标签分类，并且需要每个样本一个损失（加权、筛选样本）时；否则与 binary_cross_entropy_with_logits 相同，后者还有 pos_weight、标签平滑和 ignore_index。
    边界：mask 与 sample_weight 按样本给出，没有类别轴；weight 按类别加权，不改变分母，与 torch 一致；logit 很大时数值与梯度仍然准确。
    """,
)
def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    *,
    weight: Numbers | None = None,
    dim: int = 1,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Multi-label soft margin loss of class logits against 0/1 labels of every class: binary cross-entropy, averaged over the classes of an item.

    Formula:
        -1 / C times the sum of w_j (t_j log p_j + (1 - t_j) log(1 - p_j)) over the C classes, p = sigmoid(x). Derivative by x_j: w_j (p_j - t_j) / C.

    Args:
        input: logits x, (C,), (N, C) or (N, C, d1, ...), any real value.
        target: for every class a label 0 or 1 of any dtype, or a probability in [0, 1]; the input's shape.
        weight: one number per class, which multiplies its term. Not part of C, nor of the denominator of "mean" (as in torch; `sample_weight` is). It may require
            a gradient.
        dim, mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape without the class axis; in [0, inf).

    Raises:
        TypeError: `input` is not floating point. ValueError: a target outside [0, 1], shapes differ, weights are not finite, `reduction` is unknown.

    When to use:
        Several labels at once, where each item is to have one loss: to weigh items, to leave some out, to look for the hardest.

    Edge cases:
        "mean" without weights is that of `binary_cross_entropy_with_logits`, which has `pos_weight`, `label_smoothing` and `ignore_index` as well. `mask` and
        `sample_weight` have no class axis. A wrong logit of 1e4 costs 1e4 / C.

    Differs from torch:
        The class axis is `dim`, 1 by default; torch takes the last one, which is the same for (N, C). Targets outside [0, 1] raise. A weight is one number per
        class: torch broadcasts any shape.

    Reference:
        Good, Rational Decisions, 1952; the name is torch's.

    Example:
        >>> import torch
        >>> multilabel_soft_margin_loss(torch.tensor([[2.0, -1.0], [0.0, 3.0]]), torch.tensor([[1, 1], [0, 1]]), reduction="none")
        tensor([0.7201, 0.3709])
    """
    how: dict[str, Any] = dict(weight=weight, mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
    return label_for_each(plain, input, target, dim=dim, **how)
