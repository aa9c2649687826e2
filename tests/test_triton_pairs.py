"""Pairs of boxes on the Triton engine, against the aligned losses in float64; where it runs, as in test_triton.py."""

import os
from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest
import torch
from cases import thorough, thorough_rows

os.environ.setdefault("TRITON_INTERPRET", "0" if torch.cuda.is_available() else "1")  # read when Triton is imported

pytest.importorskip("triton", reason="Triton")
import test_pairwise as pairs
from test_pairwise import KINDS, NAN, aligned, check, gradients, incoming_for, written

import losskit
from losskit import best_match, pairwise_iou
from losskit.engines import dispatch
from losskit.engines.triton import pairs as engine

DEVICE = "cpu" if dispatch.interpreted() else "cuda"


def boxes(*shape, **options):
    return pairs.boxes(*shape, **options).to(DEVICE)


@pytest.fixture(autouse=True)
def surroundings():
    """As in test_triton.py; everything here runs on Triton but what is compared with."""
    with np.errstate(all="ignore"), torch.device(DEVICE) if DEVICE == "cuda" else nullcontext(), losskit.use_engine("triton"):
        yield


def compare(a, b, kind="iou", form="xyxy", tolerance=2e-6):
    check(gradients(lambda a, b: pairwise_iou(a, b, kind, form), a, b), gradients(lambda a, b: aligned(a, b, kind, form), a, b), tolerance)


@pytest.mark.parametrize("kind", [*KINDS[-1:], *thorough(KINDS[:-1])])
def test_every_pair_is_the_aligned_loss(kind):
    compare(boxes(9, wrong=0.3), boxes(70, seed=1, wrong=0.3), kind)


# around tiles; one stretch of the other side, or many
@pytest.mark.parametrize(("n", "m", "programs"), [(1, 1, 1), (5, 65, 1), *thorough_rows([(4, 64, 1 << 10), (3, 150, 1), (3, 150, 1 << 10), (66, 2, 1 << 10)])])
def test_sizes(n, m, programs, monkeypatch):
    monkeypatch.setattr(engine, "PROGRAMS", programs)
    compare(boxes(n), boxes(m, seed=1), "giou")


@pytest.mark.thorough
def test_batches_and_layouts_of_what_comes_in():
    a, b = boxes(2, 2, 5, wrong=0.1), boxes(2, 2, 6, seed=1)
    compare(a, b, "diou")
    whole = torch.randn(2, 2, 6, 5)
    for incoming in (whole.transpose(-1, -2), torch.tensor(2.0).expand(2, 2, 5, 6), whole.new_zeros(2, 2, 5, 6)):
        found = gradients(pairwise_iou, a, b, incoming)
        check(found, gradients(partial(aligned, kind="iou"), a, b, incoming.double()))


@pytest.mark.parametrize(
    ("dtype", "form", "tolerance"),
    [(torch.float32, "xywh", 2e-6), *thorough_rows([(torch.float64, "cxcywh", 1e-14), (torch.bfloat16, "xyxy", 1e-2), (torch.float16, "xyxy", 1e-3)])],
)
def test_dtypes_and_forms(dtype, form, tolerance):
    a, b = (written(x, form).to(dtype) for x in (boxes(6), boxes(5, seed=1)))
    compare(a, b, "ciou", form, tolerance)
    m, by_a, _ = gradients(lambda a, b: pairwise_iou(a, b, "ciou", form), a, b)
    assert m.dtype is (torch.float64 if dtype is torch.float64 else torch.float32) and by_a.dtype is dtype


def test_pairs_to_which_nothing_comes_in_are_absent():
    a, b = boxes(5), boxes(70, seed=1)
    a[2], b[66] = NAN, NAN
    keep = torch.ones(5, 70)
    keep[2], keep[:, 66] = 0, 0
    _, by_a, by_b = gradients(pairwise_iou, a, b, keep)
    assert by_a.isfinite().all() and by_b.isfinite().all() and not by_a[2].any() and not by_b[66].any() and by_a[0].any()


@pytest.mark.parametrize("n, m", [(1, 1), (5, 64), *thorough_rows([(7, 150)])])
def test_best_match_is_the_maximum_of_the_matrix(n, m):
    a, b = boxes(n, wrong=0.2), boxes(m, seed=1)
    for kind in ("iou", "ciou"):
        value, index = best_match(a, b, kind)
        wanted = pairwise_iou(a, b, kind).max(-1)
        assert torch.equal(value, wanted.values)
        assert torch.equal(index, (pairwise_iou(a, b, kind) == wanted.values[:, None]).int().argmax(1))  # the first of equals


def test_best_match_in_batches_with_nan_and_gradients():
    a, b = boxes(2, 5), boxes(2, 70, seed=1)
    b[1, 68] = NAN
    a[0, 3] = NAN
    value, index = best_match(a, b)
    assert value[1].isnan().all() and (index[1] == 68).all()
    assert value[0, 3].isnan() and index[0, 3] == 0 and value[0, :3].isfinite().all()
    a, b = boxes(6).requires_grad_(), boxes(8, seed=1).requires_grad_()
    found = torch.autograd.grad(best_match(a, b, "giou").value.square().sum(), (a, b))
    wanted = torch.autograd.grad(aligned(a, b, "giou").max(-1).values.square().sum(), (a, b))
    check(found, wanted)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)])
def test_no_boxes(shape):
    a, b = boxes(shape[0]).requires_grad_(), boxes(shape[1]).requires_grad_()
    m = pairwise_iou(a, b)
    assert m.shape == shape
    assert all(not g.any() and g.shape == x.shape for g, x in zip(torch.autograd.grad(m, (a, b), incoming_for(m)), (a, b), strict=True))
    match = best_match(a, b)
    assert match.value.shape == match.index.shape == shape[:1] and (match.index == -1).all()
