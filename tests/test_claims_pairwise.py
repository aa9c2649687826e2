"""What the docstrings of `pairwise_iou` and `best_match` claim. How a claim finds its sentence: `claims.py`."""

import math

import pytest
import torch
from claims import claim, slope
from test_claims_detection import box, measured

import losskit
from losskit.testing.boxes import ordinary


@pytest.fixture(autouse=True)
def engine():
    with losskit.use_engine("torch"):
        yield


@claim("best_match", "`BoxMatch(value, index)`, a named tuple")
@claim("best_match", "Of equal similarities the first counts")
@claim("best_match", "The last bit of a value may differ between engines")
@claim("best_match", "`torchvision.ops.box_iou(a, b).max(1)` needs")
@claim("pairwise_iou", "(N, M) or (B, N, M), float32")
@claim("pairwise_iou", "Boxes in order have iou in [0, 1]")
@claim("pairwise_iou", "For boxes in order, swapping a and b transposes")
@claim("pairwise_iou", "No boxes: an empty matrix")
def test_matrices():
    (a, _), (_, b) = ordinary(40, seed=1), ordinary(30, seed=2)
    b[-1] += 100  # meets none
    for kind, low in (("iou", 0), ("giou", -1), ("diou", -1), ("ciou", -1.5)):
        for dtype, real in ((torch.float16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64)):
            assert losskit.pairwise_iou(a.to(dtype), b.to(dtype), kind).dtype is real
        matrix = losskit.pairwise_iou(a, b, kind)
        assert matrix.shape == (40, 30) and losskit.pairwise_iou(a.expand(2, 40, 4), b.expand(2, 30, 4), kind).shape == (2, 40, 30)
        assert (matrix >= low).all() and (matrix <= 1).all()
        torch.testing.assert_close(losskit.pairwise_iou(b, a, kind), matrix.T)
        value, index = losskit.best_match(a, b, kind)
        assert value.shape == index.shape == (40,) and index.dtype is torch.int64
        torch.testing.assert_close((value, index), tuple(matrix.max(1)))
    lonely = losskit.best_match(b[-1:], a)
    assert lonely.value == 0 and lonely.index == 0 and losskit.best_match(b[-1:], a, "giou").value < 0
    with losskit.use_engine("cpu"):
        torch.testing.assert_close(losskit.best_match(a, b).value, losskit.pairwise_iou(a, b).amax(1), rtol=1e-6, atol=1e-7)
    none = slope(losskit.pairwise_iou, a, b[:0])
    assert none[0].shape == (40, 0) and not none[1].any()


@claim("pairwise_iou", "`torchvision.ops.box_iou` and `generalized_box_iou` divide by areas")
@claim("pairwise_iou", "`distance_box_iou` and `complete_box_iou` add 1e-7")
@claim("pairwise_iou", "Corners out of order give areas below 0 there")
@claim("pairwise_iou", "All of them build tensors of (N, M, 2)")
def test_matrices_of_torchvision():
    def box_iou(a, b):
        """As torchvision writes it."""
        size = (torch.minimum(a[:, None, 2:], b[:, 2:]) - torch.maximum(a[:, None, :2], b[:, :2])).clamp(min=0)  # (N, M, 2)
        assert size.shape == (len(a), len(b), 2)
        areas = [(x[:, 2] - x[:, 0]) * (x[:, 3] - x[:, 1]) for x in (a, b)]
        return size.prod(2) / (areas[0][:, None] + areas[1] - size.prod(2))

    line = box(0, 0, 0, 1)
    assert box_iou(line, line).isnan() and losskit.pairwise_iou(line, line) == 1
    a, b = box(0, 0, 1e-4, 1e-4), box(5e-5, 0, 1.5e-4, 1e-4)
    both, union, centres, diagonal, *_ = measured(a, b)
    torch.testing.assert_close(both / union - centres / (diagonal + 1e-7), torch.tensor([0.3145]).double(), rtol=1e-3, atol=0)
    torch.testing.assert_close(losskit.pairwise_iou(a, b, "diou").flatten(), torch.tensor([0.2564]).double(), rtol=1e-3, atol=0)
    turned = box(1, 0, 0, 1)
    around = (torch.maximum(turned[:, 2:], turned[:, 2:]) - torch.minimum(turned[:, :2], turned[:, :2])).clamp(min=0).prod(1)
    union = 2 * (turned[:, 2:] - turned[:, :2]).prod(1)
    assert union == -2 and box_iou(turned, turned) - (around - union) / around == -math.inf
    assert losskit.pairwise_iou(turned, turned, "giou").isfinite()
