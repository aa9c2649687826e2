"""Binary cross-entropy as a module for both inputs: the one loss whose users must say which they have, and so a module without a function."""

from dataclasses import replace

from torch import Tensor

from losskit.contract import checks
from losskit.contract.checks import Numbers, Reduction
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import LOSSES
from losskit.losses.classification.binary_cross_entropy import binary_cross_entropy
from losskit.losses.classification.binary_cross_entropy_with_logits import binary_cross_entropy_with_logits


def either(
    input: Tensor,
    target: Tensor,
    *,
    from_logits: bool,
    weight: Numbers | None = None,
    pos_weight: Numbers | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    missing: float | None = None,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Binary cross-entropy of logits or of probabilities: which, must be said.

    With from_logits=True it is `BCEWithLogitsLoss`, with from_logits=False `BCELoss`; everything else is described there. There is no default: with the
    wrong one a model still trains, only worse.
    """
    checks.flag("from_logits", from_logits)
    chosen = binary_cross_entropy_with_logits if from_logits else binary_cross_entropy
    return chosen(
        input, target, weight=weight, pos_weight=pos_weight, label_smoothing=label_smoothing, ignore_index=ignore_index, missing=missing,
        mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction,
    )  # fmt: skip


EITHER = replace(LOSSES["binary_cross_entropy_with_logits"], function=either, module="BinaryCrossEntropyLoss")
