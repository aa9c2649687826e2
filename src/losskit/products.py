"""Scores that are a product of hidden states and a head, as the input of any loss that takes class scores, without the product ever being whole."""

from typing import Any

from torch import Tensor
from torch.distributed import ProcessGroup

from losskit.contract import checks, groups, items, products, tokens
from losskit.contract.products import Accumulate
from losskit.contract.registry import no_script
from losskit.contract.rows import Labelled, rows
from losskit.contract.spread_tokens import classes_of, parts_over_ranks
from losskit.losses.classification import entropy
from losskit.losses.classification.cross_entropy import capped, cross_entropy, formula
from losskit.losses.classification.linear_cross_entropy import linear_cross_entropy, scored


@no_script
def linear_scores(
    input: Tensor, linear_weight: Tensor, linear_bias: Tensor | None = None, *, chunk: int | None = None, accumulate: Accumulate = "float32"
) -> Tensor:
    """Class scores input @ linear_weight^T + linear_bias, as the input of a loss that makes them some items at a time: they are never whole.

    What comes back has the shape of the scores and takes no memory. Any loss of losskit that reads class logits, or one logit per element, takes it in place of
    logits: with labels, with distributions, multi-label. (`multi_margin_loss`, `multilabel_margin_loss` and the losses of overlap need all scores at once: give
    them `whole()`.) The loss makes a chunk of scores, its gradient in the same memory, and of that the gradients of both factors.

    Args:
        input: hidden states, (..., width), of a floating-point dtype, any finite value.
        linear_weight: the head, (classes, width), as `torch.nn.Linear.weight`; of the input's dtype.
        linear_bias: (classes,), or None.
        chunk: how many items to make scores of at a time, >= 1. None: as many as take the memory of the head, within 32 and 128 MB (on a GPU 256 MB and 1 GB), but at
            least 512, for thin products are slow. It changes neither value nor gradients beyond rounding.
        accumulate: "float32" adds up the weight's gradient over chunks in float32, "input" in the input's dtype: in bfloat16 that saves 2 bytes per number of the
            weight, and adds a rounding per chunk.

    Returns:
        A tensor of shape (..., classes) for a loss to take, with the class axis last (dim=-1). Its method `whole()` makes the scores. Under `torch.compile`, transforms
        of torch.func, forward-mode derivatives, and of tensor subclasses the scores are whole from the start, as `torch.nn.functional.linear` makes them; in graphs of
        `torch.compile` on CPUs those of `linear_cross_entropy`, `linear_log_prob` and contrastive losses are not.

    Raises:
        TypeError: a factor is not floating point, the dtypes differ, outside of torch.autocast. RuntimeError: what needs all scores at once is applied to the result.
        ValueError: the shapes do not multiply, `chunk` < 1, `accumulate` is unknown, the factors are on several devices.

    When to use:
        Large vocabularies: the scores of 2,048 tokens and 128,256 classes take 1 GB in float32, and their gradient another. Several losses of one product make it
        once each. For cross-entropy there is `linear_cross_entropy`; for log-probabilities `linear_log_prob`.

    Edge cases:
        An absent item (ignored, masked, of weight 0) is left out before anything is multiplied: it costs nothing, and NaN in it reaches nothing. A factor that requires no
        gradient costs no product and no memory. An item has the same scores whatever batch it is in, bit for bit, as long as the number of threads stays. Gradients are made in the forward, of reduction "mean" and "sum"; with "none" the backward makes the scores again. float16, and bfloat16 where the processor has no
        instructions for it, is multiplied in float32 on CPUs. Second derivatives compute chunks again.

    Differs from torch:
        `torch.nn.functional.linear` makes all scores; a loss of them keeps as many numbers for its backward, which makes as many again.

    Reference:
        Wijmans et al., Cut Your Losses in Large-Vocabulary Language Models, 2024; Hsu et al., Liger Kernel, 2024.

    Example:
        >>> import torch, losskit
        >>> hidden, head = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> scores = losskit.linear_scores(hidden, head)
        >>> losskit.focal_loss(scores, torch.tensor([0, 1]), task="multiclass", dim=-1)
        tensor(0.2511)
        >>> losskit.kl_divergence(scores, torch.tensor([[0.5, 0.2, 0.3], [0.1, 0.6, 0.3]]), dim=-1)
        tensor(0.0465)
    """
    return products.scores(input, linear_weight, linear_bias, chunk, accumulate)


@no_script
def linear_probabilities(input: Tensor, linear_weight: Tensor, linear_bias: Tensor | None = None, *, temperature: float = 1.0) -> Tensor:
    """A teacher's probabilities softmax((input @ linear_weight^T + linear_bias) / T), as the target of a loss that makes them with its scores: they are never whole.

    Formula:
        p_j = exp(s_j / T) / sum_k exp(s_k / T), s = h W^T + b.

    Args:
        input: the teacher's hidden states, (..., width), of a floating-point dtype.
        linear_weight: its head, (classes, width); of the input's dtype. The width need not be the student's.
        linear_bias: (classes,), or None.
        temperature: T > 0.

    Returns:
        A tensor of shape (..., classes) for a loss on `linear_scores` to take as its target; float32, or float64 of float64 factors. Its method `whole()` makes the
        probabilities. Under `torch.compile`, transforms and of tensor subclasses they are as in `linear_scores`.

    Raises:
        TypeError, ValueError: as `linear_scores`; `temperature` <= 0.

    When to use:
        Distillation of a large vocabulary: `kl_divergence(linear_scores(student, head), linear_probabilities(teacher, its_head), dim=-1)`, likewise `js_divergence` and
        `cross_entropy`. The factor T^2 that keeps gradients of one size is yours to multiply.

    Edge cases:
        No gradient goes to the teacher, whatever requires one. With scores that are whole it is refused: give its `whole()`.

    Differs from torch:
        There, both tensors of scores are whole, and the softmax of each.

    Reference:
        Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015.

    Example:
        >>> import torch, losskit
        >>> student, teacher = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[2.0], [-1.0]])
        >>> scores = losskit.linear_scores(student, torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
        >>> losskit.kl_divergence(scores, losskit.linear_probabilities(teacher, torch.tensor([[1.0], [0.0], [-1.0]])), dim=-1)
        tensor(0.3223)
    """
    temperature = checks.number("temperature", temperature, above=0.0)
    return products.scores(input, linear_weight, linear_bias, temperature=temperature)


@no_script
def linear_log_prob(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    ignore_index: int = -100,
    softcap: float | None = None,
    temperature: float | Tensor = 1.0,
    shift: bool = False,
    chunk: int | None = None,
    accumulate: Accumulate = "float32",
    return_parts: bool = False,
    top_k: int = 0,
    class_group: ProcessGroup | None = None,
    sequence_dim: int | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Log-probability of each chosen class under softmax(input @ linear_weight^T + linear_bias), whose logits are never whole: what policy losses are made of.

    Formula:
        log p_y, p = softmax((h W^T + b) / T); minus `linear_cross_entropy` with reduction="none".

    Args:
        input: hidden states, (..., width).
        linear_weight: the head, (classes, width); of the input's dtype.
        target: the chosen classes, (...), of any integer dtype.
        linear_bias: (classes,), or None.
        ignore_index: the label of items that are absent.
        softcap, temperature: as in `cross_entropy`; the temperature that tokens were sampled with.
        shift, chunk, accumulate, class_group, sequence_dim: as in `linear_cross_entropy`.
        return_parts: also return what is known of each token's distribution: (log_prob, parts) with parts.entropy and parts.top.values, parts.top.indices, as
            `torch.topk` has them; detached, without a synchronisation. With class_group they are those of all classes, the same on every rank; the scores are made
            once more for them, and the ranks wait for each other.
        top_k: how many of the most probable classes parts.top has, from 0 to the number of classes.
        mask: bool, True = counts; broadcasts to the target's shape.

    Returns:
        The target's shape, in (-inf, 0]; 0 for an absent item. float32, or float64 of float64 factors. Differentiable, with any incoming gradient. Of the parts,
        entropy has that shape, and top one axis more, of top_k classes, the most probable first.

    Raises:
        TypeError, ValueError: as `linear_cross_entropy`; `top_k` is negative, more than there are classes, or without return_parts.

    When to use:
        Preference and policy losses (DPO, SimPO, GRPO): each is a formula of log-probabilities. Parts are for what is watched or kept beside them: the entropy of a
        policy, candidates, a teacher's best classes. Entropy as a term of the loss, with a gradient, is `entropy(linear_scores(...), dim=-1, reduction="none")`.

    Edge cases:
        A token has the same bits whatever batch it is in, as long as the number of threads stays, so that a ratio of new to old probabilities starts at exactly 1.
        Parts come from the same chunks of scores, which are multiplied once. Classes of equal scores are in the order of their numbers. Of an absent token, entropy and
        log-probabilities are 0, classes -1. A class that is ruled out by a bias of -inf comes last, with -inf.

    Differs from torch:
        There, `log_softmax(linear(...)).gather(...)` keeps a tensor of the size of the logits, and its backward makes two more.

    Reference:
        Rafailov et al., Direct Preference Optimization, 2023.

    Example:
        >>> import torch, losskit
        >>> hidden, head = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> losskit.linear_log_prob(hidden, head, torch.tensor([0, 1]))
        tensor([-0.8620, -0.7586])
        >>> _, parts = losskit.linear_log_prob(hidden, head, torch.tensor([0, 1]), return_parts=True, top_k=2)
        >>> parts.entropy, parts.top.indices
        (tensor([1.0174, 0.8854]), tensor([[0, 2],
                [1, 2]]))
    """
    groups.checked("class_group", class_group)
    how: dict[str, Any] = dict(ignore_index=ignore_index, shift=shift, chunk=chunk, accumulate=accumulate, class_group=class_group, sequence_dim=sequence_dim)
    if class_group is not None:
        classes = classes_of(input, linear_weight, linear_bias, class_group, return_parts, top_k)
        scores, target, of_items = scored(input, linear_weight, linear_bias, target, {"mask": mask}, **how)
        each = cross_entropy(
            scores, target, dim=-1, ignore_index=ignore_index, softcap=softcap, temperature=temperature, class_group=class_group, reduction="none", **of_items
        )
        if not return_parts:
            return 0.0 - each
        link = None if softcap is None else capped(softcap)
        look, heat = tokens.TokenLook(entropy.formula, top_k), items.temperature(temperature)
        parts = parts_over_ranks(look, scores, target, class_group, classes, ignore_index=ignore_index, link=link, temperature=heat, **of_items)
        return 0.0 - each, parts  # type: ignore[return-value]
    checks.flag("return_parts", return_parts)
    if return_parts or top_k:
        result: Tensor = _with_parts(input, linear_weight, target, return_parts, top_k, softcap, temperature, linear_bias=linear_bias, mask=mask, **how)
        return result
    how |= dict(linear_bias=linear_bias, softcap=softcap, temperature=temperature, mask=mask)
    return 0.0 - linear_cross_entropy(input, linear_weight, target, reduction="none", **how)


def _with_parts(
    input: Tensor, linear_weight: Tensor, target: Tensor, return_parts: bool, top_k: int, softcap: float | None,
    temperature: float | Tensor, *, linear_bias: Tensor | None, ignore_index: int, mask: Tensor | None, **how: Any,
) -> Any:  # fmt: skip
    """The same in the pass that also finds what else is known of each token's distribution."""
    scores, target, of_items = scored(input, linear_weight, linear_bias, target, {"mask": mask}, ignore_index=ignore_index, **how)
    wanted = tokens.checked(top_k, return_parts, linear_weight.shape[0])
    link = None if softcap is None else capped(softcap)
    described = Labelled(formula, (), 0.0, link, temperature=items.temperature(temperature), look=tokens.TokenLook(entropy.formula, wanted))
    alone: dict[str, Any] = dict(dim=-1, weight=None, sample_weight=None, normalizer=None, reduction="none")
    each, seen = rows(described, scores, target, ignore_index=ignore_index, return_parts=True, **of_items, **alone)
    return 0.0 - each, tokens.parts_of(seen, target, ignore_index, of_items["mask"])
