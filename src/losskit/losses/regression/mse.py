"""Mean squared error."""

from torch import Tensor

from losskit.contract.checks import Reduction
from losskit.contract.elementwise import elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss


def formula(x, t):
    r = x - t
    slope = 2.0 * r
    return r * r, slope, -slope


def textbook(mp, x, t):
    return (x - t) ** 2


@loss(
    textbook=textbook,
    module="MSELoss",
    task="regression",
    formula="(x - t)^2",
    torch="mse_loss",
    chinese="""
    平方误差（MSE）：输入与目标均为实数。
    何时用：噪声近似高斯分布、关心均值时；回归的默认选择。
    边界：是 `l2_loss` 的两倍；离群值的梯度与其误差成正比，数据不干净时用 Huber 或 smooth L1。
    """,
)
def mse_loss(
    input: Tensor,
    target: Tensor,
    *,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Squared error (MSE) between real values `input` and `target`.

    Formula:
        (x - t)^2; derivative 2 (x - t).

    Args:
        input: predictions x, any shape, any real value.
        target: targets t, the same shape.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape; in [0, inf).

    Raises:
        TypeError: `input` is not floating point. ValueError: shapes differ, weights are not finite, `reduction` is unknown.

    When to use:
        Errors that are roughly Gaussian, when the mean is what matters: the default of regression.

    Edge cases:
        Twice `l2_loss`. float16 inputs do not overflow at an error of 256, as they do where the square is formed in float16.

    Differs from torch:
        Shapes must be equal (torch warns and broadcasts); float16 and bfloat16 give a float32 value; torch's functional `weight` is `sample_weight`.

    Reference:
        Legendre 1805; Gauss 1809.

    Example:
        >>> import torch
        >>> mse_loss(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 1.0]), reduction="none")
        tensor([0.2500, 9.0000])
    """
    return elementwise(formula, input, target, (), mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
