"""Distribution focal loss: cross-entropy against a real number that lies between two bins."""

from torch import Tensor

from losskit.contract.checks import Reduction
from losskit.contract.distributions import distributions
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.losses.classification import cross_entropy


def textbook(mp, x, t):
    lse = mp.log(mp.fsum(mp.exp(v) for v in x))
    return mp.fsum((1 - abs(j - t)) * (lse - v) for j, v in enumerate(x) if abs(j - t) < 1)


@loss(
    textbook=textbook,
    module="DistributionFocalLoss",
    task="detection",
    pattern="rows",
    formula="-((j + 1 - y) log p_j + (y - j) log p_(j+1)),  j = floor(y),  p = softmax(x)",
    input="logit",
    target="position",
    tolerance=1e-5,
    chinese="""
    分布 focal 损失（DFL）：输入是第 0 到第 n - 1 个格（bin）的 logits，目标 y 是 0 到 n - 1 之间的实数，例如以步长为单位的框边距离。
    对分布 max(0, 1 - |j - y|) 的交叉熵：y 两侧最近的两个格按距离分担，使分布的期望落在 y 附近。
    何时用：检测器（GFL、YOLOv8）把框的每条边预测成一个分布；也适用于任何“把连续值分到两个格上”(two-hot)的回归。
    边界：y 为整数时就是交叉熵，y = n - 1 也可以；y 超出范围会报错，应先 clamp 或用 mask 去掉；目标没有梯度。
    """,
)
def distribution_focal_loss(
    input: Tensor,
    target: Tensor,
    *,
    dim: int = 1,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Distribution focal loss (DFL) of logits over bins 0, 1, ..., n - 1 against a real number between them: cross-entropy with its two nearest bins.

    Formula:
        -((j + 1 - y) log p_j + (y - j) log p_(j+1)), j = floor(y), p = softmax(x): cross-entropy against the distribution t_i = max(0, 1 - |i - y|).
        Derivative by x_i: p_i - t_i.

    Args:
        input: logits, (n,), (N, n) or (N, n, d1, ...), any real value; the axis of the bins is `dim`.
        target: positions y, real numbers from 0 to n - 1 of any dtype, the input's shape without the axis of the bins. No gradient.
        dim: the axis of the bins.
        mask, normalizer, reduction, sample_weight: as in every loss, see `losskit.contract`. Detectors have four rows of bins per box, one per side:
            logits (N, 4, n) with dim=2, targets (N, 4), and sample_weight (N, 1) for one weight per box.

    Returns:
        A scalar, or with reduction="none" the target's shape; in [0, inf).

    Raises:
        TypeError: `input` is not floating point. ValueError: shapes do not fit, there is one bin only, a position lies outside [0, n - 1] (by more than
            rounding, 1e-6 n), `target`
        requires a gradient, weights are not finite, `reduction` is unknown.

    When to use:
        Regression by classes: the sides of boxes in bins of a stride, or any number whose distribution matters. The prediction is the mean of the bins,
        (input.softmax(dim) * torch.arange(n)).sum(dim) with the bins last.

    Edge cases:
        A whole number y costs what `cross_entropy` costs with that label, y = n - 1 included. Otherwise the loss is least, not 0, where p is t. A logit of -inf
        rules its bin out; if y has a share of it, the loss is inf. On a GPU a position outside gives NaN in its item, see `losskit.validate`.

    Differs from mmdetection:
        y = n - 1 is allowed (there it reads the bin n, and fails); positions outside raise and do not wrap; confident items keep their digits.

    Reference:
        Li et al., Generalized Focal Loss: Learning Qualified and Distributed Bounding Boxes for Dense Object Detection, 2020.

    Example:
        >>> import torch
        >>> distribution_focal_loss(torch.tensor([[0.0, 2.0, 1.0, 0.0], [0.0, 2.0, 1.0, 0.0]]), torch.tensor([1.25, 3.0]), reduction="none")
        tensor([0.7438, 2.4938])
    """
    result: Tensor = distributions(
        cross_entropy.soft,
        input,
        target,
        (1.0, 0.0),
        dim=dim,
        target_is="positions",
        mask=mask,
        sample_weight=sample_weight,
        normalizer=normalizer,
        reduction=reduction,
    )
    return result
