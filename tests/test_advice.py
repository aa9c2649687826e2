"""Every message's advice, followed literally: the call works and means what was wanted. And no advice without a row here: the source is searched for it."""

import ast
import contextlib
import math
import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.masked import masked_tensor

import losskit

pytestmark = pytest.mark.filterwarnings("ignore:.*(MaskedTensor|ested|uantiz|deprecated)")
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


def mining(**how):
    return l1(X, T, reduction=losskit.TopK(**how))


ABS, SQUARED = losskit.L1Loss(), losskit.MSELoss()


def summed(parts):
    return losskit.Sum(parts)(X, T)


def stepped(step=None):
    loss = (lambda step: 0.5 * step) * ABS
    if step is not None:
        loss.set_step(step)
    return loss(X, T)


def heads(input, target):
    return losskit.PerHead({"a": ABS})(input, target)


def deep(outputs, target, weights=None):
    return losskit.DeepSupervision(ABS, weights)(outputs, target)


def of_head(weight, **more):
    return dict(input=HIDDEN, linear_weight=weight, target=L) | more


ROWS = [
    Row(ssim, dict(input=PICTURES, target=0 * PICTURES, window="uniform", sigma=2.0, data_range=1.0), "leave sigma out", dict(sigma=OUT), dict(sigma=1.5)),
    Row(
        ssim,
        dict(input=PICTURES, target=0 * PICTURES, window_size=4, sigma=0.001, data_range=1.0),
        "try window_size=5",
        dict(window_size=5),
        dict(window_size=5),
    ),
    Row(ssim, dict(input=PICTURES[0], target=0 * PICTURES[0], data_range=1.0), "try input.unsqueeze(0)", dict(input="input.unsqueeze(0)", target=0 * PICTURES[:1]), dict(input=PICTURES[:1], target=0 * PICTURES[:1])),
    Row(
        losskit.cosine_embedding_loss, dict(input1=X, input2=T, target=torch.tensor([[1], [-1]])), "try target.reshape(2,)", {"target": "target.reshape(2,)"},
        dict(target=torch.tensor([1, -1])),
    ),
    Row(
        losskit.cosine_embedding_loss, dict(input1=X, input2=T, target=torch.tensor([1, 0])), "try target * 2 - 1", {"target": "target * 2 - 1"},
        dict(target=torch.tensor([1, -1])),
    ),
    Row(
        losskit.batch_hard_triplet_loss, dict(embeddings=X[0], labels=torch.tensor([1])), "try embeddings.unsqueeze(0)", {"embeddings": "embeddings.unsqueeze(0)"},
        dict(embeddings=X[:1]),
    ),
    Row(
        losskit.batch_hard_triplet_loss, dict(embeddings=X, labels=torch.tensor([[1], [1]])), "try labels.reshape(2,)", {"labels": "labels.reshape(2,)"},
        dict(labels=torch.tensor([1, 1])),
    ),
    Row(
        losskit.clip_loss, dict(image_features=X, text_features=T, exclude=torch.ones(2, 2, dtype=torch.bool)), "try exclude & ~torch.eye(2, 2, dtype=torch.bool)", {"exclude": "exclude & ~torch.eye(2, 2, dtype=torch.bool)"},
        dict(exclude=~torch.eye(2, dtype=torch.bool)),
    ),
    Row(
        losskit.supcon_loss, dict(embeddings=torch.cat((X, T)), labels=1 - torch.eye(4)), "try labels.bool()", {"labels": "labels.bool()"},
        dict(labels=~torch.eye(4, dtype=torch.bool)),
    ),
    Row(losskit.triplet_margin_loss, dict(anchor=X.long(), positive=X, negative=T), "try anchor.float()", {"anchor": "anchor.float()"}, dict(anchor=X.long().float())),
    Row(
        losskit.triplet_margin_loss, dict(anchor=X, positive=X, negative=T[0]), "Try negative.expand(2, 3)", {"negative": "negative.expand(2, 3)"},
        dict(negative=T[:1].expand(2, 3)),
    ),
    # no plain tensors
    Row(l1, of(X.tolist(), T), "try torch.as_tensor(input)", {"input": "torch.as_tensor(input)"}, of(X, T)),
    Row(l1, of(X, T.tolist()), "try torch.as_tensor(target, device=input.device)", {"target": "torch.as_tensor(target, device=input.device)"}, of(X, T)),
    Row(l1, of(X, T, mask=M.tolist()), "try torch.as_tensor(mask, d", {"mask": "torch.as_tensor(mask, device=input.device)"}, dict(mask=M)),
    Row(l1, of(X.to_sparse(), T), "try input.to_dense()", {"input": "input.to_dense()"}, of(X, T)),
    Row(l1, of(X, T, sample_weight=T.to_mkldnn()), "try sample_weight.to_dense()", {"sample_weight": "sample_weight.to_dense()"}, dict(sample_weight=T)),
    Row(
        l1, of(QUANTISED, T), "try input.dequantize()", {"input": "input.dequantize()"},
        of(QUANTISED.dequantize(), T),
    ),
    Row(l1, of(X, T.to(torch.float8_e5m2)), "try target.float()", {"target": "target.float()"}, of(X, T.to(torch.float8_e5m2).float())),
    Row(
        l1, of(MASKED, T), "try input.get_data(), and give what it leaves out as mask=", {"input": "input.get_data()", "mask": M}, of(X, T, mask=M)
    ),
    Row(
        l1, of(NESTED, PADDED + 1), "try torch.nested.to_padded_tensor(input, 0), and give what it leaves out as mask=",
        {"input": "torch.nested.to_padded_tensor(input, 0)", "mask": THERE}, of(PADDED, PADDED + 1, mask=THERE),
    ),
    Row(l1, of(X.to("meta"), T), "for shapes alone, try target.to('meta')", {"target": "target.to('meta')"}, of(X.to("meta"), T.to("meta"))),
    # dtypes, gradients
    Row(l1, of(X.long(), T.long()), "try input.float()", {"input": "input.float()"}, of(X.long().float(), T.long())),
    Row(l1, of(X.long(), T), "else try input.float()", {"input": "input.float()"}, of(X.long().float(), T)),
    Row(ce, of(L, X), "if they are swapped, exchange them", of(X, L), of(X, L)),
    Row(bce, of(M.long(), HALF), "if they are swapped, exchange them", of(HALF, M.long()), of(HALF, M)),
    Row(iou, of(BOXES, OTHERS.round().long()), "try target.float()", {"target": "target.float()"}, of(BOXES, OTHERS.round())),
    Row(kl, of(X, ONE), "try target.float()", {"target": "target.float()"}, of(X, L), ce),
    Row(ce, of(X, L.float()), "try target.long()", {"target": "target.long()"}, of(X, L)),
    Row(l1, of(X, T, mask=M.float()), "try mask.bool()", {"mask": "mask.bool()"}, dict(mask=M)),
    Row(l1, of(X, T, mask=T), "or sample_weight= for weights", {"mask": OUT, "sample_weight": T}, of(X, T, sample_weight=T, mask=OUT)),
    Row(losskit.pairwise_iou, dict(a=BOXES.round().long(), b=OTHERS), "try a.float()", {"a": "a.float()"}, dict(a=BOXES.round(), b=OTHERS)),
    Row(
        kl, of(X, T / T.sum(1)[:, None], temperature=torch.tensor(2)), "try temperature.float()", {"temperature": "temperature.float()"},
        of(X, T / T.sum(1)[:, None], temperature=2.0),
    ),
    Row(
        focal, of(X, torch.tensor([2, -100]), task="multiclass", gamma=W), "give gamma[target.clamp(min=0)]", {"gamma": "gamma[target.clamp(min=0)]"},
        of(X[:1], L[:1], task="multiclass", gamma=2.0),
    ),
    Row(losskit.kl_normal_loss, of(X, T), "try log_var=0.0", {"log_var": 0.0}, of(X, T, log_var=torch.zeros(2, 3))),
    # numbers outside a range
    Row(
        losskit.huber_loss, of(X, T, delta=torch.tensor(-1.0)), "try torch.nn.functional.softplus(delta)", {"delta": "torch.nn.functional.softplus(delta)"},
        of(X, T, delta=math.log1p(math.exp(-1.0))),
    ),
    Row(
        losskit.barron_loss, of(X, T, alpha=torch.tensor(5.0)), "for a free parameter between 0 and 2, try 2 * torch.sigmoid(alpha)", {"alpha": "2 * torch.sigmoid(alpha)"},
        of(X, T, alpha=2 / (1 + math.exp(-5.0))),
    ),
    Row(
        ce, of(X, L, label_smoothing=torch.tensor(2.0)), "for a free parameter, try torch.sigmoid(label_smoothing)", {"label_smoothing": "torch.sigmoid(label_smoothing)"},
        of(X, L, label_smoothing=1 / (1 + math.exp(-2.0))),
    ),
    Row(losskit.barron_loss, of(X, T, alpha=torch.full((4097, 1, 1), 1.0), nll=True), "or leave nll=False", {"nll": False, "alpha": 1.0}, of(X, T, alpha=1.0, nll=False)),
    Row(losskit.hinge_loss, of(X, M.float()), "try target * 2 - 1", {"target": "target * 2 - 1"}, of(X, torch.where(M, 1.0, -1.0))),
    Row(losskit.mape_loss, of(X, M.float()), "pass mask=target != 0", {"mask": M}, of(X, M.float(), mask=M)),
    *(
        Row(function, of(AMOUNTS, AMOUNTS.flip(1).abs(), log_input=False), "log_input=True, or softplus(input)", {"log_input": True}, of(AMOUNTS, AMOUNTS.flip(1).abs(), log_input=True))
        for function in (losskit.poisson_nll_loss, losskit.gamma_nll_loss, losskit.tweedie_loss)
    ),
    *(
        Row(function, of(AMOUNTS.abs(), AMOUNTS), f"pass mask=target {sign} 0", {"mask": AMOUNTS > 0}, of(AMOUNTS.abs(), AMOUNTS, mask=AMOUNTS > 0))
        for function, sign in ((losskit.poisson_nll_loss, ">="), (losskit.gamma_nll_loss, ">"), (losskit.tweedie_loss, ">="))
    ),
    Row(losskit.msle_loss, of(torch.tensor([-2.0, 3.0]), W[:2]), "pass mask=input > -1", {"mask": M[0, 1:]}, of(torch.tensor([0.0, 3.0]), W[:2], mask=M[0, 1:])),
    Row(
        losskit.distribution_focal_loss, of(X, torch.tensor([0.5, 1.5], requires_grad=True)), "try target.detach()", {"target": "target.detach()"},
        of(X, torch.tensor([0.5, 1.5])),
    ),
    Row(lovasz, of(V, K.clone().requires_grad_(), task="multilabel"), "Try target.detach()", {"target": "target.detach()"}, of(V, K)),
    Row(
        losskit.focal_loss, of(X, T.round(), task="multilabel", alpha=(W / 2).requires_grad_()), "try alpha.detach()", {"alpha": "alpha.detach()"},
        dict(alpha=W / 2),
    ),
    Row(losskit.quantile_loss, of(X, T, quantile=0.3, crossing=1.0), "leave crossing out, or give a list", {"crossing": OUT}, of(X, T, quantile=0.3, crossing=0.0)),
    Row(
        losskit.quantile_loss, of(X, T, quantile=[0.9, 0.5, 0.1], crossing=1.0), "sort quantile, and the input's last axis alike",
        of(X.flip(-1), T.flip(-1), quantile=[0.1, 0.5, 0.9]),
        of(X.flip(-1), T.flip(-1), quantile=[0.1, 0.5, 0.9], crossing=1.0),
    ),
    Row(
        losskit.quantile_loss, of(X, T, quantile=(W / 4).requires_grad_()), "try quantile.detach()", {"quantile": "quantile.detach()"}, of(X, T, quantile=W / 4)
    ),
    Row(
        l1, of(X, T, normalizer=torch.tensor(2.0, requires_grad=True)), "try normalizer.detach()", {"normalizer": "normalizer.detach()"}, dict(normalizer=2.0)
    ),
    Row(l1, of(X, T, normalizer=torch.ones(1) * 2), "try normalizer.squeeze()", {"normalizer": "normalizer.squeeze()"}, dict(normalizer=2.0)),
    Row(l1, of(X, T, normalizer=W), "try normalizer.sum()", {"normalizer": "normalizer.sum()"}, dict(normalizer=3.5)),
    Row(
        l1, of(X, T, normalizer=torch.tensor(2.0, device="meta")), "try normalizer=input.numel(), or its own count", {"normalizer": "input.numel()"}, {"normalizer": 6}
    ),
    # shapes of elementwise losses, which pair number with number
    Row(l1, of(S, B), "Try target.unsqueeze(1)", {"target": "target.unsqueeze(1)"}, of(S[:, 0], B)),
    Row(l1, of(S[:, 0], B[:, None]), "Try target.squeeze(1)", {"target": "target.squeeze(1)"}, of(S[:, 0], B)),
    Row(dice, of(S, B, task="binary"), "Try target.unsqueeze(1)", {"target": "target.unsqueeze(1)"}, of(S[:, 0], B)),
    Row(l1, of(V, K.movedim(1, -1)), "Try target.movedim(3, 1), if its axes", {"target": "target.movedim(3, 1)"}, of(V, K)),
    Row(l1, of(X, T.flatten()), "Try target.reshape(input.shape), if the order", {"target": "target.reshape(input.shape)"}, of(X, T)),
    Row(
        logits, of(TWO[:2], B), "Try target.unsqueeze(1).expand_as(input), if one target for all 2 channels", {"target": "target.unsqueeze(1).expand_as(input)"},
        of(TWO[:2], torch.stack((B, B), 1)),
    ),
    Row(l1, of(X, T[:1]), "Try target.expand_as(input), if one target", {"target": "target.expand_as(input)"}, of(X, torch.cat((T[:1], T[:1])))),
    Row(l1, of(X[:1], T), "Try input.expand_as(target), if one input", {"input": "input.expand_as(target)"}, of(torch.cat((X[:1], X[:1])), T)),
    Row(l1, of(X, T[:, :2]), "Check that both come from the same batch", {"target": T}, of(X, T)),
    Row(l1, of(X[:, :1].expand(2, 2), torch.ones(3, 1, 2)), "Check that both come from the same batch", {"target": T[:, :2]}, of(X[:, :1].expand(2, 2), T[:, :2])),
    Row(
        l1, of(V, K, mask=B.bool()), "For one value for all 3 channels, try mask.unsqueeze(1)", {"mask": "mask.unsqueeze(1)"},
        dict(mask=torch.stack((B, B, B), 1).bool()),
    ),
    Row(
        l1, of(X, T, sample_weight=W[:2]), "For one value per sample, try sample_weight.reshape(-1, 1)", {"sample_weight": "sample_weight.reshape(-1, 1)"},
        dict(sample_weight=torch.tensor([[1.0] * 3, [0.5] * 3])),
    ),
    Row(logits, of(X, T, weight=W[:2]), "For one number per sample, try weight.reshape(-1, 1)", {"weight": "weight.reshape(-1, 1)"}, dict(weight=W[:2, None].expand(2, 3))),
    Row(
        logits, of(V, K, weight=W.new_tensor([1, 2, 3, 4])), "For one number for each place along axis 2, try weight.reshape(1, 1, -1, 1)",
        {"weight": "weight.reshape(1, 1, -1, 1)"}, dict(weight=torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None].expand(4, 5)),
    ),
    # values
    Row(bce, of(X, M), "for logits, call binary_cross_entropy_with_logits", {"call": logits}, of(X, M), logits),
    Row(focal, of(X, M, from_logits=False), "for logits, leave from_logits=True", {"from_logits": True}, of(X, M, from_logits=OUT)),
    Row(
        l1, of(X, T, sample_weight=torch.tensor([1.0, INF, 1.0])), "To leave items out, use mask= (True = counts)",
        {"sample_weight": OUT, "mask": torch.tensor([True, False, True])}, of(X[:, ::2], T[:, ::2], sample_weight=OUT),
    ),
    Row(l1, of(X, T, sample_weight=-T), 'or take reduction="sum"', {"reduction": "sum"}, of(X, T, sample_weight=-T, reduction="sum")),
    Row(l1, of(X, T, sample_weight=-T), "give the denominator, normalizer=", {"normalizer": 6}, of(X, T, sample_weight=-T, normalizer=6.0)),
    Row(
        l1, of(X, T, sample_weight=T.double() * 1e300), "try sample_weight / sample_weight.max()", {"sample_weight": "sample_weight / sample_weight.max()"},
        dict(sample_weight=T),
    ),
    Row(l1, of(X, T, sample_weight=T * 1e38), "multiply sample_weight by a constant, the mean stays the same", {"sample_weight": T * 1e-3}, dict(sample_weight=T)),
    Row(ce, of(X, L, weight=W / torch.tensor([1.0, 0.0, 1.0])), "To leave a class out, give it weight 0", {"weight": W * torch.tensor([1, 0, 1])}, dict(weight=W * torch.tensor([1.0, 0.0, 1.0]))),
    Row(ce, of(X, torch.tensor([2, 255])), "If 255 marks items to leave out, pass ignore_index=255", {"ignore_index": 255}, of(X[:1], L[:1])),
    Row(bce, of(HALF, ONE * 255), "If 255 marks what to leave out, pass ignore_index=255", {"ignore_index": 255}, of(HALF, ONE, mask=ONE != 1)),
    Row(bce, of(HALF, ONE * 255), "or mask=target != 255", {"mask": "target != 255"}, of(HALF, ONE, mask=ONE != 1)),
    Row(ce, of(X, P, ignore_index=1), "leave items out with mask= (True = counts)", {"ignore_index": OUT, "mask": L > 0}, of(X[:1], P[:1], ignore_index=OUT)),
    Row(
        dice, of(X, P + torch.tensor([[0.0], [7.0]]), task="multiclass"), "To leave an item out, use mask= (True = counts), without the class axis",
        {"mask": L > 0}, of(X[:1], P[:1]),
    ),
    Row(losskit.quantile_loss, of(X, T[:, :1], quantile=[0.1, 0.5, 0.9]), "try target.squeeze(-1)", {"target": "target.squeeze(-1)"}, of(X, T[:, 0])),
    Row(
        losskit.distribution_focal_loss, of(X, torch.tensor([0.5, 2.5])), "Try target.clamp(0, 2)", {"target": "target.clamp(0, 2)"},
        of(X, torch.tensor([0.5, 2.0])),
    ),
    Row(
        losskit.distribution_focal_loss, of(X, torch.tensor([0.5, 2.5])), "leave such items out with mask= (True = counts)",
        {"mask": torch.tensor([True, False])}, of(X[:1], torch.tensor([0.5])),
    ),
    # rows
    Row(ce, of(X, ONE), "For one-hot labels, try target.argmax(1)", {"target": "target.argmax(1)"}, of(X, L)),
    Row(ce, of(X, ONE), "for probabilities, target.float()", {"target": "target.float()"}, of(X, L)),
    Row(losskit.poly_loss, of(X, P), "This loss takes labels only: try target.argmax(1)", {"target": "target.argmax(1)"}, of(X, torch.tensor([0, 1]))),
    Row(losskit.poly_loss, of(X, P), "cross_entropy takes probabilities", {"call": ce}, of(X, P), ce),
    Row(ce, of(X, L[:, None]), "Try target.squeeze(1)", {"target": "target.squeeze(1)"}, of(X, L)),
    Row(ce, of(V, K.movedim(1, -1)), "For one-hot labels along axis 3, try target.argmax(3)", {"target": "target.argmax(3)"}, of(V, K.argmax(1))),
    Row(ce, of(V.movedim(1, -1), PLACES), "Try dim=3, if the classes are there", {"dim": 3}, of(V, PLACES)),
    Row(ce, of(V, PLACES.mT), "Try target.movedim(1, 2), if its axes", {"target": "target.movedim(1, 2)"}, of(V, PLACES)),
    Row(ce, of(V, PLACES.flatten()), "Try target.reshape(2, 4, 5), if the order", {"target": "target.reshape(2, 4, 5)"}, of(V, PLACES)),
    Row(ce, of(X, L[:1]), "Check that both come from the same batch", {"target": L}, of(X, L)),
    Row(
        losskit.distribution_focal_loss, of(torch.cat((X, X), 1), torch.ones(2, 2) / 2), "try input.unflatten(1, (2, -1)) and dim=2",
        {"input": "input.unflatten(1, (2, -1))", "dim": 2}, of(torch.cat((X, X)), torch.ones(4) / 2),
    ),
    Row(losskit.distribution_focal_loss, of(X[:, :1], torch.zeros(2)), "try more of them", {"input": X}, of(X, torch.zeros(2))),
    Row(kl, of(X, T), "Try target / target.sum(1, keepdim=True)", {"target": "target / target.sum(1, keepdim=True)"}, of(X, T / T.sum(1)[:, None])),
    Row(kl, of(X, M.float()), "for class labels give integers, without the class axis", {"target": L, "call": ce}, of(X, L), ce),
    Row(ce, of(HALF, L, from_logits=False), "Try input / input.sum(1, keepdim=True)", {"input": "input / input.sum(1, keepdim=True)"}, of(HALF / HALF.sum(1)[:, None], L)),
    Row(ce, of(X, L, from_logits=False), "leave from_logits=True for scores", {"from_logits": True}, of(X, L, from_logits=OUT)),
    Row(nll, of(X, L), "Try input.log_softmax(1)", {"input": "input.log_softmax(1)"}, of(X, L), ce),
    Row(ce, of(X.log_softmax(1), L, log_input=True), "add from_logits=False", {"from_logits": False}, of(X, L, log_input=OUT)),
    Row(ce, of(X, L, from_logits=False, z_loss=0.1), "leave from_logits=True", {"from_logits": True}, of(X, L, z_loss=0.1, from_logits=OUT)),
    Row(ce, of(X[:, :1], M[:, 0].long()), "try binary_cross_entropy_with_logits(input.squeeze(1), target)", {"call": "binary_cross_entropy_with_logits(input.squeeze(1), target)"}, of(X[:, 0], M[:, 0]), logits),
    Row(kl, of(X[:, :1], T[:, :1]), "try binary_cross_entropy_with_logits(input, target)", {"call": "binary_cross_entropy_with_logits(input, target)"}, of(X[:, :1], T[:, :1]), logits),
    Row(kl, of(X[:, :1], T[:, :1].log(), log_target=True), "try binary_cross_entropy_with_logits(input, target.exp())", {"call": "binary_cross_entropy_with_logits(input, target.exp())"}, of(X[:, :1], T[:, :1]), logits),
    Row(
        losskit.entropy, dict(input=X[:, :1]), "try torch.cat((torch.zeros_like(input), input), 1)", {"input": "torch.cat((torch.zeros_like(input), input), 1)"},
        of(X[:, 0], X[:, 0].sigmoid()), logits,
    ),
    Row(ce, of(HALF[:, :1], M[:, 0].long(), from_logits=False), "try torch.cat((1 - input, input), 1)", {"input": "torch.cat((1 - input, input), 1)"}, of(HALF[:, 0], M[:, 0]), bce),
    Row(
        nll, of(HALF[:, :1].log(), M[:, 0].long()), "try torch.cat(((-input.expm1()).log(), input), 1)", {"input": "torch.cat(((-input.expm1()).log(), input), 1)"},
        of(HALF[:, 0], M[:, 0]), bce,
    ),
    Row(focal, of(X[:, :1], M[:, 0].long(), task="multiclass"), 'try input.squeeze(1) and task="binary"', {"input": "input.squeeze(1)", "task": "binary"}, of(X[:, 0], M[:, 0], task="binary")),
    Row(focal, of(X[0], M[0], task="multilabel"), 'try task="binary"', {"task": "binary"}, of(X[:1], M[:1])),
    Row(focal, of(X, M, task="binary", dim=0), "leave dim out", {"dim": OUT}, of(X, M, dim=OUT)),
    Row(kl, of(V, K.softmax(1), reduction="batchmean"), 'try reduction="mean", over all rows', {"reduction": "mean"}, dict(reduction="mean")),
    Row(
        kl, of(V, K.softmax(1), reduction="batchmean"), 'try reduction="mean", over all rows, or add normalizer=input.shape[0] to it',
        {"reduction": "mean", "normalizer": "input.shape[0]"}, dict(reduction="mean", normalizer=2.0),
    ),
    # overlap
    Row(dice, of(X[0], L[:1], task="multiclass"), "try input[None]", {"input": "input[None]"}, of(X[:1], L[:1])),
    Row(
        dice, of(V[:, :1], PLACES.clamp(max=1), task="multiclass"), 'try input.squeeze(1) and task="binary"', {"input": "input.squeeze(1)", "task": "binary"},
        of(V[:, 0], PLACES.clamp(max=1), task="binary"),
    ),
    Row(
        dice, of(V[:, :1], V[:, :1].sigmoid(), task="multiclass"), 'For one score per item, try task="binary"', {"task": "binary"},
        of(V[:, 0], V[:, 0].sigmoid(), task="binary"),
    ),
    Row(dice, of(V, PLACES, task="multilabel"), 'for class labels, try task="multiclass"', {"task": "multiclass"}, of(V, PLACES, task="multiclass")),
    Row(dice, of(TWO[:2], B.long(), task="binary"), 'try task="multiclass"', {"task": "multiclass"}, of(TWO[:2], B.long(), task="multiclass")),
    Row(
        dice, of(TWO[:2], B, task="binary"), "or input.select(1, 1) - input.select(1, 0)", {"input": "input.select(1, 1) - input.select(1, 0)"},
        of(TWO[:2, 1] - TWO[:2, 0], B),
    ),
    Row(dice, of(V, K, task="multilabel", background=False), "leave background out", {"background": OUT}, dict(background=OUT)),
    Row(boundary, of(V, K, task="multilabel", background=False), "leave background out", {"background": OUT}, dict(background=OUT)),
    Row(
        dice, of(TWO[:2, :, 0], K[:, :2, 0], task="multilabel", mask=torch.eye(2, 5).bool()),
        "try mask.expand(2, 5).unsqueeze(1) for positions", {"mask": "mask.expand(2, 5).unsqueeze(1)"}, dict(mask=torch.stack((torch.eye(2, 5).bool(),) * 2, 1)),
    ),
    Row(
        dice, of(TWO[:2, :, 0], K[:, :2, 0], task="multilabel", mask=torch.eye(2, 5).bool()),
        "mask.expand(2, 2, 5) for numbers", {"mask": "mask.expand(2, 2, 5)"}, dict(mask=torch.stack((torch.eye(2, 5).bool(),) * 2, 0)),
    ),
    Row(lovasz, of(V, K.softmax(1), task="multiclass"), "Try target.argmax(1)", {"target": "target.argmax(1)"}, of(V, K.argmax(1))),
    *(
        Row(f, of(x, hot, **how), f"target.long().argmax({axis})", {"target": f"target.long().argmax({axis})"}, of(x, hot.long().argmax(axis)))  # torch has none of bool
        for f, x, hot, axis, how in (
            (lovasz, V, K > 0, 1, {"task": "multiclass"}), (boundary, V, K > 0, 1, {"task": "multiclass"}), (nll, X.log_softmax(1), ONE > 0, 1, {}),
            (nll, V.log_softmax(1), (K > 0).movedim(1, -1), 3, {}),
        )
    ),
    Row(ce, of(X, L, weight=2.0), "Give a list with one number for each class", {"weight": [2.0, 2.0, 2.0]}, dict(weight=torch.full((3,), 2.0))),
    Row(logits, of(X, M, pos_weight=2.0), "Give a list with one number for each class", {"pos_weight": [2.0, 2.0, 2.0]}, dict(pos_weight=torch.tensor(2.0))),
    Row(lovasz, of(V, K / 2 + 0.25, task="multilabel"), "Try target > 0.5", {"target": "target > 0.5"}, of(V, K)),
    # boxes
    Row(iou, of(BOXES, OTHERS, mask=torch.ones(2, 4, dtype=torch.bool)), "try mask[..., 0]", {"mask": "mask[..., 0]"}, dict(mask=torch.ones(2, dtype=torch.bool))),
    Row(losskit.pairwise_iou, dict(a=BOXES[0], b=OTHERS), "for a single box, try a[None]", {"a": "a[None]"}, dict(a=BOXES[:1], b=OTHERS)),
    Row(
        losskit.pairwise_iou, dict(a=torch.stack((BOXES, OTHERS)), b=OTHERS), "Try b.expand(2, 2, 4)", {"b": "b.expand(2, 2, 4)"},
        dict(a=torch.stack((BOXES, OTHERS)), b=torch.stack((OTHERS, OTHERS))),
    ),
    # scores that are a product
    Row(linear, of_head(HEAD.t()), "try linear_weight.t()", {"linear_weight": "linear_weight.t()"}, of_head(HEAD)),
    Row(linear, of_head(HEAD.double()), "try input.to(torch.float64)", {"input": "input.to(torch.float64)"}, of_head(HEAD.double()) | dict(input=HIDDEN.double())),
    Row(linear, of_head(HEAD.bfloat16()), "try linear_weight.to(torch.float32)", {"linear_weight": "linear_weight.to(torch.float32)"}, of_head(HEAD.bfloat16().float())),
    Row(losskit.linear_log_prob, of_head(HEAD, top_k=2), "leave top_k out", {"top_k": OUT}, of_head(HEAD, top_k=0)),
    Row(
        lambda *a, **k: losskit.linear_log_prob(*a, **k)[1].top.values, of_head(HEAD, top_k=2, return_parts=False), "add return_parts=True", {"return_parts": True},
        of_head(HEAD, top_k=2, return_parts=True),
    ),
    Row(linear, of_head(HEAD, chunk=0), "leave it out", {"chunk": OUT}, dict(chunk=OUT)),
    Row(linear, of_head(HEAD, linear_bias=W[:, None]), "expected one number for each of the 3 classes: (3,)", {"linear_bias": W}, of_head(HEAD, linear_bias=W)),
    Row(linear, of_head(HEAD, input=HIDDEN.long()), "try input.float()", {"input": "input.float()"}, of_head(HEAD, input=HIDDEN.long().float())),
    Row(
        linear, of_head(HEAD, target=P, shift=True), "shift it yourself", {"shift": OUT, "target": P.roll(-1, 0), "mask": torch.tensor([True, False])},
        of_head(HEAD, input=HIDDEN[:1], target=P[1:]) | dict(shift=OUT),
    ),
    Row(
        ce, of(losskit.linear_scores(HIDDEN.expand(2, 2, 4), HEAD), L.expand(2, 2), dim=1), "give dim=-1", {"dim": -1},
        of((HIDDEN @ HEAD.t()).expand(2, 2, 3), L.expand(2, 2), dim=-1),
    ),
    Row(ce, of(losskit.linear_scores(HIDDEN, HEAD), L, inplace=True), "Leave inplace out", {"inplace": OUT}, of(HIDDEN @ HEAD.t(), L)),
    Row(
        losskit.kl_divergence, of(losskit.linear_scores(HIDDEN, HEAD), losskit.linear_probabilities(HIDDEN, HEAD), log_target=True), "leave log_target out",
        {"log_target": OUT}, of(HIDDEN @ HEAD.t(), torch.softmax(HIDDEN @ HEAD.t(), 1), log_target=False),
    ),
    Row(losskit.multi_margin_loss, of(losskit.linear_scores(HIDDEN, HEAD), L, dim=-1), "try its method whole()", {"input": HIDDEN @ HEAD.t()}, of(HIDDEN @ HEAD.t(), L, dim=-1)),
    # cosines, and a sample of the classes
    Row(arcface, of(COSINES, L, margin=28.6), "try math.radians(28.6)", {"margin": "math.radians(28.6)"}, of(COSINES, L, margin=28.6 / 180 * math.pi)),
    Row(
        arcface, of(4 * HIDDEN @ HEAD.t(), L), "try F.linear(F.normalize(x, dim=-1), F.normalize(weight, dim=-1))",
        {"input": torch.nn.functional.linear(torch.nn.functional.normalize(4 * HIDDEN, dim=-1), torch.nn.functional.normalize(HEAD, dim=-1))}, of(COSINES, L),
    ),
    Row(
        losskit.cosface_loss, of(losskit.linear_scores(4 * HIDDEN, HEAD), L), "try linear_scores(F.normalize(x, dim=-1), F.normalize(weight, dim=-1))",
        {"input": losskit.linear_scores(torch.nn.functional.normalize(4 * HIDDEN, dim=-1), torch.nn.functional.normalize(HEAD, dim=-1))}, of(COSINES, L),
    ),
    Row(
        lambda **k: losskit.sampled_classes(**k).target, dict(target=L.float(), num_classes=3, rate=1.0), "try target.long()", {"target": "target.long()"},
        dict(target=L),
    ),
    # distances
    Row(losskit.distance_map, dict(labels=B.long(), task="binary", dim=2), "leave dim out", {"dim": OUT}, dict(dim=OUT)),
    Row(losskit.distance_map, dict(labels=B, task="binary"), "try labels.long()", {"labels": "labels.long()"}, dict(labels=B > 0)),
    Row(losskit.distance_map, dict(labels=B.long()[0, 0], num_classes=2, dim=0), "try labels[None]", {"labels": "labels[None]", "dim": 1}, dict(labels=B.long()[:1, 0], dim=1)),
    Row(losskit.distance_map, dict(labels=B.long()[0, 0], task="binary"), "try labels[None]", {"labels": "labels[None]"}, dict(labels=B.long()[:1, 0])),
    Row(losskit.distance_map, dict(labels=B.long(), task="binary", spacing=2.0), "try spacing=[2.0, 2.0]", {"spacing": "[2.0, 2.0]"}, dict(spacing=[2.0, 2.0])),
    Row(
        losskit.distance_map, dict(labels=B.long() * 255, num_classes=2), "If 255 marks what is unknown, pass ignore_index=255", {"ignore_index": 255},
        dict(ignore_index=255),
    ),
    Row(boundary, of(V, K.long() * 7, task="multilabel"), "for distances in integers, try target.float()", {"target": "target.float()"}, of(V, K * 7)),
    Row(boundary, of(V, K.long(), task="multiclass"), "for one-hot labels, try target.argmax(1)", {"target": "target.argmax(1)"}, of(V, K.argmax(1))),
    Row(boundary, of(V, K.long(), task="multiclass"), "for distances in integers, target.float()", {"target": "target.float()"}, of(V, K)),
    Row(
        boundary, of(V, K, task="multilabel", ignore_index=1), "leave positions out with mask= (True = counts)", {"ignore_index": OUT, "mask": K != 1},
        of(V, K, mask=K != 1, ignore_index=OUT),
    ),
    Row(
        boundary, of(V, K, task="multilabel", spacing=[2.0, 1.0]), "give it to losskit.distance_map, which makes the distances",
        {"target": losskit.distance_map(K.long(), task="multilabel", spacing=[2.0, 1.0]), "spacing": OUT}, of(V, K.long(), task="multilabel", spacing=[2.0, 1.0]),
    ),
    Row(
        boundary, of(V.to("meta"), K.long().to("meta"), task="multilabel"), "give distances, made by losskit.distance_map", {"target": K.to("meta")},
        of(V.to("meta"), K.to("meta")),
    ),
    # sets of classes
    Row(mlm, of(X, ONE), "try target.bool()", {"target": "target.bool()"}, of(X, ONE > 0)),
    Row(mlm, of(X, ONE.double()), "try target.bool()", {"target": "target.bool()"}, of(X, ONE > 0)),
    Row(
        mlm, of(X, torch.tensor([[2, 255, 255], [1, 0, 255]])), "try target.masked_fill(target == 255, -1)", {"target": "target.masked_fill(target == 255, -1)"},
        of(X, torch.tensor([[2, -1, -1], [1, 0, -1]])),
    ),
    *(
        Row(
            mlm, of(x, torch.tensor([[2, -1], [1, 0]]).movedim(1, dim), dim=dim), f"try torch.nn.functional.pad(target, {room}, value=-1)",
            {"target": f"torch.nn.functional.pad(target, {room}, value=-1)"}, of(x, torch.tensor([[2, -1, -1], [1, 0, -1]]).movedim(1, dim)),
        )
        for x, dim, room in ((X, 1, (0, 1)), (X.T, 0, (0, 0, 0, 1)))
    ),
    Row(mlm, of(X, L), "try multi_margin_loss(input, target)", {"call": "multi_margin_loss(input, target)"}, of(X, L), losskit.multi_margin_loss),
    Row(mlm, of(X.T, L, dim=0), "try multi_margin_loss(input, target, dim=0)", {"call": "multi_margin_loss(input, target, dim=0)"}, of(X, L), losskit.multi_margin_loss),
    Row(mlm, of(X[:, :1], M[:, :1]), f"try {ONE_LOGIT})", {"call": f"{ONE_LOGIT})"}, of(X[:, :1], M[:, :1]), logits),
    Row(mlm, of(X[:, :1], M[:, :1].long() - 1), f"try {ONE_LOGIT} != -1)", {"call": f"{ONE_LOGIT} != -1)"}, of(X[:, :1], M[:, :1]), logits),
    # settings
    *(
        Row(f, of(x, t, normalizer=3.0, reduction="sum"), "divide the result instead", {"normalizer": OUT, "result": lambda y: y / 3.0}, of(x, t, normalizer=3.0, reduction="mean"))
        for f, x, t in ((l1, X, T), (ce, X, L), (iou, BOXES, OTHERS), (kl, X, P))
    ),
    Row(
        ce, of(X.softmax(1), L, from_logits=False, normalizer=3.0, reduction="sum"), "divide the result instead", {"normalizer": OUT, "result": lambda y: y / 3.0},
        of(X, L, from_logits=True, normalizer=3.0, reduction="mean"),
    ),
    *(
        Row(
            f, of(V, PLACES, task="multiclass", normalizer=3.0, average="none"), "divide the result instead",
            {"normalizer": OUT, "result": lambda y: y.sum() / 3.0}, of(V, PLACES, task="multiclass", normalizer=3.0, average="macro"),
        )
        for f in (dice, lovasz)
    ),
    Row(
        losskit.dice_ce_loss, of(V, PLACES, task="multiclass", average="none"), "use the two losses apart", {"average": "macro"},
        of(V, PLACES, task="multiclass", average="macro"),
    ),
    Row(
        losskit.quantile_loss, dict(input=X, target=T[:, 0], quantile=[0.1, 0.9]), "For one quantile of all, give a number", {"quantile": 0.1, "target": T},
        of(X, T, quantile=0.1),
    ),
    Row(ce, of(X, P, inplace=True), "Leave inplace out", {"inplace": OUT}, of(X, P, inplace=False)),
    Row(ce, of(X.clone().requires_grad_(), L, inplace=True), "Leave inplace out", {"inplace": OUT}, of(X, L, inplace=False)),
    Row(ce, of(X.sigmoid(), L, weight=W.clone().requires_grad_(), inplace=True), "try weight.detach()", {"weight": "weight.detach()"}, of(X.sigmoid(), L, weight=W, inplace=True)),
    Row(ce, of(X.sigmoid(), L, weight=W.clone().requires_grad_(), inplace=True), "or leave inplace out", {"inplace": OUT}, of(X.sigmoid(), L, weight=W, inplace=False)),
    Row(ce, of(X.half(), L, inplace=True), "Leave inplace out", {"inplace": OUT}, of(X.half(), L, inplace=False)),
    Row(ce, of(X.as_subclass(type("Named", (Tensor,), {})), L, inplace=True), "Leave inplace out", {"inplace": OUT}, of(X, L, inplace=False)),
    Row(ce, of(X.repeat(1, 2)[:, ::2], L, inplace=True), "try input.contiguous()", {"input": "input.contiguous()"}, of(X.repeat(1, 2)[:, ::2], L, inplace=False)),
    Row(losskit.Entropy(), of(X, X), "call module(input)", {"target": OUT}, dict(input=X, target=OUT)),
    Row(lambda **k: losskit.MSELoss(mask=k.pop("mask"))(**k), of(X, T, mask=M), "(give it when calling the module)", {"call": losskit.MSELoss()}, of(X, T, mask=M), losskit.MSELoss()),
    Row(lambda weight, **k: losskit.CrossEntropyLoss(weight=weight)(**k), of(X, L, weight=W[:1]), "give at least two, or leave it out", {"weight": None}, of(X, L, weight=None)),
    Row(lambda weight, **k: losskit.CrossEntropyLoss(weight)(**k), of(X, L, weight=W), "write CrossEntropyLoss(weight=...)", {"call": losskit.CrossEntropyLoss(weight=W), "weight": OUT}, of(X, L), losskit.CrossEntropyLoss(weight=W)),
    Row(lambda **k: losskit.HuberLoss("sum", 2.0)(**k), of(X, T), "write HuberLoss(reduction='sum', delta=2.0)", {"call": losskit.HuberLoss(reduction="sum", delta=2.0)}, of(X, T), losskit.HuberLoss(reduction="sum", delta=2.0)),
    Row(lambda input, target: losskit.MSELoss(input, target), of(X, T), "write MSELoss()(input, target)", {"call": losskit.MSELoss()}, of(X, T), losskit.MSELoss()),
    # hard mining
    Row(mining, {}, "try TopK(0.2)", {"keep": "0.2"}, dict(keep=0.2)),
    Row(mining, dict(keep=0), "for a share give a float in (0, 1]", {"keep": 0.5}, dict(keep=0.5)),
    Row(mining, dict(keep=70.0), "for 70 percent try 0.7", {"keep": "0.7"}, dict(keep=0.7)),
    Row(mining, dict(keep=0.5, threshold=INF), "leave it out to keep a share alone", {"threshold": OUT}, dict(threshold=None)),
    Row(
        lambda **k: l1(X[0, 0], T[0, 0], reduction=losskit.TopK(0.5, **k)), dict(per="sample"), "leave per out", {"per": OUT}, dict(per="batch"),
    ),
    Row(
        lambda reduction="mean", count=1, **k: losskit.varifocal_loss(X, T, reduction=losskit.TopK(4, reduction=reduction), **k) / count,
        dict(normalizer="positives"), 'try TopK(..., reduction="sum"), and divide by the count', {"normalizer": OUT, "reduction": "sum", "count": 3},
        dict(normalizer=3.0), lambda normalizer: losskit.varifocal_loss(X, T, reduction=losskit.TopK(4), normalizer=normalizer),
    ),
    Row(
        lambda **k: dice(V, K, task="binary", **k), dict(reduction=losskit.TopK(0.5)), "mine a loss of items, such as cross_entropy, and add the two",
        {"reduction": OUT, "result": lambda y: y + logits(V, K, reduction=losskit.TopK(0.5))}, {},
        lambda: (losskit.DiceLoss(task="binary") + losskit.BCEWithLogitsLoss(reduction=losskit.TopK(0.5)))(V, K),
    ),
    Row(
        lambda kind=losskit.WIoUv3Loss: kind(reduction=losskit.TopK(1))(BOXES, OTHERS), {}, "try WIoULoss(reduction=TopK(...))", {"kind": losskit.WIoULoss},
        dict(kind=losskit.WIoULoss),
    ),
    # losses made of losses
    Row(summed, dict(parts=[ABS]), 'write Sum({"dice": (0.5, DiceLoss(...)), ...})', {"parts": {"a": (0.5, ABS)}}, dict(parts={"a": (0.5, ABS)})),
    Row(summed, dict(parts={}), 'write Sum({"dice": (0.5, DiceLoss(...)), ...})', {"parts": {"a": (0.5, ABS)}}, dict(parts={"a": (0.5, ABS)})),
    Row(summed, dict(parts={"a": l1}), "use its module, such as DiceLoss(...) for dice_loss", {"parts": {"a": ABS}}, dict(parts={"a": ABS})),
    Row(summed, dict(parts={"a": (1.0, 0.5, ABS)}), "write (weight, loss), such as (0.5, DiceLoss(...))", {"parts": {"a": (0.5, ABS)}}, dict(parts={"a": (0.5, ABS)})),
    Row(lambda name: summed({name: ABS}), dict(name="keys"), "try 'keys_loss'", {"name": "'keys_loss'"}, dict(name="a")),
    Row(
        lambda names=("a", "a"): (losskit.Sum({names[0]: ABS}) + losskit.Sum({names[1]: SQUARED}))(X, T), {}, "give one of them another name",
        {"names": ("a", "b")}, dict(names=("c", "d")),
    ),
    Row(lambda weight: (weight * ABS)(X, T), dict(weight=torch.tensor(0.5)), "try weight=0.5", {"weight": "0.5"}, dict(weight=0.5)),
    Row(lambda other: (ABS + other)(X, T), dict(other=0.5), "give a loss a weight, 0.5 * loss", {"other": 0.5 * SQUARED}, dict(other=0.5 * SQUARED)),
    Row(
        lambda where: losskit.Sum({"a": ABS}, where={"a": where})(X, T), dict(where=lambda x, t: t), "compare, as in target > 0", {"where": lambda x, t: t > 0.5},
        dict(where=lambda x, t: t > 0.5),
    ),
    Row(stepped, {}, "call loss.set_step(step) before the loss, in each step", {"step": 3}, dict(step=3)),
    Row(
        lambda reduction="none": (ABS + losskit.MSELoss(reduction=reduction))(X, T), {}, 'give both the same reduction, such as reduction="mean"',
        {"reduction": "mean"}, dict(reduction="mean"),
    ),
    Row(
        lambda **k: losskit.Sum({"a": losskit.CrossEntropyLoss(**k)})(X, L), dict(return_parts=True), "leave return_parts out", {"return_parts": OUT},
        dict(return_parts=False),
    ),
    Row(heads, of(X, T), "write loss({'a': output, ...}, {...})", {"input": {"a": X}, "target": {"a": T}}, of({"a": X}, {"a": T})),
    Row(heads, of({"a": X, "b": X}, {"a": T}), "Leave out what is not to be trained", {"input": {"a": X}}, of({"a": X}, {"a": T})),
    Row(deep, dict(outputs=[V], target=K, weights=[0.0]), "leave weights out to have them halve", {"weights": OUT}, dict(weights=None)),
    Row(deep, dict(outputs=[V], target=K, weights=[0.5, 0.5]), "give one for each, or leave weights out", {"weights": OUT}, dict(weights=None)),
    Row(deep, dict(outputs=[V[..., :2], V], target=K), "try outputs[::-1]", {"outputs": "outputs[::-1]"}, dict(outputs=[V, V[..., :2]])),
    Row(deep, dict(outputs=[V, V], target=[K]), "give one for each, or the largest alone, which is resized", {"target": K}, dict(target=K)),
]  # fmt: skip


def arguments(given: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Arguments changed, or left out; tensors copied, for some calls give their memory away."""
    return {name: copied(value) for name, value in (given | changes).items() if value is not OUT}


def copied(x: Any) -> Any:
    return x.clone() if type(x) is Tensor and x.is_contiguous() and not (x.requires_grad or x.is_nested or x.is_quantized) else x


def followed(row: Row, said: str) -> Any:
    """The bad call, with the advice followed: source text is taken out of the message and evaluated, with the arguments for names."""
    fix, names = dict(row.fix), NAMES | arguments(row.bad, {})
    call, after = fix.pop("call", row.function), fix.pop("result", lambda y: y)
    if isinstance(call, str):
        return eval(said[said.index(call) :][: len(call)], names)
    changes = {}
    for name, value in fix.items():
        if isinstance(value, str) and name not in CHOICES:
            assert value in said, f"{value} is not in: {said}"
            value = eval(value, names)
        changes[name] = value
    return after(call(**arguments(row.bad, changes)))


def message(row: Row) -> str:
    """What the bad call says."""
    with pytest.raises((TypeError, ValueError, RuntimeError)) as raised:
        row.function(**arguments(row.bad, {}))
    return str(raised.value)


def engine(given: dict[str, Any]) -> Any:
    """Compiled passes only where a call is about them."""
    return contextlib.nullcontext() if given.get("inplace") is True or "sample_weight" in given else losskit.use_engine("torch")


def of_loops(row):
    """What only loops say: they work in the scores' memory, and sum weights beyond float32's range."""
    return "inplace" in row.bad or row.says.startswith("multiply sample_weight")


def marked(row):
    """One of those in `make test`: each needs loops of its own."""
    marks = [pytest.mark.chosen, *([] if row.says == "try input.contiguous()" else [pytest.mark.thorough])]
    return pytest.param(row, marks=marks) if of_loops(row) else row


@pytest.mark.parametrize("row", [*map(marked, ROWS)], ids=[f"{i}-{row.says}" for i, row in enumerate(ROWS)])
def test_followed_literally_it_works_and_means_what_was_wanted(row):
    with engine(row.bad):
        said = message(row)
    assert row.says in said, said
    with engine(row.bad | row.fix):
        found = followed(row, said)
    with engine(row.bad | row.meant):
        wanted = (row.another or row.function)(**arguments({} if row.another else row.bad, row.meant))
    if found.is_meta:
        assert found.shape == wanted.shape and wanted.is_meta
    else:
        torch.testing.assert_close(found.detach().as_subclass(Tensor), wanted.detach().as_subclass(Tensor), rtol=1e-5, atol=1e-7)


FOLDERS = ("contract", "losses", "compose")
FILES = ("pairwise.py", "sums_of_overlap.py", "binary.py", "products.py", "engines/scores.py")
ADVICE = re.compile(r"\b(try|leave|pass|give|exchange|divide|multiply|call|add|use|write|check that)\b", re.IGNORECASE)
RANKS = "test_contrastive_ranks.py"
ELSEWHERE = {  # what no message on a CPU alone can say, and texts that are no advice: where each is tested, or why not
    "{} is on {} but {} is on {}: try {}.to({}.device)": "test_advice_between_devices",
    "use_engine({}) cannot run this loss: {}. Leave use_engine out to let losskit choose": "test_advice_about_engines",
    "{} is a group without this rank: call the loss on the ranks of the group alone": "test_class_group.py",
    "{} lies on a mesh without this rank, {}: call the loss on the ranks of the mesh alone": "test_placed.py",
    "{} of DTensors needs no {}, for their mesh says which ranks hold what: leave it out": "test_placed.py",
    "{} was compiled in another process, whose formulas this one does not know: call torch.compile here": "test_operators_alone.py",
    "{} has no denominator of its own, for the sums of the ranks are joined: leave normalizer out of losskit.Ranks": "test_ranks.py",
    'normalizer must be a number, a 0-d tensor or "positives", got a process group: try losskit.Ranks(group=...)': "test_ranks.py",
    "{}={} does not go with class_group: leave it out": "test_class_group.py",
    "{} with these settings has losses of some of the items alone, of which TopK cannot keep the largest: leave process_group out": "test_topk.py",
    "mask or ignore_index leave out more items on some than on others": "no advice",
    "the ranks of class_group must call alike, but {}": "no advice; test_class_group.py",
    "the ranks of the process group must call the same loss with the same arguments, and some have called another one or given others": "no advice; test_class_group.py",
    "sequence_dim names the axis along which hidden states are spread over class_group: give class_group, or leave sequence_dim out": "test_class_group.py",
    "target is what linear_probabilities gives, a softmax over the classes of this rank alone: leave class_group out, or give labels": "test_class_group.py",
    "target must hold probabilities, whose classes are spread over class_group as the input's are: the row{} sums to {} over all ranks, expected 1. Divide by the sum over all ranks": "test_class_group.py",
    "{} must be the same on all ranks of class_group, got {}: give the same on each": "test_class_group.py",
    "this {} owns its head, module.linear: call module({}), or make it without in_features and num_classes": "test_linear_laws.py",
    "this {} owns no head: call module({}), or make it with {}(in_features, num_classes)": "test_linear_laws.py",
    "bias, device and dtype are of the head that {} owns: give in_features and num_classes, too, or leave them out": "test_linear_laws.py",
    "second derivatives cannot be had with class_group, for they would need those of the other ranks: leave create_graph out": "test_class_group.py",
    "second derivatives and batches of gradients cannot be had with process_group, for they would need those of the other ranks: leave create_graph out": RANKS,
    "the backward of each item's loss has all ranks of process_group take part, and rank {} has nothing that requires a gradient: try {}.requires_grad_() there": RANKS,
    "{} must be one batch, shape (N, D), beside process_group, got shape {}: give one batch at a time": RANKS,
    "process_group takes plain tensors, outside of transforms, and here {}: gather the batch first, and leave process_group out": RANKS,
    "normalizer must be a number or a 0-d tensor beside process_group, got losskit.Ranks: the count is that of all ranks, leave normalizer out": RANKS,
    "{} must be the same on all ranks of process_group, got {}: give the same on each": RANKS,
    "{} must be a torch.distributed.ProcessGroup, got {}: for all ranks, try torch.distributed.group.WORLD": "test_advice_about_ranks",
    "torch.jit.script cannot compile a loss of losskit: try torch.jit.trace, torch.compile or torch.export": "test_configured.py and test_tracing.py",
    'distances to boundaries are computed by SciPy, which is not installed: try pip install "losskit[distance]"': "what pip installs",
    "from_logits=False reads one number per item and needs no fused pass": "a reason",
    "{}'s call has {}: beside input and target it takes {}, mask, sample_weight, normalizer": "test_modules.py",
    "{}'s call has {} twice: by its place and by its name": "test_modules.py",
    "\n\nAs a module: keyword arguments go to the constructor, tensors to the call.": "documentation",
}


def texts():
    """Every text of the source that may hold advice, as (place, template): no docstrings, no arguments of decorators."""
    root = Path(losskit.__file__).parent
    for path in [*(p for folder in FOLDERS for p in sorted((root / folder).rglob("*.py"))), *(root / name for name in FILES)]:
        tree, passed_over = ast.parse(path.read_text(encoding="utf-8")), set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr):
                passed_over.add(id(node.value))
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                passed_over.update(id(inside) for decorator in node.decorator_list for inside in ast.walk(decorator))
            elif isinstance(node, ast.JoinedStr):
                passed_over.update(id(inside) for inside in node.values)
        for node in ast.walk(tree):
            if id(node) in passed_over:
                continue
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
                text = "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in parts)
                if ADVICE.search(text) and text not in ELSEWHERE:
                    yield f"{path.name}:{node.lineno}", text


@pytest.mark.chosen
def test_no_advice_without_a_row():
    """A new message with a way out needs a row above, which follows it."""
    said = []
    for row in ROWS:
        with engine(row.bad):
            said.append(message(row))
    alone = []
    for place, text in texts():
        pattern = re.compile(".*".join(re.escape(part) for part in re.split(r"\{\w*\}", text)), re.DOTALL)
        if not any(pattern.search(each) for each in said):
            alone.append(f"{place}: {text}")
    assert not alone, "no row follows this advice:\n" + "\n".join(alone)


def test_advice_between_devices():
    """Tensors that only say that they are on a GPU: shapes and devices are all there is to compare."""
    with FakeTensorMode():
        x, t, m = torch.empty(2, 3, device="cuda"), torch.empty(2, 3), torch.empty(2, 3, dtype=torch.bool)
        with pytest.raises(ValueError, match=r"target is on cpu but input is on cuda:0: try target.to\(input.device\)"):
            l1(x, t)
        with pytest.raises(ValueError, match=r"mask is on cpu but input is on cuda:0: try mask.to\(input.device\)"):
            l1(x, t.to(x.device), mask=m)
        assert l1(x, t.to(x.device), mask=m.to(x.device)).device == x.device


def test_advice_about_engines():
    with losskit.use_engine("triton"), pytest.raises(losskit.EngineError, match="Leave use_engine out to let losskit choose"):
        lovasz(V.to("meta"), PLACES.to("meta"), task="multiclass")
    assert lovasz(V.to("meta"), PLACES.to("meta"), task="multiclass").is_meta


def test_advice_about_ranks():
    with pytest.raises(TypeError, match=r"for all ranks, try torch.distributed.group.WORLD"):
        dice(V, PLACES, task="multiclass", process_group="all")
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        assert dice(V, PLACES, task="multiclass", process_group=torch.distributed.group.WORLD) == dice(V, PLACES, task="multiclass")
    finally:
        torch.distributed.destroy_process_group()
