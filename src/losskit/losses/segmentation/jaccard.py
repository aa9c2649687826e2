"""Jaccard loss and score, also called IoU: the overlap over the union."""

from torch import Tensor

from losskit.contract.checks import Numbers
from losskit.contract.groups import Group
from losskit.contract.overlap import Smooth, Task, overlap_loss, smoothing
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.contract.scores import Average, Empty, Over
from losskit.losses.segmentation.tversky import formula


def parameters(smooth: Smooth) -> tuple[float, float, float, float]:
    """Those of the Tversky formula, where both errors have the weight 1."""
    return 1.0, 1.0, *smoothing(smooth)


def textbook(mp, i, p, t, n, smooth):
    above, below = smooth if isinstance(smooth, tuple) else (smooth, smooth)
    return 1 - (i + above) / (p + t - i + below) if p + t - i + below else mp.mpf(0)


def jaccard_score(
    input: Tensor,
    target: Tensor,
    *,
    task: Task,
    smooth: Smooth = 0.0,
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
) -> Tensor:
    """Jaccard index (IoU) of logits (default) or, with from_logits=False, of probabilities or hard 0/1 masks: 1 is full overlap. Arguments as in `dice_loss`.

    It is 1 - `jaccard_loss` with `smooth=0.0` by default: nothing there and nothing found is 1. Differentiable, like the loss.

    Example:
        >>> import torch
        >>> found = torch.tensor([[[1, 1, 0], [0, 1, 0]]]).float()
        >>> truth = torch.tensor([[[1, 1, 1], [0, 0, 0]]])
        >>> jaccard_score(found, truth, task="binary", from_logits=False)  # 2 / 4
        tensor(0.5000)
    """
    return overlap_loss(
        formula, parameters(smooth), input, target, task=task, power=power, from_logits=from_logits, over=over, average=average, background=background,
        empty=empty, weight=weight, ignore_index=ignore_index, dim=dim, process_group=process_group, mask=mask, normalizer=None, score=True,
    )  # fmt: skip


@loss(
    textbook=textbook,
    module="JaccardLoss",
    task="segmentation",
    pattern="overlap",
    formula="1 - (I + s) / (P + T - I + s)",
    input="logit",
    target="label",
    arguments=({}, {"smooth": 0.0, "power": 2}, {"smooth": (0.0, 1e-5)}),
    tolerance=4e-6,
    scores=(jaccard_score,),
    chinese="""
    Jaccard 损失（IoU 损失）：输入默认是 logits，目标是类别编号（或 0/1 掩码）。等于 1 减交并比，交并比 = |A∩B| / |A∪B|，用概率代替集合。
    何时用：评测指标就是 IoU 时；与 Dice 同向变化（J = D / (2 - D)），但对重叠已经很好的类别拉力更大：重叠为 0 时拉力是 Dice 的一半，接近完全重叠时是两倍。
    边界：空目标的含义由 empty 决定（见 dice_loss）；软标签请用 power=2，这样预测与目标相等时损失为 0。
    """,
)
def jaccard_loss(
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
    """Jaccard (IoU) loss of logits (default) or, with from_logits=False, of probabilities: 1 minus the overlap over the union.

    Formula:
        1 - (I + s) / (P + T - I + s), with I = sum p t, P = sum p, T = sum t over the items of a sample (or of the batch) for each class; p = softmax(x), or
        sigmoid(x). power=2 takes P = sum p^2 and T = sum t^2. Derivative by p_i: ((1 - loss) (1 - t_i) - t_i) / (P + T - I + s).

    Args:
        input, target: as in `dice_loss`.
        smooth: s >= 0, or (above, below) the bar.
        task, power, from_logits, over, average, background, empty, weight, ignore_index, dim, process_group, mask, normalizer: as in `dice_loss`.

    Returns:
        A scalar, or with average="none" (N, C), or (C,) over the batch; in [0, 1], below 0 where `smooth` adds more above the bar than below.

    Raises:
        TypeError, ValueError: as `dice_loss`.

    When to use:
        When the result is judged by IoU. It is a function of Dice, J = D / (2 - D), and pulls harder at classes that overlap well: half as hard as Dice
        at no overlap, twice as hard near full overlap.

    Edge cases:
        Empty targets: see `empty` in `dice_loss`. Soft labels need power=2 to reach 0: then the loss of p = t is exactly 0.

    Differs from torch:
        torch has none. MONAI writes it as `DiceLoss(jaccard=True)`, its constant added to 2 I and 2 (P + T - I); segmentation_models.pytorch's `JaccardLoss`
        sums over the batch and treats absent classes as found. `losskit.like` gives the settings.

    Reference:
        Rahman and Wang, Optimizing Intersection-Over-Union in Deep Neural Networks for Image Segmentation, 2016.

    Example:
        >>> import torch
        >>> p = torch.tensor([[[0.9, 0.6, 0.1, 0.0]]])
        >>> t = torch.tensor([[[1.0, 1.0, 1.0, 0.0]]])
        >>> jaccard_loss(p, t, task="binary", from_logits=False, smooth=0.0)  # 1 - 1.6 / (1.6 + 3 - 1.6)
        tensor(0.4667)
    """
    return overlap_loss(
        formula, parameters(smooth), input, target, task=task, power=power, from_logits=from_logits, over=over, average=average, background=background,
        empty=empty, weight=weight, ignore_index=ignore_index, dim=dim, process_group=process_group, mask=mask, normalizer=normalizer,
    )  # fmt: skip
