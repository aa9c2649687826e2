"""Messages with advice about tensors, dtypes, numbers, shapes and values, of any loss; a row each, see `advice.py`."""

import math

import torch
from advice import (
    AMOUNTS,
    BOXES,
    HALF,
    INF,
    MASKED,
    NESTED,
    ONE,
    OTHERS,
    OUT,
    PADDED,
    PICTURES,
    QUANTISED,
    THERE,
    TWO,
    B,
    K,
    L,
    M,
    P,
    Row,
    S,
    T,
    V,
    W,
    X,
    bce,
    ce,
    dice,
    focal,
    iou,
    kl,
    l1,
    logits,
    lovasz,
    of,
    ssim,
)

import losskit

OF_NUMBERS = [
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
]  # fmt: skip
