"""Sorted errors on the Triton engine against the torch engine in float64; where it runs, as `on_triton.py` says."""

import math

import pytest
import torch
from cases import thorough
from on_triton import DEVICE, surroundings  # noqa: F401

import losskit
from losskit.engines.call import Ranked
from losskit.engines.torch import ranked as plain
from losskit.engines.triton import ranked as engine

INF, NAN = math.inf, math.nan
CALLS = {
    "softmax": Ranked("softmax", "label"),
    "softmax of a batch": Ranked("softmax", "label", True),
    "hinge": Ranked("hinge", "number"),
    "hinge of a batch": Ranked("hinge", "number", True),
    "probabilities": Ranked("identity", "number"),
    "probabilities, labels": Ranked("identity", "label", True),
}
by_call = pytest.mark.parametrize("name", CALLS)
by_link = pytest.mark.parametrize("name", ["softmax", "hinge", "probabilities, labels"])


def drawn(call, shape, dtype=torch.float32):
    """Input and target; some errors are equal, one class is nowhere, another not in the first sample."""
    draw = torch.Generator(DEVICE).manual_seed(0)
    x = (3.0 * torch.randn(shape, generator=draw, dtype=torch.float64)).round(decimals=1)
    x = (16.0 * x.sigmoid()).round() / 16.0 if call.link == "identity" else x  # 1 - x has the same digits
    if call.kind == "number":
        t = torch.randint(0, 2, shape, generator=draw)
        t.select(call.dim, 1).zero_()
        return x.to(dtype), t
    t = torch.randint(0, shape[call.dim] - 1, (*shape[: call.dim], *shape[call.dim + 1 :]), generator=draw)
    t[0] = torch.where(t[0] == 1, 0, t[0])
    return x.to(dtype), t


def uneven(call, x):
    """What the losses are multiplied by."""
    shape = 1 if call.joint else x.shape[0], x.shape[call.dim]
    return torch.randn(shape, generator=torch.Generator(DEVICE).manual_seed(4), dtype=torch.float64)


def found(call, x, t):
    sums, slopes = engine.run(call, x, t)
    gradient = engine.gradient(call, x, t, slopes, uneven(call, x))
    assert sums.dtype is torch.float64 and gradient.dtype is x.dtype and gradient.shape == x.shape
    return sums, gradient


def exact(call, x, t):
    """By autograd in the dtype computed in, whose errors have that order, and then in float64."""
    leaf = x.detach().double().requires_grad_()
    sums = plain.sums(call, leaf, t)
    return sums.detach(), torch.autograd.grad(sums[..., 0], leaf, uneven(call, x))[0]


def agree(call, x, t, tolerance=3e-6):
    """The engine gives what PyTorch operations give."""
    got, should = found(call, x, t), exact(call, x, t)
    rounded = 0.0 if x.dtype in (torch.float32, torch.float64) else torch.finfo(x.dtype).eps
    for g, e, own in zip(got, should, (0.0, rounded), strict=True):
        torch.testing.assert_close(g.double(), e, rtol=max(own, tolerance), atol=tolerance * e.abs().max().item() if e.numel() else 0.0)
    return got


@by_call
def test_agrees_with_the_torch_engine(name, monkeypatch):
    """Where a program holds a segment, and where it holds a few of its errors; with items left over."""
    call = CALLS[name]
    x, t = drawn(call, (3, 4, 5, 7))
    assert engine.few(call, x) == call.joint
    first = agree(call, x, t)
    monkeypatch.setattr(engine, "BLOCK", 16)
    monkeypatch.setattr(engine, "SORTED", 8)
    assert not engine.few(call, x)
    sums, gradient = agree(call, x, t)
    assert gradient.equal(first[1])
    again = found(call, x, t)
    assert again[0].equal(sums) and again[1].equal(gradient)  # the same bits


@by_link
@pytest.mark.parametrize("dtype", [torch.float64, *thorough([torch.bfloat16, torch.float16])], ids=str)
def test_other_precisions(name, dtype):
    agree(CALLS[name], *drawn(CALLS[name], (2, 4, 6), dtype), tolerance=1e-12 if dtype is torch.float64 else 3e-6)


@pytest.mark.parametrize("dtype", [torch.uint8, *thorough([torch.int32, torch.float32, torch.bool])], ids=str)
def test_dtypes_of_targets(dtype):
    for name in ("softmax", "hinge") if not dtype.is_floating_point and dtype is not torch.bool else ("hinge",):
        x, t = drawn(CALLS[name], (2, 4, 6))
        assert all(a.equal(b) for a, b in zip(found(CALLS[name], x, t.to(dtype)), found(CALLS[name], x, t), strict=True))


def test_a_target_next_to_one_is_none():
    """In float32, which the input is in, 1 + 1e-12 would be 1."""
    call, x, t = CALLS["hinge"], torch.randn(2, 3, 4), torch.ones(2, 3, 4, dtype=torch.float64)
    t[0, 1, 2] += 1e-12
    sums, _ = found(call, x, t)
    assert sums[..., 0].isnan().nonzero().tolist() == [[0, 1]]


@by_link
def test_layouts(name):
    call = CALLS[name]
    x, t = drawn(call, (2, 4, 3, 5))
    mask = torch.rand(t.shape, generator=torch.Generator(DEVICE).manual_seed(1)) < 0.7
    sums, gradient = agree(call._replace(factor=mask), x, t)
    last = call._replace(dim=3, factor=mask if call.kind == "label" else mask.movedim(1, 3).contiguous())
    for moved in (x.movedim(1, 3), x.movedim(1, 3).contiguous()):
        got = found(last, moved, t if call.kind == "label" else t.movedim(1, 3))
        assert got[0].equal(sums) and got[1].movedim(3, 1).equal(gradient)
    rows = agree(call, x[..., 0, 0].contiguous(), t[..., 0, 0].contiguous())
    assert rows[0].shape[-1] == 3


@by_call
def test_absent_items_get_exact_zeros_whatever_they_hold(name):
    call = CALLS[name]
    x, t = drawn(call, (3, 4, 9))
    draw = torch.Generator(DEVICE).manual_seed(3)
    shapes = [(3, 9)] if call.link == "softmax" or call.kind == "label" else [(3, 9), (3, 4, 9)]
    for bad, shape in zip((NAN, INF), shapes, strict=False):
        factor = torch.rand(shape, generator=draw) < 0.7
        every = (factor if factor.dim() == 3 else factor.unsqueeze(1)).expand(x.shape)
        own = factor if call.kind == "label" else every
        _, gradient = agree(call._replace(factor=factor), torch.where(every, x, bad), torch.where(own, t, 7))
        assert gradient[~every].eq(0).all() and gradient.ne(0).any()
        marked = agree(call._replace(ignore=-7), torch.where(every, x, bad), torch.where(own, t, -7))
        assert marked[1].equal(gradient)
    nothing = engine.run(call._replace(factor=torch.zeros(3, 9, dtype=torch.bool)), x, t)[0]
    assert nothing.eq(0).all()


def test_what_is_wrong_shows_in_its_segment():
    for name, wrong in (("softmax", 4), ("softmax", -1), ("hinge", 2), ("softmax of a batch", 4)):
        call = CALLS[name]
        x, t = drawn(call, (2, 4, 9))
        t.view(-1)[-1] = wrong
        sums, should = engine.run(call, x, t)[0], plain.sums(call, x.double(), t)
        torch.testing.assert_close(sums, should, rtol=3e-6, atol=1e-6, equal_nan=True)
        assert sums[-1, -1, 0].isnan() and sums[..., 1:].isfinite().all()
        assert found(call, x, t)[1].isnan().any()  # whoever looks at gradients alone sees it, too
    for k in range(4):  # also the first class, before which there is no largest score
        x, t = drawn(CALLS["softmax"], (2, 4, 9))
        x[1, k, 3] = NAN
        for t[1, 3] in range(4):
            sums, gradient = found(CALLS["softmax"], x, t)
            assert sums[0].isfinite().all() and sums[1, :, 0].isnan().all()
            assert gradient[1, :, 3].isnan().all() and gradient.isnan().sum() == 4


def test_a_class_that_counts_for_nothing_may_hold_anything():
    x, t = torch.tensor([[[NAN, 0.3], [0.1, 0.2]]], requires_grad=True), torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])
    for settings in ({"weight": [0.0, 1.0]}, {"normalizer": torch.tensor(2)}):
        with losskit.use_engine("triton"):
            loss = losskit.lovasz_loss(x, t, task="multilabel", average="macro", **settings)
        (gradient,) = torch.autograd.grad(loss, x, torch.tensor(float("weight" in settings)))
        assert gradient[0, 0].eq(0).all()


def test_infinite_scores():
    call = CALLS["softmax"]
    x, t = drawn(call, (2, 4, 6))
    x[:, 3] = -INF  # ruled out: the label of none
    assert agree(call, x, t)[1][:, 3].eq(0).all()
    x[0, 1, 2] = INF
    largest = torch.finfo(x.dtype).max
    for got, should in zip(found(call, x, t), found(call, x.clamp(max=largest), t), strict=True):
        assert got.equal(should)
    assert engine.run(call, torch.full_like(x, -INF), t)[0][..., 0].isnan().any()


def test_sure_items_keep_their_digits():
    """p = exp(-40) beside 1: the gradient of the class with the largest score is no difference of its products."""
    call = CALLS["softmax"]
    x = torch.zeros(1, 4, 3)
    x[:, 2] = 40.0
    t = torch.tensor([[2, 2, 1]])
    _, slopes = engine.run(call, x, t)
    q = slopes.double() * uneven(call, x)[:, :, None]
    should = math.exp(-40.0) * (q - q[:, 2:3])
    should[:, 2] = -should.sum(1)
    torch.testing.assert_close(found(call, x, t)[1].double(), should, rtol=3e-6, atol=0.0)


def test_nothing_to_sort_and_too_much():
    call = CALLS["softmax"]
    assert not engine.takes(call, torch.empty(0, 4, 3)) and not engine.takes(call, torch.empty(2, 4, 0))
    large = torch.empty(2, 2, 1 << 30, device="meta")
    assert engine.takes(call, large) and not engine.takes(CALLS["softmax of a batch"], large)


@pytest.mark.parametrize("task", ["multiclass", *thorough(["binary", "multilabel"])])
def test_the_loss(task):
    """Through the contract: value and gradient under what comes in, a second backward, and a derivative of the gradient."""
    call = CALLS["softmax" if task == "multiclass" else "hinge"]
    x, t = drawn(call, (3, 4, 8))
    results = []
    for forced, dtype in (("triton", torch.float32), ("torch", torch.float64)):
        leaf = x.to(dtype).requires_grad_()
        with losskit.use_engine(forced):
            value = losskit.lovasz_loss(leaf, t, task=task, average="none")
        incoming = torch.linspace(0.5, 2.0, value.numel(), dtype=dtype).reshape(value.shape)
        (first,) = torch.autograd.grad(value, leaf, incoming, retain_graph=True)
        (again,) = torch.autograd.grad(value, leaf, incoming, retain_graph=True)
        assert again.equal(first)
        (graph,) = torch.autograd.grad(value, leaf, incoming, create_graph=True)
        results.append((value, first, graph))
        if task == "multiclass":
            results[-1] += torch.autograd.grad(graph.square().sum(), leaf)
    for got, should in zip(*results, strict=True):
        torch.testing.assert_close(got.double(), should, rtol=1e-5, atol=1e-5 * should.abs().max().item())
