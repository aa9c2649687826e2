"""Triplet margin loss: an anchor nearer to what belongs to it than to what does not."""

import torch
from torch import Tensor

from losskit.contract import checks
from losskit.contract.checks import Reduction
from losskit.contract.reduce import Normalizer
from losskit.contract.vectors import VectorModule, distance, seen, vector_loss


@vector_loss
def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Triplet margin loss of embeddings (real values): the anchor is to be nearer to the positive than to the negative, by `margin`.

    Formula:
        max(d(a, p) - d(a, n) + margin, 0) with d(x, y) = ||x - y + eps||_p along the last axis; swap=True: min(d(a, n), d(p, n)) in place of d(a, n).

    Args:
        anchor: vectors (D,), (N, D) or (..., D), any finite value.
        positive: vectors that belong to the anchors, of the same shape.
        negative: vectors that do not, of the same shape.
        margin: by how much farther the negative must be to cost nothing, > 0.
        p: of the norm, >= 1, math.inf included.
        eps: added to each difference, as torch does, >= 0. With 0, d is a true distance.
        swap: True takes the positive as the anchor where it is nearer to the negative (Balntas 2016).
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the shape without the last axis; in [0, inf).

    Raises:
        TypeError: an embedding is not floating point, a setting is not a number. ValueError: shapes differ or have no last axis, `margin` <= 0, `p` < 1,
        `eps` < 0, weights are not finite, `reduction` is unknown.

    When to use:
        Retrieval, faces, re-identification: where it counts which of two is nearer. Easy triplets cost nothing and teach nothing, so the choice of triplets
        decides.

    Edge cases:
        A distance of 0 has the gradient 0. At exactly the margin the loss and its gradient are 0. Vectors of 1e30 or of 1e-30 keep their digits: squares are of
        scaled numbers. A vector with NaN or an infinite number costs NaN. Of p=inf, the largest differences share the gradient.

    Differs from torch:
        Shapes must be equal: torch broadcasts. At exactly the margin torch's gradient is that of the positive side. `p` below 1, which is no norm, is refused.
        In float32, torch's squares of 1e30 are infinite.

    Reference:
        Schroff, Kalenichenko and Philbin, FaceNet: A Unified Embedding for Face Recognition and Clustering, 2015. swap: Balntas et al., Learning Local Feature
        Descriptors with Triplets and Shallow Convolutional Neural Networks, 2016.

    Example:
        >>> import torch, losskit
        >>> anchor, positive, negative = torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 5.5]])
        >>> losskit.triplet_margin_loss(anchor, positive, negative)
        tensor(0.5000)
        >>> losskit.triplet_margin_loss(anchor, positive, negative, swap=True)
        tensor(2.6459)
    """
    margin, p = checks.number("margin", margin, above=0.0), checks.number("p", p, low=1.0, infinite=True)
    eps = checks.number("eps", eps, low=0.0)
    checks.flag("swap", swap)
    given = seen({"anchor": anchor, "positive": positive, "negative": negative}, mask, sample_weight, normalizer, reduction)
    a, b, c = given.vectors
    apart = distance(a, c, p, eps)
    if swap:
        apart = torch.minimum(apart, distance(b, c, p, eps))
    return given.reduced(torch.relu(distance(a, b, p, eps) - apart + margin), normalizer, reduction)


class TripletMarginLoss(VectorModule):
    """`triplet_margin_loss` as a module: its settings go to the constructor, tensors to the call.

    Example:
        >>> import torch, losskit
        >>> losskit.TripletMarginLoss(margin=0.5)(torch.zeros(1, 2), torch.ones(1, 2), torch.ones(1, 2))
        tensor(0.5000)
    """

    function = staticmethod(triplet_margin_loss)
    margin: float
    p: float
    eps: float
    swap: bool
    reduction: Reduction

    def __init__(self, *, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6, swap: bool = False, reduction: Reduction = "mean") -> None:
        super().__init__(margin=margin, p=p, eps=eps, swap=swap, reduction=reduction)

    def forward(
        self,
        anchor: Tensor,
        positive: Tensor,
        negative: Tensor,
        *,
        mask: Tensor | None = None,
        sample_weight: Tensor | None = None,
        normalizer: Normalizer | None = None,
    ) -> Tensor:
        """The loss of the triplets."""
        return triplet_margin_loss(anchor, positive, negative, mask=mask, sample_weight=sample_weight, normalizer=normalizer, **self.settings)
