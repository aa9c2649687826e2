"""Messages with advice about mining, losses made of losses, names and configurations, other libraries' arguments, and matching; a row each, see `advice.py`."""

import torch
from advice import BOXES, INF, OTHERS, OUT, B, K, L, Row, T, V, W, X, ce, dice, focal, l1, logits, of

import losskit


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


def matched(**how):
    """Costs of two pictures with three predictions each; the first has two objects."""
    given = dict(logits=torch.zeros(2, 3, 4), boxes=OTHERS[0].expand(2, 3, 4), labels=L, target_boxes=BOXES, targets_per_image=[2, 0])
    return losskit.matching_cost(**(given | how))


def configured(**config):
    return losskit.from_config(config)(X, L)


OF_USES = [
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
    Row(lambda weight: (weight * ABS)(X, T), dict(weight=torch.tensor(0.5)), "try 0.5", {"weight": "0.5"}, dict(weight=0.5)),
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
    # other libraries' arguments
    Row(losskit.mse_loss, of(X, T, size_average=False), "write reduction='sum'", {"size_average": OUT, "reduction": "sum"}, dict(size_average=OUT, reduction="sum")),
    Row(losskit.giou_loss, of(BOXES, OTHERS, eps=1e-7), "none is needed, values and gradients are exact without: leave it out", {"eps": OUT}, dict(eps=OUT)),
    Row(ce, of(X, L, epsilon=0.1), "here it is label_smoothing=", {"epsilon": OUT, "label_smoothing": 0.1}, dict(epsilon=OUT, label_smoothing=0.1)),
    Row(l1, of(X, T, ignore_index=0), "give mask= (True = counts)", {"ignore_index": OUT, "mask": X > 0}, dict(ignore_index=OUT, mask=X > 0)),
    Row(losskit.dice_loss, of(V, K, task="binary", jaccard=True), "that is a loss of its own, jaccard_loss", {"jaccard": OUT, "call": losskit.jaccard_loss}, dict(jaccard=OUT), lambda **k: losskit.jaccard_loss(V, K, task="binary")),
    Row(focal, of(X, T, loss_weight=2.0), "multiply the loss by it", {"loss_weight": OUT, "result": lambda y: 2.0 * y}, {}, lambda: 2.0 * focal(X, T)),
    Row(dice, of(V, B.long(), task="multiclass", num_classes=3), "the input's shape says it: leave it out", {"num_classes": OUT}, dict(num_classes=OUT)),
    Row(dice, of(V, K, task="multilabel", sigmoid=True), "leave it out, with task=", {"sigmoid": OUT}, dict(sigmoid=OUT)),
    Row(dice, of(V, B.long(), task="multiclass", softmax=True), "leave it out, with task=", {"softmax": OUT}, dict(softmax=OUT)),
    Row(dice, of(V, B.long(), task="multiclass", to_onehot_y=True), "labels are taken as they are: leave it out", {"to_onehot_y": OUT}, dict(to_onehot_y=OUT)),
    Row(ce, of(X, L, use_softmax=True), "inputs are logits unless from_logits=False: leave it out", {"use_softmax": OUT}, dict(use_softmax=OUT)),
    Row(lambda given=(), **k: losskit.MSELoss(**k)(X, T, *given), dict(mask=None), "give it when calling the module", {"mask": OUT}, dict(mask=OUT)),
    Row(lambda input, target: ce(input, target, W), of(X, L), "write cross_entropy(input, target, weight=...)", {"call": lambda input, target: ce(input, target, weight=W)}, {}, lambda: ce(X, L, weight=W)),
    Row(focal, of(X, L), 'try task="multiclass"', {"task": "multiclass"}, dict(task="multiclass")),
    Row(losskit.L1Loss(), of(X, T, reduction="sum"), "or set module.reduction before the call", {"reduction": OUT, "call": losskit.L1Loss(reduction="sum")}, {}, lambda: losskit.l1_loss(X, T, reduction="sum")),
    Row(losskit.L1Loss(), of(X, T, weights=W), "here it is sample_weight=", {"weights": OUT, "sample_weight": W}, dict(weights=OUT, sample_weight=W)),
    Row(lambda input, target: losskit.L1Loss()(input, target, W), of(X, T), "input, target, mask, sample_weight, normalizer; all but tensors by name", {"call": lambda input, target: losskit.L1Loss()(input, target, sample_weight=W)}, {}, lambda: losskit.l1_loss(X, T, sample_weight=W)),
    # names and configurations
    Row(configured, dict(loss="ce", version=2), "upgrade losskit", {"version": OUT}, dict(version=OUT)),
    Row(configured, dict(loss="ce", version=0), "write 1, or leave it out", {"version": "1"}, dict(version=1)),
    # matching
    Row(matched, dict(boxes=torch.zeros(2, 3, 4).long()), "try boxes.float()", {"boxes": "boxes.float()"}, dict(boxes=torch.zeros(2, 3, 4))),
    Row(matched, dict(labels=L[:, None]), "try torch.cat", {"labels": torch.cat([L[:1], L[1:]])}, dict(labels=L)),
    Row(matched, dict(target_boxes=BOXES[None]), "try torch.cat", {"target_boxes": torch.cat([BOXES[:1], BOXES[1:]])}, dict(target_boxes=BOXES)),
    Row(matched, dict(targets_per_image=torch.tensor([2, 0])), "try [len(x) for x in targets]", {"targets_per_image": [len(x) for x in (L, L[:0])]}, dict(targets_per_image=[2, 0])),
    Row(matched, dict(targets_per_image=[2.0, 0.0]), "try [len(x) for x in targets]", {"targets_per_image": [len(x) for x in (L, L[:0])]}, dict(targets_per_image=[2, 0])),
    Row(matched, dict(masks=torch.zeros(2, 3, 5)), "give both, or leave both out", {"masks": OUT}, dict(masks=OUT)),
    Row(matched, dict(masks=torch.zeros(2, 3, 2, 3), target_masks=torch.zeros(2, 2, 3)), "try flatten(-2) for pictures", {"masks": torch.zeros(2, 3, 6), "target_masks": torch.zeros(2, 6)}, dict(masks=torch.zeros(2, 3, 6), target_masks=torch.zeros(2, 6))),
]  # fmt: skip
