"""Log-cosh Dice loss: a Dice loss that is flat where it is small."""

from torch import Tensor

from losskit.contract.checks import Numbers
from losskit.contract.groups import Group
from losskit.contract.overlap import Smooth, Task, overlap_loss
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.contract.scores import Average, Empty, Over
from losskit.engines.language import expm1, log1p
from losskit.losses.segmentation.dice import parameters
from losskit.losses.segmentation.tversky import formula as tversky


def formula(i, p, t, n, alpha, beta, above, below):
    """log cosh d of the Dice loss d. cosh d - 1 = 2 sinh(d / 2)^2: nothing cancels near 0, where d + log1p(exp(-2 d)) - log 2 would."""
    d, by_i, by_p, by_t = tversky(i, p, t, n, alpha, beta, above, below)
    sinh = 0.5 * (expm1(0.5 * d) - expm1(-0.5 * d))
    u = expm1(-2.0 * d)
    tanh = -u / (2.0 + u)
    return log1p(2.0 * sinh * sinh), tanh * by_i, tanh * by_p, tanh * by_t


def textbook(mp, i, p, t, n, smooth):
    above, below = smooth if isinstance(smooth, tuple) else (smooth, smooth)
    return mp.log(mp.cosh(1 - (2 * i + above) / (p + t + below))) if p + t + below else mp.mpf(0)


@loss(
    textbook=textbook,
    module="LogCoshDiceLoss",
    task="segmentation",
    pattern="overlap",
    formula="log cosh(1 - (2 I + s) / (P + T + s))",
    input="logit",
    target="label",
    arguments=({}, {"smooth": 0.0, "power": 2}, {"smooth": (0.0, 1e-5)}),
    tolerance=1e-5,
    chinese="""
    Log-cosh Dice 损失：输入默认是 logits，目标是类别编号（或 0/1 掩码）。是每类 Dice 损失 d 的 log cosh(d)。
    何时用：Dice 损失在训练后期抖动时；d 小时约为 d 的平方的一半，梯度随之变小，d 大时接近线性。
    边界：最大值是 log cosh 1 = 0.4338；d 很小时也不丢精度；空目标的含义由 empty 决定。
    """,
)
def log_cosh_dice_loss(
    input: Tensor,
    target: Tensor,
    *,
    task: Task,
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
    """Log-cosh Dice loss of logits (default) or, with from_logits=False, of probabilities: log cosh of each class's Dice loss.

    Formula:
        log cosh(d), d = 1 - (2 I + s) / (P + T + s) as in `dice_loss`; taken of each class's loss, before the average. Derivative: tanh(d) times that of d.

    Args:
        input, target: as in `dice_loss`.
        smooth: s >= 0, or (above, below) the bar.
        task, power, from_logits, over, average, background, empty, weight, ignore_index, dim, process_group, mask, normalizer: as in `dice_loss`.

    Returns:
        A scalar, or with average="none" (N, C), or (C,) over the batch; in [0, log cosh 1 = 0.4338], above with empty="mass" or where
        `smooth` adds more above the bar than below.

    Raises:
        TypeError, ValueError: as `dice_loss`.

    When to use:
        When a Dice loss keeps jumping near its minimum: this one behaves like d^2 / 2 near full overlap, and its gradient shrinks with d.

    Edge cases:
        Small losses keep their digits: d = 1e-6 gives 5e-13. Empty targets: `empty` of `dice_loss`; "mass" is P / n itself, not its log cosh.

    Differs from torch:
        torch has none. The authors' code takes log cosh of the Dice loss over the whole batch: over="batch".

    Reference:
        Jadon, A Survey of Loss Functions for Semantic Segmentation, 2020.

    Example:
        >>> import torch
        >>> p = torch.tensor([[[0.9, 0.6, 0.1, 0.0]]])
        >>> t = torch.tensor([[[1.0, 1.0, 1.0, 0.0]]])
        >>> log_cosh_dice_loss(p, t, task="binary", from_logits=False, smooth=0.0)  # d = 1 - 3.2 / 4.6 = 0.3043
        tensor(0.0456)
    """
    return overlap_loss(
        formula, parameters(smooth), input, target, task=task, power=power, from_logits=from_logits, over=over, average=average, background=background,
        empty=empty, weight=weight, ignore_index=ignore_index, dim=dim, process_group=process_group, mask=mask, normalizer=normalizer,
    )  # fmt: skip
