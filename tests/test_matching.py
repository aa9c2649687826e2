"""Matching costs against one pair at a time in float64, and the code that DETR and RT-DETR are trained with; assignments against all permutations."""

import itertools
import math

import numpy as np
import pytest
import torch

import losskit
from losskit import assign, matching_cost
from losskit.bench.sides import torchvision_focal


def drawn(layers=(2,), images=3, queries=7, classes=5, counts=(2, 0, 4), dtype=torch.float64):
    draw = torch.Generator().manual_seed(0)
    total = sum(counts)
    logits = 3.0 * torch.randn(*layers, images, queries, classes, generator=draw, dtype=dtype)
    boxes = torch.rand(*layers, images, queries, 4, generator=draw, dtype=dtype)
    labels, targets = torch.randint(0, classes, (total,), generator=draw), torch.rand(total, 4, generator=draw, dtype=dtype)
    return logits, boxes, labels, targets, list(counts)


def pair(x, box, label, target, how="focal", weights=(2.0, 5.0, 2.0), alpha=0.25, gamma=2.0):
    """One prediction, one object, by the definition."""
    if how == "softmax":
        c = -math.exp(x[label]) / sum(map(math.exp, x))
    else:
        p = 1.0 / (1.0 + math.exp(-x[label]))
        c = -alpha * (1 - p) ** gamma * math.log(p) + (1 - alpha) * p**gamma * math.log(1 - p)
    (ax, ay, aw, ah), (bx, by, bw, bh) = box, target
    wide = max(min(ax + aw / 2, bx + bw / 2) - max(ax - aw / 2, bx - bw / 2), 0.0)
    high = max(min(ay + ah / 2, by + bh / 2) - max(ay - ah / 2, by - bh / 2), 0.0)
    union = aw * ah + bw * bh - wide * high
    hull = (max(ax + aw / 2, bx + bw / 2) - min(ax - aw / 2, bx - bw / 2)) * (max(ay + ah / 2, by + bh / 2) - min(ay - ah / 2, by - bh / 2))
    giou = wide * high / union - (hull - union) / hull
    return weights[0] * c + weights[1] * sum(abs(a - b) for a, b in zip(box, target, strict=True)) - weights[2] * giou


@pytest.mark.parametrize("how", ["focal", "softmax"])
@pytest.mark.parametrize("layers", [(), (2,)])
def test_each_column_is_of_its_own_picture(how, layers):
    logits, boxes, labels, targets, counts = drawn(layers)
    weights = (1.0, 3.0, 0.5)
    cost = matching_cost(logits, boxes, labels, targets, counts, class_cost=how, cost_class=1.0, cost_bbox=3.0, cost_giou=0.5)
    images = [i for i, count in enumerate(counts) for _ in range(count)]
    assert cost.shape == (*layers, 7, 6) and not cost.requires_grad
    for layer in range(2 if layers else 1):
        x, b, found = (y[layer] if layers else y for y in (logits, boxes, cost))
        for q, j in itertools.product(range(7), range(6)):
            expected = pair(x[images[j], q].tolist(), b[images[j], q].tolist(), int(labels[j]), targets[j].tolist(), how, weights)
            assert abs(found[q, j].item() - expected) < 1e-12 * max(abs(expected), 1)


def test_masks():
    logits, boxes, labels, targets, counts = drawn()
    draw = torch.Generator().manual_seed(1)
    masks, hit = torch.randn(2, 3, 7, 11, generator=draw, dtype=torch.float64), (torch.rand(6, 11, generator=draw) < 0.5).double()
    nothing = {"cost_class": 0, "cost_bbox": 0, "cost_giou": 0}
    cost = matching_cost(logits, boxes, labels, targets, counts, masks=masks, target_masks=hit, cost_mask=2.0, cost_dice=3.0, **nothing)
    images = [0, 0, 2, 2, 2, 2]
    for layer, q, j in itertools.product(range(2), range(7), range(6)):
        x, p = masks[layer, images[j], q], masks[layer, images[j], q].sigmoid()
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(x, hit[j])
        dice = 1 - (2 * (p * hit[j]).sum() + 1) / (p.sum() + hit[j].sum() + 1)
        torch.testing.assert_close(cost[layer, q, j], 2 * entropy + 3 * dice)


def test_matches_are_the_cheapest():
    """Of all injections; ready to index."""
    logits, boxes, labels, targets, counts = drawn(queries=5)
    cost = matching_cost(logits, boxes, labels, targets, counts)
    matches = assign(cost, counts)
    assert matches.layer.tolist() == [0] * 6 + [1] * 6 and matches.image.tolist() == 2 * [0, 0, 2, 2, 2, 2]
    assert boxes[matches.predicted].shape == targets[matches.target].shape == (12, 4)
    for layer, (start, count) in itertools.product(range(2), [(0, 2), (2, 4)]):
        own = cost[layer, :, start : start + count]
        best = min(sum(own[q, j].item() for j, q in enumerate(queries)) for queries in itertools.permutations(range(5), count))
        chosen = (matches.layer == layer) & (matches.target >= start) & (matches.target < start + count)
        assert chosen.sum() == count and abs(cost[layer, matches.query[chosen], matches.target[chosen]].sum().item() - best) < 1e-12
    alone = assign(cost[1], counts)
    assert alone.predicted[0].equal(alone.image) and alone.query.equal(matches.query[6:]) and not alone.layered


def test_fewer_predictions_than_objects_and_nothing_at_all():
    logits, boxes, labels, targets, counts = drawn((), queries=1)
    assert len(assign(matching_cost(logits, boxes, labels, targets, counts), counts).target) == 2  # one a picture with objects
    for queries, counts in ((4, (0, 0, 0)), (0, (0, 0, 0)), (0, (1, 0, 2))):
        logits, boxes, labels, targets, counts = drawn((2,), queries=queries, counts=counts)
        matches = assign(matching_cost(logits, boxes, labels, targets, counts), counts)
        assert [len(x) for x in matches[:4]] == [0] * 4 and boxes[matches.predicted].shape == (0, 4) and matches.target.dtype is torch.int64
    empty = assign(torch.empty(3, 0), [])
    assert len(empty.query) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_finite_input_has_a_finite_cost(dtype):
    largest = torch.finfo(dtype).max
    numbers = torch.tensor([0.0, -0.0, 1e-7, -1e4, 1e4, largest, -largest], dtype=dtype)
    draw = torch.Generator().manual_seed(0)
    logits, boxes = (numbers[torch.randint(0, 7, (2, 30, n), generator=draw)] for n in (5, 4))
    labels, targets = torch.randint(0, 5, (9,), generator=draw), numbers[torch.randint(0, 7, (9, 4), generator=draw)]
    for how in ("focal", "softmax"):
        for form in ("xyxy", "cxcywh"):
            cost = matching_cost(logits, boxes, labels, targets, [4, 5], class_cost=how, box_format=form)
            assert cost.dtype is torch.float32 and cost.isfinite().all(), (how, form)
            assert len(assign(cost, [4, 5]).target) == 9


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"class_cost": "ce"}, ValueError, "class_cost must be one of"),
        ({"cost_class": -1.0}, ValueError, "cost_class must be >= 0"),
        ({"logits": torch.zeros(3, 5)}, ValueError, r"logits must have the shape \(images, queries, classes\)"),
        ({"boxes": torch.zeros(2, 3, 6, 4).double()}, ValueError, r"boxes must have the shape \(2, 3, 7, 4\)"),
        ({"labels": torch.zeros(6)}, ValueError, r"labels must be class numbers of all objects"),
        ({"labels": torch.tensor([0, 1, 2, 5, 1, 1])}, ValueError, "labels must be from 0 to 4, for logits have 5 classes, got 5 at index 3"),
        ({"target_boxes": torch.zeros(5, 4)}, ValueError, r"target_boxes must have the shape \(6, 4\)"),
        ({"targets_per_image": [2, 4]}, ValueError, "a number for each of the 3 pictures, got 2"),
        ({"targets_per_image": [2, 1, 4]}, ValueError, "must add up to the number of objects, 6, got 7"),
        ({"targets_per_image": torch.tensor([2, 0, 4])}, TypeError, r"must be a list of whole numbers, got a Tensor.*try \[len\(x\) for x in targets\]"),
        ({"targets_per_image": [2.0, 0, 4]}, ValueError, "must be a list of whole numbers of at least 0"),
        ({"masks": torch.zeros(2, 3, 7, 9)}, ValueError, "masks and target_masks go together"),
        ({"masks": torch.zeros(2, 3, 7, 9), "target_masks": torch.zeros(6, 8)}, ValueError, r"masks must have the shape \(2, 3, 7, P\)|target_masks"),
    ],
)
def test_bad_input(change, error, message):
    names = ("logits", "boxes", "labels", "target_boxes", "targets_per_image")
    with pytest.raises(error, match=message):
        matching_cost(**(dict(zip(names, drawn(), strict=True)) | change))


def test_nan_names_the_picture():
    logits, boxes, labels, targets, counts = drawn()
    boxes[1, 2, 3, 0] = math.nan
    with pytest.raises(ValueError, match="cost holds NaN, or no finite match, in picture 2 of layer 1"):
        assign(matching_cost(logits, boxes, labels, targets, counts), counts)
    with pytest.raises(ValueError, match="cost must have the shape"):
        assign(torch.zeros(3), [3])


@pytest.mark.parametrize("name", ["DETR", "RT-DETR"])
def test_the_published_code_finds_the_same_matches(name):
    """As transformers has it: 8 pictures of 300 predictions, one layer at a time."""
    pytest.importorskip("transformers", reason="trainer")
    torchvision_focal()  # torchvision's operators, which are compiled for another torch, need only be there by name
    counts = [3, 0, 12, 7, 1, 20, 5, 9]
    logits, boxes, labels, targets, _ = drawn((), 8, 300, 80, counts, torch.float32)
    targets = torch.cat((0.2 + 0.6 * targets[:, :2], 0.05 + 0.3 * targets[:, 2:]), 1)
    boxes = torch.cat((0.2 + 0.6 * boxes[..., :2], 0.05 + 0.3 * boxes[..., 2:]), -1)
    given = [{"class_labels": a, "boxes": b} for a, b in zip(labels.split(counts), targets.split(counts), strict=True)]
    if name == "DETR":
        from transformers.loss.loss_for_object_detection import HungarianMatcher

        theirs = HungarianMatcher(class_cost=1, bbox_cost=5, giou_cost=2)
        cost = matching_cost(logits, boxes, labels, targets, counts, class_cost="softmax", cost_class=1.0)
    else:
        from transformers import RTDetrConfig
        from transformers.loss.loss_rt_detr import RTDetrHungarianMatcher

        theirs = RTDetrHungarianMatcher(RTDetrConfig(use_focal_loss=True))
        cost = matching_cost(logits, boxes, labels, targets, counts)
    matches = assign(cost, counts)
    start = 0
    for image, (queries, objects) in enumerate(theirs({"logits": logits, "pred_boxes": boxes}, given)):
        own = matches.image == image
        assert matches.query[own].equal(queries) and (matches.target[own] - start).equal(objects)
        start += counts[image]


def test_pieces_of_a_loss():
    """Matches of all layers index predictions of all layers, with gradients."""
    logits, boxes, labels, targets, counts = drawn()
    boxes.requires_grad_()
    matches = assign(matching_cost(logits, boxes, labels, targets, counts), counts)
    losskit.giou_loss(boxes[matches.predicted], targets[matches.target], box_format="cxcywh", normalizer=float(len(labels))).backward()
    assert (boxes.grad != 0).any(-1).sum() == 12


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_changes_nothing(dtype):
    """Masks of many positions overflow float16 sums, and cancelled there."""
    hit = (torch.rand(2, 12544, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    given = torch.zeros(1, 3, 2), torch.rand(1, 3, 4), torch.tensor([0, 1]), torch.rand(2, 4), [2]
    masks = {"masks": torch.stack((20 * (2 * hit[0] - 1), 20 * (2 * hit[1] - 1), torch.full((12544,), 15.0)))[None], "target_masks": hit}
    cost = matching_cost(*given, **masks)
    with torch.autocast("cpu", dtype):
        assert torch.equal(matching_cost(*given, **masks), cost)
    alone = matching_cost(*given, **masks, cost_class=0, cost_bbox=0, cost_giou=0)
    assert alone[0, 0].abs() < 1e-6 and alone[1, 1].abs() < 1e-6 and alone[0, 1] > 1


def test_targets_are_not_rounded_to_the_predictions_dtype():
    boxes, target = torch.tensor([[[501.0, 300.0, 100.0, 100.0], [502.0, 300.0, 100.0, 100.0]]]), torch.tensor([[501.4, 300.3, 101.0, 99.0]])
    how = {"cost_class": 0.0, "cost_giou": 0.0, "cost_bbox": 1.0}
    cost = matching_cost(torch.zeros(1, 2, 2).bfloat16(), boxes.bfloat16(), torch.tensor([0]), target, [1], **how)
    torch.testing.assert_close(cost, torch.cdist(boxes[0].bfloat16().float(), target, p=1))


def test_whole_numbers_of_any_kind():
    logits, boxes, labels, targets, counts = drawn()
    expected = matching_cost(logits, boxes, labels, targets, counts)
    for dtype in (torch.uint8, torch.uint16, torch.int32, torch.uint64):
        assert torch.equal(matching_cost(logits, boxes, labels.to(dtype), targets, np.array(counts)), expected)
    for wrong in (6, None, [2, True, 4], "204"):
        with pytest.raises(ValueError, match="targets_per_image must"):
            matching_cost(logits, boxes, labels, targets, wrong)
    far = torch.full_like(boxes, 3e38)
    assert matching_cost(logits, far, labels, targets, counts, cost_bbox=0.0, cost_giou=0.0).isfinite().all()
