"""Lovasz hinge and Lovasz softmax: the Jaccard loss of sets, made a function of errors by its Lovasz extension."""

from torch import Tensor

from losskit.contract.checks import Numbers
from losskit.contract.overlap import Task
from losskit.contract.ranked import Average, Classes, ranked_loss
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.contract.scores import Over


def textbook(mp, x, t, task):
    """Of one class: errors (a function of the scores by the task) and what is of the class, to the Lovasz extension of the Jaccard loss."""
    order = sorted(range(len(x)), key=lambda i: -x[i])
    total, seen, others, before, value = sum(t), 0, 0, mp.mpf(0), mp.mpf(0)
    for i in order:
        seen, others = seen + t[i], others + (1 - t[i])
        now = 1 - mp.mpf(total - seen) / (total + others)
        value += x[i] * (now - before)
        before = now
    return value


@loss(
    textbook=textbook,
    module="LovaszLoss",
    task="segmentation",
    pattern="ranked",
    formula="sum_k m_(k) (J_k - J_(k-1)),  m_(1) >= m_(2) >= ... the sorted errors, J_k the Jaccard loss if the first k items were wrong",
    input="logit",
    target="label",
    arguments=(
        {"task": "multiclass"},
        {"task": "binary"},
        {"task": "multilabel"},
        {"task": "multiclass", "classes": "all", "over": "batch"},
        {"task": "binary", "classes": "present"},
        {"task": "multiclass", "from_logits": False},
        {"task": "binary", "from_logits": False},
    ),
    tolerance=4e-6,
    chinese="""
    Lovasz 损失：输入默认是 logits，目标是类别编号（或 0/1）。把误差从大到小排序，每个误差乘以它给 Jaccard 损失（1 减 IoU）带来的增量；二分类用合页误差，多分类用 softmax 误差。
    何时用：评价指标是 IoU 的分割任务，常在交叉熵训练之后用来微调，或与交叉熵相加。
    边界：目标中没有的类，多分类默认不计（classes="present"）；"all" 时，以及合页形式中，只有最大的误差有损失；误差相等时按位置先后排序，数值不受影响，梯度受影响。
    """,
)
def lovasz_loss(
    input: Tensor,
    target: Tensor,
    *,
    task: Task,
    classes: Classes = "auto",
    from_logits: bool = True,
    over: Over = "sample",
    average: Average = "nested",
    weight: Numbers | None = None,
    ignore_index: int = -100,
    dim: int = 1,
    mask: Tensor | None = None,
    normalizer: Normalizer | None = None,
) -> Tensor:
    """Lovasz hinge ("binary", "multilabel") or Lovasz softmax ("multiclass") of logits, or of probabilities: a convex extension of 1 - IoU to errors.

    Formula:
        sum_k m_(k) (J_k - J_(k-1)) for each class, with the errors m sorted from large to small and J_k the Jaccard loss if the k items with the largest errors
        were wrong and the rest right. m = max(0, 1 - x) for items of the class and max(0, 1 + x) for others with logits of "binary" and "multilabel", where
        x > 0 says yes; m = 1 - p and p with softmax, and with probabilities. Derivative by the error in place k: J_k - J_(k-1).

    Args:
        input: logits or probabilities, (N, C, ...) with samples along axis 0 and classes along `dim`; with task="binary" any shape (N, ...).
        target: "multiclass": class labels of any integer dtype, (N, ...) without the class axis. "multilabel", "binary": 0 or 1 for each number of the input,
            any dtype. Soft labels cannot be sorted by error and raise.
        task: "multiclass": softmax over the classes; "multilabel": each number alone; "binary": the same with one class. Required.
        classes: "present": classes without an item in the target (of the sample, or of the batch) are left out of the mean; "all": they are in it. "auto": as
            the authors have it, "present" for "multiclass", "all" for the others. To choose among the classes, give those to leave out weight 0.
        from_logits: False if the input is probabilities. Rounding outside [0, 1] up to 1e-6 is accepted.
        over: "sample": the items of each sample are sorted, and the losses averaged; "batch": those of the whole batch together.
        average: "nested": the mean over each sample's classes, then over samples; "macro": one mean over all classes of all samples; "none": one loss per
            class, (N, C), or (C,) over the batch.
        weight: one number per class, (C,); the mean over classes divides by the weights of what counts. No gradient.
        ignore_index: the label (multi-label and binary: the number) of items that are absent.
        dim, mask, normalizer: as in `dice_loss`.

    Returns:
        A scalar, or with average="none" (N, C), or (C,) over the batch; at least 0, with probabilities at most 1. What does not count reads 0 there.

    Raises:
        TypeError: `input` is not floating point, labels are not integers. ValueError: shapes do not fit, a label is no class, a target is neither 0 nor 1, a
        probability lies outside [0, 1], softmax over one channel, an option is unknown.

    When to use:
        When IoU is what counts; mostly to continue from a network trained with cross-entropy, or together with it. Alone from the start it learns slowly, since
        most items do not contribute to it.

    Edge cases:
        Equal errors are taken in the order of the items (of a sample, then of the samples). The value does not depend on that; the gradient does: where an item
        of the class and another are equally wrong, the first of them takes the larger part, and any such choice is a subgradient.
        A class without an item has the largest error as its loss. Errors of 0, such as margins that are kept, have no gradient. If nothing counts, the loss
        is 0, with zero gradients; a sample in which nothing counts is absent. What J_k adds is computed in closed form: differences of successive J_k are
        below the rounding of float32 from some thousand items on.

    Differs from the authors' code:
        Theirs has over="batch" for softmax and "sample" for the hinge by default, and counts a sample in which nothing counts as 0 where it averages samples.
        segmentation_models.pytorch has over="batch" by default and sorts the channels of "multilabel" as one class; kornia's softmax is classes="all".

    Reference:
        Berman, Triki, Blaschko, The Lovász-Softmax Loss: A Tractable Surrogate for the Optimization of the Intersection-over-Union Measure, 2018.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[2.0, -1.0, 0.5, -3.0]])
        >>> target = torch.tensor([[1, 1, 0, 0]])  # errors 0, 2, 1.5, 0: 2 * 1/2 + 1.5 * 1/6
        >>> lovasz_loss(logits, target, task="binary")
        tensor(1.2500)
        >>> lovasz_loss(torch.tensor([[[3.0, 0.0, -2.0], [0.0, 1.0, 2.0]]]), torch.tensor([[0, 1, 1]]), task="multiclass")
        tensor(0.1533)
    """
    return ranked_loss(
        input, target, task=task, classes=classes, from_logits=from_logits, over=over, average=average, weight=weight, ignore_index=ignore_index, dim=dim,
        mask=mask, normalizer=normalizer,
    )  # fmt: skip
