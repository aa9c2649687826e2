"""Tversky loss: Dice with separate weights for false positives and false negatives."""

from torch import Tensor

from losskit.contract import checks
from losskit.contract.checks import Numbers
from losskit.contract.groups import Group
from losskit.contract.overlap import Smooth, Task, overlap_loss, smoothing
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.contract.scores import Average, Empty, Over
from losskit.engines.language import where


def formula(i, p, t, n, alpha, beta, above, below):
    """Of intersection, prediction and target: (alpha false + beta missed) / (i + alpha false + beta missed), with numbers added above and below the bar."""
    wrong = alpha * (p - i) + beta * (t - i)
    whole = i + wrong + below
    nothing = whole == 0.0
    inverse = where(nothing, 0.0, 1.0 / where(nothing, 1.0, whole))
    value = (wrong + (below - above)) * inverse
    rest = (i + above) * inverse * inverse
    return value, -value * inverse - (alpha + beta) * rest, alpha * rest, beta * rest


def textbook(mp, i, p, t, n, alpha, beta, smooth):
    above, below = smooth if isinstance(smooth, tuple) else (smooth, smooth)
    whole = i + alpha * (p - i) + beta * (t - i) + below
    return 1 - (i + above) / whole if whole else mp.mpf(0)


@loss(
    textbook=textbook,
    module="TverskyLoss",
    task="segmentation",
    pattern="overlap",
    formula="1 - (I + s) / (I + alpha (P - I) + beta (T - I) + s)",
    input="logit",
    target="label",
    arguments=({"alpha": 0.3, "beta": 0.7}, {"alpha": 0.7, "beta": 0.3, "smooth": 0.0, "power": 2}, {"smooth": (0.0, 1e-3)}),
    tolerance=4e-6,
    chinese="""
    Tversky 损失：输入默认是 logits，目标是类别编号（或 0/1 掩码）。在 Dice 的分母里，给误报（P - I）和漏报（T - I）各自的权重 alpha 与 beta。
    何时用：漏掉小目标比多报更糟（或相反）时；常取 alpha = 0.3，beta = 0.7，使召回更高。
    边界：alpha = beta = 0.5 就是 Dice，alpha = beta = 1 就是 Jaccard；空目标的含义由 empty 决定。
    """,
)
def tversky_loss(
    input: Tensor,
    target: Tensor,
    *,
    task: Task,
    alpha: float = 0.5,
    beta: float = 0.5,
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
    """Tversky loss of logits (default) or, with from_logits=False, of probabilities: overlap with separate weights for false positives and false negatives.

    Formula:
        1 - (I + s) / (I + alpha (P - I) + beta (T - I) + s), with I = sum p t, P = sum p, T = sum t over the items of a sample (or of the batch) for each
        class, p = softmax(x) or sigmoid(x). P - I is what is found wrongly, T - I what is missed.

    Args:
        input, target: as in `dice_loss`.
        alpha: weight of false positives, >= 0.
        beta: weight of false negatives, >= 0.
        smooth: s >= 0, or (above, below) the bar.
        task, power, from_logits, over, average, background, empty, weight, ignore_index, dim, process_group, mask, normalizer: as in `dice_loss`.

    Returns:
        A scalar, or with average="none" (N, C), or (C,) over the batch; in [0, 1], below 0 where `smooth` adds more above the bar than below,
        on either side with power=2 and unequal weights.

    Raises:
        TypeError, ValueError: as `dice_loss`; `alpha` or `beta` below 0.

    When to use:
        When misses are worse than false alarms (small lesions: alpha = 0.3, beta = 0.7), or the other way round.

    Edge cases:
        alpha = beta = 0.5 is `dice_loss` with twice the `smooth`, alpha = beta = 1 is `jaccard_loss`. Empty targets: see `empty` in `dice_loss`.

    Differs from torch:
        torch has none. MONAI, kornia and segmentation_models.pytorch also use alpha for the false positives; `losskit.like` gives
        their other settings.

    Reference:
        Salehi et al., Tversky Loss Function for Image Segmentation Using 3D Fully Convolutional Deep Networks, 2017.

    Example:
        >>> import torch
        >>> p = torch.tensor([[[0.9, 0.6, 0.1, 0.0]]])
        >>> t = torch.tensor([[[1.0, 1.0, 1.0, 0.0]]])
        >>> tversky_loss(p, t, task="binary", from_logits=False, alpha=0.3, beta=0.7, smooth=0.0)
        tensor(0.3798)
    """
    alpha, beta = checks.number("alpha", alpha, low=0.0), checks.number("beta", beta, low=0.0)
    return overlap_loss(
        formula, (alpha, beta, *smoothing(smooth)), input, target, task=task, power=power, from_logits=from_logits, over=over, average=average,
        background=background, empty=empty, weight=weight, ignore_index=ignore_index, dim=dim, process_group=process_group, mask=mask, normalizer=normalizer,
    )  # fmt: skip
