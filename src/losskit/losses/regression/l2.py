"""L2: half the squared error."""

from torch import Tensor

from losskit.contract.checks import Reduction
from losskit.contract.elementwise import elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss


def formula(x, t):
    r = x - t
    return 0.5 * r * r, r, -r


def textbook(mp, x, t):
    return (x - t) ** 2 / 2


@loss(
    textbook=textbook,
    module="L2Loss",
    task="regression",
    formula="(x - t)^2 / 2",
    chinese="""
    平方误差的一半（L2）：输入与目标均为实数。
    何时用：噪声近似高斯分布时；1/2 使导数恰好等于残差 x - t。
    边界：与 `mse_loss` 只差因子 1/2，二者常被混称为 L2；离群值的梯度与其误差成正比，会主导训练。
    """,
)
def l2_loss(
    input: Tensor,
    target: Tensor,
    *,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Half the squared error (L2) between real values `input` and `target`.

    Formula:
        (x - t)^2 / 2; derivative x - t.

    Args:
        input: predictions x, any shape, any real value.
        target: targets t, the same shape.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape; in [0, inf).

    Raises:
        TypeError: `input` is not floating point. ValueError: shapes differ, weights are not finite, `reduction` is unknown.

    When to use:
        Errors that are roughly Gaussian, when the mean is what matters. The half makes the derivative the residual itself.

    Edge cases:
        Two scales go by the name L2: this is half of `mse_loss`. One outlier of error 100 pulls as hard as a hundred items of error 1.

    Differs from torch:
        torch has no half-square loss; `smooth_l1_loss` and `huber_loss` continue this one inside their threshold.

    Reference:
        Legendre 1805; Gauss 1809.

    Example:
        >>> import torch
        >>> l2_loss(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 1.0]), reduction="none")
        tensor([0.1250, 4.5000])
    """
    return elementwise(formula, input, target, (), mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
