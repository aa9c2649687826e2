"""What the docstrings of `matching_cost` and `assign` claim. How a claim finds its sentence: `claims.py`."""

import math

import pytest
import torch
from claims import claim
from test_matching import drawn

from losskit import assign, matching_cost


@claim("matching_cost", "(queries, T), or (layers, queries, T): column j")
@claim("matching_cost", "Nothing is computed or kept for other pictures")
@claim("matching_cost", "float32, or float64 for float64 input; without a graph")
@claim("matching_cost", "`assign` finds the matches")
@claim("matching_cost", "There a matrix of all pictures' predictions and all pictures' objects")
def test_columns_are_of_their_own_pictures():
    """What other pictures hold changes no bit, not even NaN."""
    logits, boxes, labels, targets, counts = drawn(counts=(2, 1, 3))
    cost = matching_cost(logits.requires_grad_(), boxes, labels, targets, counts)
    assert cost.shape == (2, 7, 6) and cost.dtype is torch.float64 and not cost.requires_grad
    assert matching_cost(logits[0].bfloat16(), boxes[0].bfloat16(), labels, targets.bfloat16(), counts).dtype is torch.float32
    for image, own in ((0, slice(0, 2)), (1, slice(2, 3)), (2, slice(3, 6))):
        others = torch.arange(3) != image
        changed = logits.detach().clone(), boxes.clone()
        for x in changed:
            x[:, others] = math.nan
        assert torch.equal(matching_cost(*changed, labels, targets, counts)[..., own], cost[..., own])
    assert len(assign(cost, counts).target) == 12


@claim("matching_cost", "Every finite input has a finite cost: logarithms are of logits")
@claim("matching_cost", "-log(p + 1e-8) is cut off at 18.4, here it goes on")
@claim("matching_cost", "Boxes out of order stop the training there")
def test_far_logits_and_boxes_out_of_order():
    far = torch.tensor([[[-50.0], [-1000.0]]])
    boxes = torch.tensor([[[0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0]]])
    alone = dict(cost_bbox=0.0, cost_giou=0.0, cost_class=1.0, box_format="xyxy")
    cost = matching_cost(far, boxes, torch.tensor([0]), boxes[0, :1], [1], **alone)
    assert cost[:, 0].tolist() == pytest.approx([12.5, 250.0]) and 0.25 * 18.4 < 12.5  # 0.25 x -log p
    cost = matching_cost(far, boxes, torch.tensor([0]), boxes[0, :1], [1], **alone | {"cost_giou": 1.0})
    assert cost.isfinite().all()


@claim("matching_cost", "NaN in a prediction is NaN in its row, which `assign` refuses")
def test_nan_is_seen():
    logits, boxes, labels, targets, counts = drawn(())
    logits[2, 3] = math.nan
    cost = matching_cost(logits, boxes, labels, targets, counts)
    assert cost[3, 2:].isnan().all() and not cost[:, :2].isnan().any() and not cost[torch.arange(7) != 3].isnan().any()
    with pytest.raises(ValueError, match="in picture 2"):
        assign(cost, counts)


@claim("assign", "`Matches`: of each picture as many as it has objects, or predictions")
@claim("assign", "On the device of `cost`, which is waited for, once")
@claim("assign", "Pictures without objects have no matches")
@claim("assign", "Of several cheapest assignments the solver's is taken")
def test_matches():
    equal = torch.zeros(3, 7)
    first, second = assign(equal, [2, 0, 5]), assign(equal, [2, 0, 5])
    assert all(torch.equal(a, b) for a, b in zip(first[:4], second[:4], strict=True))
    assert first.image.bincount(minlength=3).tolist() == [2, 0, 3] and first.target.device == equal.device
