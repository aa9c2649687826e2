"""Cross-entropy of logits that are a product of hidden states and a head, and are never whole."""

from typing import Any

from torch import Tensor
from torch.distributed import ProcessGroup

from losskit.contract import checks, groups, products, sequence
from losskit.contract.checks import Numbers, Reduction
from losskit.contract.products import Accumulate
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.contract.shards import Told
from losskit.losses.classification.cross_entropy import cross_entropy


def textbook(mp, input, linear_weight, target, weight, label_smoothing, z_loss, softcap, temperature):
    """Of one item: its numbers, the head's rows, its label."""
    x = [mp.fsum(u * v for u, v in zip(input, row, strict=True)) for row in linear_weight]
    if softcap is not None:
        x = [softcap * mp.tanh(v / softcap) for v in x]
    x = [v / temperature for v in x]
    lse = mp.log(mp.fsum(mp.exp(v) for v in x))
    own = [1] * len(x) if weight is None else weight
    share = label_smoothing / len(x)
    value = mp.fsum(w * ((1 - label_smoothing) * (j == target) + share) * (lse - v) for j, (v, w) in enumerate(zip(x, own, strict=True)))
    return value + z_loss * own[target] * lse**2


@loss(
    textbook=textbook,
    module="LinearCrossEntropyLoss",
    task="classification",
    pattern="linear",
    formula="-log p_y,  p = softmax(W h + b)",
    target="label",
    torch="linear_cross_entropy",
    beside=("linear_bias",),
    owned=("linear_weight", "linear_bias"),
    arguments=(
        {},
        {"label_smoothing": 0.1, "z_loss": 1e-3},
        {"softcap": 20.0, "temperature": 2.5},
        {"weight": [0.5, 2.0, 1.0, 1.5]},
    ),
    tolerance=4e-6,
    chinese="""
    线性层与交叉熵合一：输入是隐藏状态和输出层的权重，logits 是两者的乘积，分块计算，从不完整存在；目标是类别编号，或每类的概率。
    何时用：语言模型的最后一层，以及任何 logits 占不下内存的分类器。shift=True 预测下一个 token；其余参数与 cross_entropy 相同。
    边界：被忽略的 token 不参与乘法，不花时间也不占内存；全部忽略时损失为 0、梯度为 0；分块不改变结果。
    """,
)
def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Numbers | None = None,
    ignore_index: int = -100,
    label_smoothing: float | Tensor = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    temperature: float | Tensor = 1.0,
    shift: bool = False,
    chunk: int | None = None,
    accumulate: Accumulate = "float32",
    return_parts: bool = False,
    class_group: ProcessGroup | None = None,
    sequence_dim: int | None = None,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Cross-entropy of the logits input @ linear_weight^T + linear_bias, which are never whole: for large vocabularies.

    Formula:
        `cross_entropy` of x = h W^T + b, with the same options. Derivatives: of h, d W; of W, d^T h; of b, the sum of d over the items; d is that by x.

    Args:
        input: hidden states, (..., width).
        linear_weight: the head, (classes, width), as `torch.nn.Linear.weight`; of the input's dtype.
        target: class labels (...), of any integer dtype, or probabilities (..., classes).
        linear_bias: (classes,), or None.
        weight, ignore_index, label_smoothing, z_loss, softcap, temperature, return_parts: as in `cross_entropy`.
        shift: True moves labels, and a mask and weights of their length, one place to the left along the last axis: the label of a token is the next one, and the
            last token has none.
        chunk: how many items to make logits of at a time, >= 1. None: as many as take the memory of the head, within 32 and 128 MB (on a GPU 256 MB and 1 GB), but at
            least 512. It changes neither value nor gradients beyond rounding.
        accumulate: "float32" adds up the head's gradient over chunks in float32, "input" in the input's dtype, which in bfloat16 saves 2 bytes per number of the head.
        class_group: as in `cross_entropy`; the head is that of this rank's classes. The gradient to the input is summed over the ranks, that to the head is this rank's.
            The ranks meet once for each chunk, the smallest `chunk` among theirs.
        sequence_dim: the axis along which the hidden states are spread over class_group, as sequence parallelism leaves them: each rank gives its own part, of any size,
            and the labels of all. The parts are gathered, and each rank gets the gradient to its own, summed over the ranks. None: every rank holds them all.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the shape without the last axis; in [0, inf). float32, or float64 of float64 factors.

    Raises:
        TypeError, ValueError: as `cross_entropy` and `linear_scores`; with `shift`, labels without an axis, and probabilities.

    When to use:
        The last layer of a language model, or of any classifier whose logits take more memory than the model can spare. As any loss on `linear_scores`, of which
        this is one.

    Edge cases:
        As of `linear_scores` and `cross_entropy`: all items ignored give 0 with gradients of 0. A label of a class out of range raises before anything is multiplied.

    Differs from torch:
        `torch.nn.functional.linear_cross_entropy` makes all logits unless it is given `options=`, for which there is `chunk` here. With options it still makes all logits
        for labels that are not int64, for probabilities and for smoothing, and warns. A second backward raises unless the options allow it, and on CPUs bfloat16 is
        multiplied in float32, for which each chunk makes a copy of the head. Its `ignore_index` of None means -100. Its input has at most two axes, and its head may
        have more; here it is the other way round. Its module owns the head; here `LinearCrossEntropyLoss(in_features, num_classes)` does, under the same names in a
        checkpoint, but without `out_features`, while `LinearCrossEntropyLoss()` is given the head with each call, for it is often tied.

    Reference:
        Wijmans et al., Cut Your Losses in Large-Vocabulary Language Models, 2024.

    Example:
        >>> import torch, losskit
        >>> hidden, head = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> losskit.linear_cross_entropy(hidden, head, torch.tensor([0, 1]))
        tensor(0.8103)
        >>> losskit.linear_cross_entropy(hidden, head, torch.tensor([0, 1]), shift=True, reduction="none")
        tensor([1.8620, 0.0000])
    """
    of_items: dict[str, Any] = dict(mask=mask, sample_weight=sample_weight)
    how: dict[str, Any] = dict(ignore_index=ignore_index, shift=shift, chunk=chunk, accumulate=accumulate, class_group=class_group, sequence_dim=sequence_dim)
    scores, target, of_items = scored(input, linear_weight, linear_bias, target, of_items, **how)
    return cross_entropy(
        scores, target, dim=-1, weight=weight, ignore_index=ignore_index, label_smoothing=label_smoothing, z_loss=z_loss, softcap=softcap, temperature=temperature,
        return_parts=return_parts, class_group=class_group, normalizer=normalizer, reduction=reduction, **of_items,
    )  # fmt: skip


def scored(
    input: Tensor, linear_weight: Tensor, linear_bias: Tensor | None, target: Tensor, of_items: dict[str, Any], *, ignore_index: int, shift: bool, chunk: int | None,
    accumulate: Accumulate, class_group: ProcessGroup | None, sequence_dim: int | None,
) -> tuple[Tensor, Tensor, dict[str, Any]]:  # fmt: skip
    """The scores of this rank's classes; labels, and what else belongs to items, where `shift` moves them."""
    groups.checked("class_group", class_group)
    if sequence_dim is not None:
        input = sequence.whole(input, linear_weight, linear_bias, class_group, sequence_dim)
    with groups.refusals_told(class_group, input, Told()):
        checks.flag("shift", shift)
        hidden = groups.entered(input, class_group) if sequence_dim is None else input
        scores = products.scores(hidden, linear_weight, linear_bias, chunk, accumulate, hidden=True)
        if shift:
            target, of_items = products.moved(target, ignore_index, **of_items)
    return scores, target, of_items
