"""Matthews correlation loss: overlap that also counts true negatives."""

from torch import Tensor

from losskit.contract.checks import Numbers
from losskit.contract.groups import Group
from losskit.contract.overlap import Smooth, Task, overlap_loss, smoothing
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.contract.scores import Average, Empty, Over
from losskit.engines.language import sqrt, where


def formula(i, p, t, n, above, below):
    """1 - (I n - P T + a) / (sqrt(P T (n - P)(n - T)) + b). Where the root is 0 its slope, which is infinite or nothing, is left out; without b the
    coefficient there is 1 if both agree (nothing, or everything), else 0."""
    variance_p, variance_t = p * (n - p), t * (n - t)
    product = variance_p * variance_t
    flat = product <= 0.0
    root = where(flat, 0.0, sqrt(where(flat, 1.0, product)))
    whole = root + below
    nothing = whole == 0.0
    inverse = where(nothing, 0.0, 1.0 / where(nothing, 1.0, whole))
    score = (i * n - p * t + above) * inverse
    bend = 0.5 * score * inverse / where(flat, 1.0, root)
    by_p = where(flat, t * inverse, t * inverse + bend * variance_t * (n - 2.0 * p))
    by_t = where(flat, p * inverse, p * inverse + bend * variance_p * (n - 2.0 * t))
    return where(nothing & (p == t), 0.0, 1.0 - score), -n * inverse, by_p, by_t


def textbook(mp, i, p, t, n, smooth):
    above, below = smooth if isinstance(smooth, tuple) else (smooth, smooth)
    whole = mp.sqrt(p * t * (n - p) * (n - t)) + below
    return 1 - (i * n - p * t + above) / whole if whole else mp.mpf(p != t)


@loss(
    textbook=textbook,
    module="MCCLoss",
    task="segmentation",
    pattern="overlap",
    formula="1 - (I n - P T + s) / (sqrt(P T (n - P)(n - T)) + s)",
    input="logit",
    target="label",
    arguments=({}, {"smooth": 1.0}, {"smooth": (0.0, 1e-3)}),
    tolerance=1e-5,
    chinese="""
    MCC 损失：输入默认是 logits，目标是类别编号（或 0/1 掩码）。等于 1 减马修斯相关系数，即预测与目标的相关系数。
    何时用：正确排除的背景也该算数时（Dice 与 IoU 看不见它）；正负两类地位相同，交换前景与背景，损失不变。
    边界：取值 0 到 2，与目标无关的预测是 1；目标为空（或占满）时系数没有定义：预测也全空（或全满）记 0，否则记 1 且没有梯度，这种切片多时用 empty="mass" 或 over="batch"。
    """,
)
def mcc_loss(
    input: Tensor,
    target: Tensor,
    *,
    task: Task,
    smooth: Smooth = 0.0,
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
    """Matthews correlation loss of logits (default) or, with from_logits=False, of probabilities: 1 minus the correlation with the target.

    Formula:
        1 - (I n - P T + s) / (sqrt(P T (n - P)(n - T)) + s), I, P and T as in `dice_loss`, n the number of items; for 0/1 masks this is
        (TP TN - FP FN) / sqrt((TP + FP)(TP + FN)(TN + FP)(TN + FN)). With R the root and D = R + s, derivative by p_i:
        (T - n t_i) / D + (1 - loss) T (n - T)(n - 2 P) / (2 R D).

    Args:
        input, target: as in `dice_loss`.
        smooth: s >= 0, or (above, below) the bar; in units of counts squared. A number makes false alarms on an empty target free (s / s), so 0 is the default.
        task, from_logits, over, average, background, empty, weight, ignore_index, dim, process_group, mask, normalizer: as in `dice_loss`.

    Returns:
        A scalar, or with average="none" (N, C), or (C,) over the batch; in [0, 2]: 0 perfect, 1 no better than chance, 2 everything
        swapped; below 0 where `smooth` adds more above the bar than below.

    Raises:
        TypeError, ValueError: as `dice_loss`.

    When to use:
        When background that is correctly left out should count: Dice and Jaccard ignore it. Swapping foreground and background changes nothing.

    Edge cases:
        A target that is empty, or full, has no correlation with anything: without smoothing the loss is 0 if the prediction is exactly the same, else 1, both
        without gradient. Where that is common take empty="mass", or over="batch".

    Differs from torch:
        torch has none. segmentation_models.pytorch's `MCCLoss` takes probabilities, sums over the batch and adds 1e-5 to each of the four counts.

    Reference:
        Abhishek and Hamarneh, Matthews Correlation Coefficient Loss for Deep Convolutional Networks: Application to Skin Lesion Segmentation, 2021.

    Example:
        >>> import torch
        >>> p = torch.tensor([[[0.9, 0.6, 0.1, 0.0]]])
        >>> t = torch.tensor([[[1.0, 1.0, 1.0, 0.0]]])
        >>> mcc_loss(p, t, task="binary", from_logits=False)  # 1 - (1.6 * 4 - 1.6 * 3) / sqrt(1.6 * 3 * 2.4 * 1)
        tensor(0.5286)
    """
    return overlap_loss(
        formula, smoothing(smooth), input, target, task=task, from_logits=from_logits, over=over, average=average, background=background,
        empty=empty, weight=weight, ignore_index=ignore_index, dim=dim, process_group=process_group, mask=mask, normalizer=normalizer,
    )  # fmt: skip
