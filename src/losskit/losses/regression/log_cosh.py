"""Log-cosh: a smooth loss between L2 and L1."""

from torch import Tensor

from losskit.contract.checks import Reduction
from losskit.contract.elementwise import elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.engines.language import absolute, expm1, log1p, where


def formula(x, t):
    r = x - t
    a = absolute(r)
    w = expm1(-a)
    e = 1.0 + w  # exp(-a)
    near = a < 1.0
    # cosh(a) - 1 = w^2 / (2 e) near 0, where a - log(2) + .. would cancel; log(cosh a) = a - log(2) + log(1 + e^2) beyond
    value = where(near, 0.0, a - 0.6931471805599453) + log1p(where(near, w * w / (2.0 * e), e * e))
    tanh = -w * (1.0 + e) / (1.0 + e * e)
    slope = where(r > 0.0, tanh, -tanh)
    return value, slope, -slope


def textbook(mp, x, t):
    return mp.log(mp.cosh(x - t)) if abs(x - t) < 1e4 else abs(x - t) - mp.log(2)  # beyond, cosh has more digits than memory


@loss(
    textbook=textbook,
    module="LogCoshLoss",
    task="regression",
    formula="log cosh(x - t)",
    chinese="""
    对数双曲余弦：输入与目标均为实数。误差小时约为平方的一半，大时约为 |误差| - log 2。
    何时用：想要 Huber 的稳健性，又要处处二阶可导（牛顿法、提升树）时。
    边界：先算 cosh 再取对数在误差 90 处就会溢出（float32），这里不会；误差极小时也不丢精度。
    """,
)
def log_cosh_loss(
    input: Tensor,
    target: Tensor,
    *,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Log-cosh loss between real values `input` and `target`: about r^2 / 2 near 0 and |r| - log 2 far out, smooth everywhere.

    Formula:
        log(cosh(x - t)); derivative tanh(x - t).

    Args:
        input: predictions x, any shape, any real value.
        target: targets t, the same shape.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape; in [0, inf).

    Raises:
        TypeError: `input` is not floating point. ValueError: shapes differ, weights are not finite, `reduction` is unknown.

    When to use:
        For Huber's robustness with a second derivative everywhere (Newton steps, boosting).

    Edge cases:
        Never forms cosh, which overflows float32 at an error of 90; an error of 1e-10 still gives 5e-21, where log(cosh) gives 0.

    Differs from torch:
        torch has no log-cosh loss.

    Reference:
        Saleh and Saleh, Statistical Properties of the log-cosh Loss Function, 2022.

    Example:
        >>> import torch
        >>> log_cosh_loss(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 1.0]), reduction="none")
        tensor([0.1201, 2.3093])
    """
    return elementwise(formula, input, target, (), mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
