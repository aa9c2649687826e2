"""Dice loss and score: twice the overlap over the two masses."""

from torch import Tensor

from losskit.contract.checks import Numbers
from losskit.contract.groups import Group
from losskit.contract.overlap import Smooth, Task, overlap_loss, smoothing
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.contract.scores import Average, Empty, Over
from losskit.losses.segmentation.tversky import formula


def parameters(smooth: Smooth) -> tuple[float, float, float, float]:
    """Those of the Tversky formula, which has half of everything."""
    above, below = smoothing(smooth)
    return 0.5, 0.5, 0.5 * above, 0.5 * below


def textbook(mp, i, p, t, n, smooth):
    above, below = smooth if isinstance(smooth, tuple) else (smooth, smooth)
    return 1 - (2 * i + above) / (p + t + below) if p + t + below else mp.mpf(0)


def dice_score(
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
    """Dice coefficient of logits (default) or, with from_logits=False, of probabilities or hard 0/1 masks: 1 is full overlap. Arguments as in `dice_loss`.

    It is 1 - `dice_loss` with `smooth=0.0` by default: nothing there and nothing found is 1. Differentiable, like the loss.

    Example:
        >>> import torch
        >>> found = torch.tensor([[[1, 1, 0], [0, 1, 0]]]).float()
        >>> truth = torch.tensor([[[1, 1, 1], [0, 0, 0]]])
        >>> dice_score(found, truth, task="binary", from_logits=False)  # 2 * 2 / (3 + 3)
        tensor(0.6667)
    """
    return overlap_loss(
        formula, parameters(smooth), input, target, task=task, power=power, from_logits=from_logits, over=over, average=average, background=background,
        empty=empty, weight=weight, ignore_index=ignore_index, dim=dim, process_group=process_group, mask=mask, normalizer=None, score=True,
    )  # fmt: skip


@loss(
    textbook=textbook,
    module="DiceLoss",
    task="segmentation",
    pattern="overlap",
    formula="1 - (2 I + s) / (P + T + s),  I = sum p t, P = sum p, T = sum t",
    input="logit",
    target="label",
    arguments=({}, {"smooth": 0.0, "power": 2}, {"smooth": (0.0, 1e-5)}),
    tolerance=4e-6,
    scores=(dice_score,),
    chinese="""
    Dice 损失：输入默认是 logits，目标是类别编号（或 0/1 掩码）。等于 1 减 Dice 系数，Dice 系数 = 2|A∩B| / (|A|+|B|)，用概率代替集合。
    何时用：前景很小的分割任务，常与交叉熵相加（dice_ce_loss）；over 选择按样本还是按整批求和，average 选择各类怎样平均。
    边界：某类在目标中不存在时的含义由 empty 决定（smooth、skip、zero、mass）；软标签请用 power=2，这样预测与目标相等时损失为 0。
    """,
)
def dice_loss(
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
    """Dice loss of logits (default) or, with from_logits=False, of probabilities: 1 minus twice the overlap over the two masses.

    Formula:
        1 - (2 I + s) / (P + T + s), with I = sum p t, P = sum p, T = sum t over the items of a sample (or of the batch) for each class; p = softmax(x), or
        sigmoid(x). power=2 takes P = sum p^2 and T = sum t^2. Derivative by p_i: (1 - loss - 2 t_i) / (P + T + s).

    Args:
        input: logits or probabilities, (N, C, ...) with samples along axis 0 and classes along `dim`; with task="binary" any shape (N, ...).
        target: "multiclass": class labels of any integer dtype, (N, ...) without the class axis, or a number in [0, 1] for each number of the input (one-hot,
            soft labels). "multilabel", "binary": the input's shape, 0/1 or in [0, 1], any dtype.
        task: "multiclass": softmax over the classes; "multilabel": a sigmoid for each number; "binary": the same with one class. Required.
        smooth: s >= 0, or (above, below) the bar. 0 gives the coefficient as books write it; larger makes small targets count less.
        power: 1, or 2: squares in the denominator, which soft labels need to reach 0.
        from_logits: False if the input is probabilities. Rounding outside [0, 1] up to 1e-6 is accepted.
        over: "sample": one loss per sample and class, averaged; "batch": one loss per class, from sums over the whole batch.
        average: "macro": the mean over classes (and samples); "micro": the sums of all classes are added up first; "weighted": classes weighted by the mass of
            their target; "nested": the mean over each sample's classes, then over samples (differs from "macro" where samples have unequal numbers of classes
            that count); "none": one loss per class, (N, C), or (C,) over the batch.
        background: False leaves class 0 out of the loss ("multiclass"); it stays in the softmax.
        empty: what a class without target costs: "smooth", "skip", "zero" or "mass", see the table under "Edge cases" of `dice_loss`.
        weight: one number per class, (C,), class 0 included; the mean divides by the weights of what counts. With "micro" it multiplies the sums. No gradient.
        ignore_index: positions with this label ("multilabel", "binary": numbers whose target is this) are absent, as if masked. A softmax against soft labels
            has none: use mask= there.
        dim: the class axis; "binary" has none.
        process_group: sum over the ranks of this `ProcessGroup` as well. Each rank's gradient is that of the joined batch's loss by its own input. As
            `losskit.Ranks(group=...)` it is that times the number of ranks, for DistributedDataParallel, which averages.
        mask: bool tensor, broadcasts to the target's shape ("multilabel": or to that without the class axis). True counts, False is as good as deleted,
            whatever it holds, NaN included. None: everything counts.
        normalizer: a number >= 0, or a 0-d tensor on the input's device, that the average divides by in place of its own denominator. 0: nothing counts.

    Returns:
        A scalar, or with average="none" (N, C), or (C,) over the batch; in [0, 1], below 0 where `smooth` adds more above the bar than below. What
        does not count reads 0 there.

    Raises:
        TypeError: `input` is not floating point, labels are not integers. ValueError: shapes do not fit, a label is no class, a target or probability lies
        outside [0, 1], softmax over one channel, `background=False` without softmax, `smooth` < 0, an option is unknown.

    When to use:
        Small foreground, which a mean over pixels would hardly notice; most often together with cross-entropy, see `dice_ce_loss`.

    Edge cases:
        A class whose target is empty costs, depending on `empty` (P is what was predicted of it, n the number of its items):

        | empty | prediction empty | prediction not empty | use |
        |---|---|---|---|
        | "smooth" | 0, gradient 1 / s | P / (P + s), gradient s / (P + s)^2 | the default; with s near 0 it is stuck at 1 |
        | "skip" | not counted | not counted | classes that many samples lack |
        | "zero" | 0, gradient 0 | 0, gradient 0 | counted, but free |
        | "mass" | 0, gradient 1 / n | P / n, gradient 1 / n | nearly empty patches: false alarms always cost |

        With s = 0 an empty prediction of an empty target is 0, with gradient 0. A target that is not empty follows the formula, whether the prediction is
        empty or not. If nothing counts, the loss is 0, with zero gradients.

    Differs from torch:
        torch has no Dice loss. MONAI, nnU-Net, segmentation_models.pytorch and kornia each define it differently: `losskit.like` gives the settings.

    Reference:
        Milletari et al., V-Net: Fully Convolutional Neural Networks for Volumetric Medical Image Segmentation, 2016.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[[3.0, 0.0, -2.0], [0.0, 1.0, 2.0]]])
        >>> dice_loss(logits, torch.tensor([[0, 1, 1]]), task="multiclass", smooth=0.0)
        tensor(0.1191)
        >>> dice_loss(torch.tensor([[2.0, -1.0, 0.5]]), torch.tensor([[1, 0, 1]]), task="binary", smooth=0.0)
        tensor(0.2030)
    """
    return overlap_loss(
        formula, parameters(smooth), input, target, task=task, power=power, from_logits=from_logits, over=over, average=average, background=background,
        empty=empty, weight=weight, ignore_index=ignore_index, dim=dim, process_group=process_group, mask=mask, normalizer=normalizer,
    )  # fmt: skip
