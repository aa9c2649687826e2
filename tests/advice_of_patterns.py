"""Messages with advice about rows, overlap, boxes, products, distances, sets and settings; a row each, see `advice.py`."""

import math

import torch
from advice import (
    BOXES,
    COSINES,
    HALF,
    HEAD,
    HIDDEN,
    ONE,
    ONE_LOGIT,
    OTHERS,
    OUT,
    PLACES,
    TWO,
    B,
    K,
    L,
    M,
    P,
    Row,
    T,
    V,
    W,
    X,
    arcface,
    bce,
    boundary,
    ce,
    dice,
    focal,
    iou,
    kl,
    l1,
    linear,
    logits,
    lovasz,
    mlm,
    nll,
    of,
    of_head,
)
from torch import Tensor

import losskit

OF_PATTERNS = [
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
    Row(losskit.giou_loss, of(BOXES, OTHERS, degrees=True), "leave degrees out, or give box_format='cxcywha'", {"degrees": OUT}, dict(degrees=OUT)),
    Row(
        losskit.pairwise_iou, dict(a=torch.ones(2, 5), b=torch.eye(3, 5) + 1, kind="ciou", box_format="cxcywha"), "give kind='iou', 'giou' or 'diou'", {"kind": "'giou'"},
        dict(kind="giou"),
    ),
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
]  # fmt: skip
