"""Focal Tversky loss: the Tversky loss to a power, which puts less weight on classes already found, or more."""

from torch import Tensor

from losskit.contract import checks
from losskit.contract.checks import Numbers
from losskit.contract.groups import Group
from losskit.contract.overlap import Smooth, Task, overlap_loss, smoothing
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.contract.scores import Average, Empty, Over
from losskit.engines.language import exp_product, log_floored, where
from losskit.losses.segmentation.tversky import formula as tversky


def formula(i, p, t, n, gamma, alpha, beta, above, below):
    """The Tversky loss to the power gamma. At 0, where a power below 1 has no derivative, it is 0, gradient included."""
    base, by_i, by_p, by_t = tversky(i, p, t, n, alpha, beta, above, below)
    found = base <= 0.0
    safe = where(found, 1.0, base)
    value = where(found, 0.0, exp_product(gamma, log_floored(safe)))
    slope = gamma * value / safe
    return value, slope * by_i, slope * by_p, slope * by_t


def textbook(mp, i, p, t, n, gamma, alpha, beta, smooth):
    above, below = smooth if isinstance(smooth, tuple) else (smooth, smooth)
    whole = i + alpha * (p - i) + beta * (t - i) + below
    base = 1 - (i + above) / whole if whole else mp.mpf(0)
    return base**gamma if base > 0 else mp.mpf(0)


@loss(
    textbook=textbook,
    module="FocalTverskyLoss",
    task="segmentation",
    pattern="overlap",
    formula="(1 - (I + s) / (I + alpha (P - I) + beta (T - I) + s))^gamma",
    input="logit",
    target="label",
    arguments=(
        {},
        {"gamma": 1.5, "alpha": 0.7, "beta": 0.3, "smooth": 0.0},
        {"gamma": 0.5, "alpha": 0.5, "beta": 0.5, "smooth": 0.0, "power": 2},
        {"smooth": (0.0, 1e-3)},
    ),
    tolerance=8e-6,
    chinese="""
    Focal Tversky 损失：输入默认是 logits，目标是类别编号（或 0/1 掩码）。是 Tversky 损失的 gamma 次方。
    何时用：小病灶很难分割时。gamma < 1（论文的取法）放大接近找全的类别的梯度，gamma > 1 则更看重仍然很差的类别。
    边界：论文把指数写成 1/gamma(gamma = 4/3)，这里的 gamma 就是指数，默认 0.75，两者相同；损失恰为 0 时梯度取 0，不会出现无穷大或 NaN。
    """,
)
def focal_tversky_loss(
    input: Tensor,
    target: Tensor,
    *,
    task: Task,
    gamma: float = 0.75,
    alpha: float = 0.3,
    beta: float = 0.7,
    smooth: Smooth = 1.0,
    power: int = 1,
    from_logits: bool = True,
    over: Over = "sample",
    average: Average = "macro",
    background: bool = True,
    empty: Empty = "smooth",
    weight: Numbers | None = None,
    ignore_index: int = -100,
    dim: int = 1,
    process_group: Group | None = None,
    mask: Tensor | None = None,
    normalizer: Normalizer | None = None,
) -> Tensor:
    """Focal Tversky loss of logits (default) or, with from_logits=False, of probabilities: the Tversky loss of each class to a power.

    Formula:
        (1 - (I + s) / (I + alpha (P - I) + beta (T - I) + s))^gamma, I, P and T as in `tversky_loss`; the power is of each class's loss, before the average.
        Derivative: that of the Tversky loss L, times gamma L^(gamma - 1).

    Args:
        input, target: as in `dice_loss`.
        gamma: the exponent, > 0. The paper writes the exponent as 1/gamma with gamma = 4/3: our 0.75 is its 4/3.
        alpha: weight of false positives, >= 0.
        beta: weight of false negatives, >= 0. (The paper calls this one alpha.)
        smooth: s >= 0, or (above, below) the bar.
        task, power, from_logits, over, average, background, empty, weight, ignore_index, dim, process_group, mask, normalizer: as in `dice_loss`.

    Returns:
        A scalar, or with average="none" (N, C), or (C,) over the batch; in [0, 1], above with power=2 and unequal weights.

    Raises:
        TypeError, ValueError: as `dice_loss`; `alpha` or `beta` below 0, `gamma` not above 0.

    When to use:
        Small lesions that Dice leaves half found. gamma below 1 keeps the gradient large for classes that are nearly found; gamma above 1 puts the weight on
        the classes that are still bad.

    Edge cases:
        A loss of exactly 0 has gradient 0, though the power's derivative grows without bound on the way there for gamma < 1. A Tversky loss below 0, which
        power=2 with unequal weights, or more smoothing above the bar than below, can give, counts as 0. Empty targets: `empty` of `dice_loss`; "mass" is not
        raised to the power.

    Differs from torch:
        torch has none. segmentation_models.pytorch's `TverskyLoss(gamma=...)` raises the mean over the classes to the power, not each class.

    Reference:
        Abraham and Khan, A Novel Focal Tversky Loss Function with Improved Attention U-Net for Lesion Segmentation, 2019.

    Example:
        >>> import torch
        >>> p = torch.tensor([[[0.9, 0.6, 0.1, 0.0]]])
        >>> t = torch.tensor([[[1.0, 1.0, 1.0, 0.0]]])
        >>> focal_tversky_loss(p, t, task="binary", from_logits=False, smooth=0.0)  # 0.3798 ** 0.75
        tensor(0.4838)
    """
    gamma = checks.number("gamma", gamma, above=0.0)
    alpha, beta = checks.number("alpha", alpha, low=0.0), checks.number("beta", beta, low=0.0)
    return overlap_loss(
        formula, (gamma, alpha, beta, *smoothing(smooth)), input, target, task=task, power=power, from_logits=from_logits, over=over, average=average,
        background=background, empty=empty, weight=weight, ignore_index=ignore_index, dim=dim, process_group=process_group, mask=mask, normalizer=normalizer,
    )  # fmt: skip
