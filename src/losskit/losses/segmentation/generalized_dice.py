"""Generalized Dice loss: one Dice loss over all classes, each weighted by the inverse of its volume."""

from torch import Tensor

from losskit.contract import checks
from losskit.contract.checks import Numbers
from losskit.contract.groups import Group
from losskit.contract.overlap import Smooth, Task, overlap_loss
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.contract.scores import Empty, Over, Volume
from losskit.losses.segmentation.dice import parameters
from losskit.losses.segmentation.tversky import formula

VOLUMES: tuple[Volume, ...] = ("square", "simple", "uniform")


def textbook(mp, i, p, t, n, volume_weight, smooth):
    above, below = smooth if isinstance(smooth, tuple) else (smooth, smooth)
    own = [{"square": 1 / v**2, "simple": 1 / v, "uniform": mp.mpf(1)}[volume_weight] if v else mp.mpf(0) for v in t]
    own = [w if v else max(own) or mp.mpf(1) for w, v in zip(own, t, strict=True)]
    top, bottom = (mp.fsum(w * v for w, v in zip(own, values, strict=True)) for values in (i, [a + b for a, b in zip(p, t, strict=True)]))
    return 1 - (2 * top + above) / (bottom + below) if bottom + below else mp.mpf(0)


@loss(
    textbook=textbook,
    module="GeneralizedDiceLoss",
    task="segmentation",
    pattern="overlap",
    formula="1 - (2 sum_c w_c I_c + s) / (sum_c w_c (P_c + T_c) + s),  w_c = 1 / T_c^2",
    input="logit",
    target="label",
    arguments=({}, {"volume_weight": "simple", "smooth": 1e-3, "power": 2}, {"volume_weight": "uniform", "smooth": (0.0, 1e-5)}),
    tolerance=1e-5,
    chinese="""
    广义 Dice 损失：输入默认是 logits，目标是类别编号（或 0/1 掩码）。各类的重叠与质量先按体积倒数（的平方）加权相加，再求一个 Dice 损失。
    何时用：各类大小相差很大，希望小类与大类贡献相当时；volume_weight 选择 1/T²("square")、1/T("simple")或不加权（"uniform"）。
    边界：目标中没有的类，权重取在场各类中最稀少者的权重；权重随 1/T² 变小，因此 smooth 默认是 0：固定的 1e-5 会压过大体积的各项。
    """,
)
def generalized_dice_loss(
    input: Tensor,
    target: Tensor,
    *,
    task: Task,
    volume_weight: Volume = "square",
    smooth: Smooth = 0.0,
    power: int = 1,
    from_logits: bool = True,
    over: Over = "sample",
    background: bool = True,
    empty: Empty = "smooth",
    weight: Numbers | None = None,
    ignore_index: int = -100,
    dim: int = 1,
    process_group: Group | None = None,
    mask: Tensor | None = None,
    normalizer: Normalizer | None = None,
) -> Tensor:
    """Generalized Dice loss of logits (default) or, with from_logits=False, of probabilities: one Dice loss of all classes, weighted by inverse volume.

    Formula:
        1 - (2 sum_c w_c I_c + s) / (sum_c w_c (P_c + T_c) + s), I, P and T as in `dice_loss`; w_c = 1 / T_c^2, 1 / T_c or 1, T_c the class's target mass.
        The weights are constants: no gradient goes through them. Derivative by p_i of class c: w_c (1 - loss - 2 t_i) / (sum_c w_c (P_c + T_c) + s).

    Args:
        input, target: as in `dice_loss`.
        volume_weight: "square": w = 1 / T^2, as in the paper; "simple": 1 / T; "uniform": 1.
        smooth: s >= 0, or (above, below) the bar. The weighted sums are of the size of 1 / T: a class of 10^5 voxels drowns in 1e-5.
        over: "sample": one loss per sample, averaged; "batch": one loss from the sums over the whole batch, volumes included. There is no `average`: the
            classes are joined.
        empty: what a target without any class costs, see `dice_loss`. A class that is absent while others are there has the weight of the rarest of them.
        weight: one number per class, (C,), class 0 included; multiplies w. No gradient.
        task, power, from_logits, background, ignore_index, dim, process_group, mask, normalizer: as in `dice_loss`.

    Returns:
        A scalar in [0, 1], below 0 where `smooth` adds more above the bar than below.

    Raises:
        TypeError, ValueError: as `dice_loss`; `volume_weight` is unknown.

    When to use:
        Classes of very different sizes that should all count. A class of few voxels then dominates the loss: if that makes training unstable, use "simple".

    Edge cases:
        Absent classes, found or not, have the weight of the rarest class that is there: false alarms on them cost. No class at all: by `empty`, weights 1.

    Differs from torch:
        torch has none. MONAI's `GeneralizedDiceLoss` has s = 1e-5, and 0 for a sample without any class: `losskit.like` gives the settings.

    Reference:
        Sudre et al., Generalised Dice Overlap as a Deep Learning Loss Function for Highly Unbalanced Segmentations, 2017.

    Example:
        >>> import torch
        >>> p = torch.tensor([[[0.9, 0.8, 0.7, 0.4], [0.1, 0.2, 0.3, 0.6]]])
        >>> t = torch.tensor([[0, 0, 0, 1]])
        >>> generalized_dice_loss(p, t, task="multiclass", from_logits=False)  # 1 - 2 (2.4 / 9 + 0.6) / (5.8 / 9 + 2.2)
        tensor(0.3906)
    """
    checks.one_of("volume_weight", volume_weight, VOLUMES)
    return overlap_loss(
        formula, parameters(smooth), input, target, task=task, power=power, from_logits=from_logits, over=over, average="micro", background=background,
        empty=empty, weight=weight, ignore_index=ignore_index, dim=dim, process_group=process_group, mask=mask, normalizer=normalizer, volume=volume_weight,
    )  # fmt: skip
