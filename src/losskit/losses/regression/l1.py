"""L1: the absolute error."""

from torch import Tensor

from losskit.contract.checks import Reduction
from losskit.contract.elementwise import elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.engines.language import absolute, sign


def formula(x, t):
    r = x - t
    slope = sign(r)
    return absolute(r), slope, -slope


def textbook(mp, x, t):
    return abs(x - t)


@loss(
    textbook=textbook,
    module="L1Loss",
    task="regression",
    formula="|x - t|",
    torch="l1_loss",
    chinese="""
    绝对误差（MAE）：输入与目标之差的绝对值，二者均为实数。
    何时用：目标里有离群值，或关心中位数而非均值时；每个样本的梯度大小相同，离群值拉不动模型。
    边界：差为 0 处不可导，这里取导数 0；接近最优时梯度不减小，可能来回振荡，此时用 smooth L1。
    """,
)
def l1_loss(
    input: Tensor,
    target: Tensor,
    *,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Absolute error (L1, MAE) between real values `input` and `target`.

    Formula:
        |x - t|; derivative sign(x - t), and 0 where x = t.

    Args:
        input: predictions x, any shape, any real value.
        target: targets t, the same shape.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape; in [0, inf).

    Raises:
        TypeError: `input` is not floating point. ValueError: shapes differ, weights are not finite, `reduction` is unknown.

    When to use:
        Targets with outliers, or when the median matters rather than the mean: every item has the same gradient, however wrong it is.

    Edge cases:
        No derivative exists at x = t; 0 is taken there. Near the optimum the gradient does not shrink, so a fixed step size oscillates: smooth L1 avoids that.

    Differs from torch:
        Shapes must be equal (torch warns and broadcasts); float16 and bfloat16 give a float32 value; torch's functional `weight` is `sample_weight`.

    Reference:
        Boscovich 1757; Laplace 1774.

    Example:
        >>> import torch
        >>> l1_loss(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 1.0]), reduction="none")
        tensor([0.5000, 3.0000])
    """
    return elementwise(formula, input, target, (), mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
