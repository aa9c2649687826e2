"""Bad calls whose message gives advice: what the tables of them share. The tables are `advice_of_numbers.py`, `advice_of_patterns.py` and `advice_of_uses.py`."""

import math
import warnings
from typing import Any, NamedTuple

import torch
from torch.masked import masked_tensor

import losskit

torch.manual_seed(0)
INF, NAN = float("inf"), float("nan")
X, T = torch.randn(2, 3), torch.rand(2, 3)
ONE = torch.tensor([[0, 0, 1], [1, 0, 0]])
L, P = torch.tensor([2, 0]), torch.tensor([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]])
M = torch.tensor([[True, False, True], [False, True, True]])
W = torch.tensor([1.0, 0.5, 2.0])
AMOUNTS = torch.tensor([[1.0, -2.0, 3.0], [0.5, 1.5, 2.5]])
V, K, PLACES = torch.randn(2, 3, 4, 5), (torch.rand(2, 3, 4, 5) < 0.4).float(), torch.randint(0, 3, (2, 4, 5))
S, B = torch.randn(2, 1, 4, 5), (torch.rand(2, 4, 5) < 0.4).float()
TWO = torch.randn(4, 2, 4, 5)
BOXES = torch.tensor([[0.0, 0.0, 2.0, 1.0], [1.0, 1.0, 3.0, 4.0]])
OTHERS = BOXES + 0.25
HALF = torch.rand(2, 3)
PICTURES = torch.rand(2, 3, 11, 12)
with warnings.catch_warnings(action="ignore"):  # prototypes, deprecations
    NESTED = torch.nested.nested_tensor([torch.tensor([1.0, 2.0]), torch.tensor([3.0])])
    QUANTISED, MASKED = torch.quantize_per_tensor(X, 0.1, 0, torch.qint8), masked_tensor(X, M)
PADDED, THERE = torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([[True, True], [True, False]])
bce, logits, ce, l1, dice = losskit.binary_cross_entropy, losskit.binary_cross_entropy_with_logits, losskit.cross_entropy, losskit.l1_loss, losskit.dice_loss
ssim, mlm = losskit.ssim_loss, losskit.multilabel_margin_loss
focal, kl, nll, iou, lovasz, boundary = (
    losskit.focal_loss,
    losskit.kl_divergence,
    losskit.nll_loss,
    losskit.iou_loss,
    losskit.lovasz_loss,
    losskit.boundary_loss,
)


HIDDEN, HEAD = torch.randn(2, 4), torch.randn(3, 4)
linear, arcface = losskit.linear_cross_entropy, losskit.arcface_loss
COSINES = torch.nn.functional.cosine_similarity(HIDDEN[:, None], HEAD[None], dim=-1)


class Row(NamedTuple):
    """A bad call; the advice in its message; what following it changes: source text, which must stand in the message, or a value where the advice is words
    (`OUT`: the argument is left out); and the call that was meant, in arguments that differ from the bad ones, with the function if it is another.
    """

    function: Any
    bad: dict[str, Any]
    says: str
    fix: dict[str, Any]
    meant: dict[str, Any]
    another: Any = None


OUT = object()
CHOICES = ("task", "reduction", "average")  # settings whose values are text
NAMES = {"torch": torch, "math": math, "binary_cross_entropy_with_logits": logits, "multi_margin_loss": losskit.multi_margin_loss}
ONE_LOGIT = "binary_cross_entropy_with_logits(input, target"


def of(x, t, **more):
    return dict(input=x, target=t, **more)


def of_head(weight, **more):
    return dict(input=HIDDEN, linear_weight=weight, target=L) | more
