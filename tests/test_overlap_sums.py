"""`losskit.overlap_sums`: every sum and its gradient against plain operations, and losses made of them."""

import pytest
import torch
from claims import claim

import losskit

ENGINES = ("cpu", "torch")


def grad(value, x):
    return torch.autograd.grad(value, x)[0]


SUMS = [
    ("multiclass", None),
    ("multiclass", "cross_entropy"),
    ("multiclass", "focal"),
    ("multilabel", None),
    ("multilabel", "cross_entropy"),
    ("multilabel", "focal"),
    ("binary", "focal"),
    ("soft", None),
]


DTYPES = [("multiclass", "cross_entropy", torch.float64), ("multiclass", "cross_entropy", torch.float16)]
# loops differ in what a target is, and in the second loss; without one they are those of the laws
LOOPS = [("multiclass", "cross_entropy", torch.float32), ("multilabel", "focal", torch.float32), ("soft", None, torch.float32), *DTYPES]
ASKED = [*((task, extra, torch.float32, "torch") for task, extra in SUMS), *((*of, "torch") for of in DTYPES), *((*of, "cpu") for of in LOOPS)]


@pytest.mark.parametrize(("task", "extra", "dtype", "engine"), ASKED, ids=str)
def test_overlap_sums(task, extra, dtype, engine):
    draw = torch.Generator().manual_seed(2)
    x = (2.0 * torch.randn(2, 3, 6, generator=draw, dtype=torch.float64)).to(dtype)
    hot = torch.nn.functional.one_hot(torch.randint(0, 3, (2, 6), generator=draw), 3).movedim(-1, 1)
    mask = torch.rand(2, 6, generator=draw) < 0.7
    counts = mask[:, None].expand(2, 3, 6)
    t = hot.argmax(1) if task == "multiclass" else hot.double() * 0.7 if task == "soft" else hot
    given = mask
    if task == "binary":
        x, t, counts, given = x[:, 0], t[:, 0], counts[:, :1], mask
    x.requires_grad_()
    wide = x.detach().double().requires_grad_()
    with losskit.use_engine(engine):
        found = losskit.overlap_sums(x, t, task="multiclass" if task == "soft" else task, extra=extra, gamma=1.5, mask=given)
    score = wide[:, None] if task == "binary" else wide
    p = score.softmax(1) if task in ("multiclass", "soft") else score.sigmoid()
    target = (hot if task == "multiclass" else t[:, None] if task == "binary" else t).double()
    zero = torch.zeros_like(p)
    items = zero
    if extra is not None:
        nll = -p.log() * target if task == "multiclass" else -(p.log() * target + (1 - p).log() * (1 - target))
        fade = (1 - p) ** 1.5 if task == "multiclass" else (1 - torch.where(target == 1, p, 1 - p)) ** 1.5
        items = nll if extra == "cross_entropy" else fade * nll
    terms = (p * target, p, target, p * p, target * target, torch.ones_like(p), items)
    expected = [torch.where(counts, term, zero).sum(-1) for term in terms]
    incoming = [torch.randn(e.shape, generator=draw, dtype=torch.float64) for e in expected]
    tolerance = {torch.float64: 1e-12, torch.float32: 3e-6, torch.float16: 3e-6}[dtype]
    for name, a, b in zip(found._fields, found, expected, strict=True):
        assert a.dtype is torch.float64 and a.shape == (2, 1 if task == "binary" else 3), name
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance, msg=name)
    ours = grad(sum((a * g).sum() for a, g in zip(found, incoming, strict=True)), x)
    theirs = grad(sum((a * g).sum() for a, g in zip(expected, incoming, strict=True)), wide)
    assert ours.dtype is dtype
    torch.testing.assert_close(ours.double(), theirs, rtol=max(tolerance, torch.finfo(dtype).eps), atol=max(tolerance, torch.finfo(dtype).eps / 8))


def test_sums_without_squares_and_with_a_graph_of_their_own():
    draw = torch.Generator().manual_seed(0)
    x, t = torch.randn(2, 3, 4, generator=draw).requires_grad_(), torch.randint(0, 3, (2, 4), generator=draw)
    for engine in ENGINES:
        with losskit.use_engine(engine):
            sums = losskit.overlap_sums(x, t, task="multiclass", squared=False)
        assert not sums.prediction_squared.any() and not sums.target_squared.any()
        (first,) = torch.autograd.grad((sums.intersection**2).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), x)
        p = x.double().softmax(1)
        own = ((p * torch.nn.functional.one_hot(t, 3).movedim(-1, 1)).sum(-1) ** 2).sum()
        (theirs,) = torch.autograd.grad(own, x, create_graph=True)
        torch.testing.assert_close(second, torch.autograd.grad(theirs.square().sum(), x)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("dice_loss", lambda s: 1 - 2 * s.intersection / (s.prediction + s.target)),
        ("jaccard_loss", lambda s: 1 - s.intersection / (s.prediction + s.target - s.intersection)),
    ],
)
def test_a_loss_of_ones_own_from_the_sums(name, formula, engine):
    draw = torch.Generator().manual_seed(0)
    x, t = torch.randn(2, 3, 4, generator=draw).requires_grad_(), torch.randint(0, 3, (2, 4), generator=draw)
    with losskit.use_engine(engine):
        own = formula(losskit.overlap_sums(x, t, task="multiclass")).mean().float()
        ready = losskit.LOSSES[name].function(x, t, task="multiclass", smooth=0.0)
    torch.testing.assert_close(own, ready)
    torch.testing.assert_close(grad(own * 3.0, x), grad(ready * 3.0, x))


@pytest.mark.parametrize("engine", ENGINES)
@claim("overlap_sums", "Absent items (ignored, masked) add 0")
def test_absent_items_add_nothing_whatever_they_hold(engine):
    x = torch.tensor([[[1.0, float("nan"), 2.0], [0.0, float("inf"), -1.0]]]).requires_grad_()
    t = torch.tensor([[0, -100, 1]])
    with losskit.use_engine(engine):
        sums = losskit.overlap_sums(x, t, task="multiclass", extra="cross_entropy")
        fewer = losskit.overlap_sums(x.detach()[..., [0, 2]], t[..., [0, 2]], task="multiclass", extra="cross_entropy")
        nothing = losskit.overlap_sums(x, t, task="multiclass", mask=torch.zeros(1, 3, dtype=torch.bool))
    for a, b, c in zip(sums, fewer, nothing, strict=True):
        torch.testing.assert_close(a.detach(), b)
        assert not c.any()
    gradient = grad(sums.intersection.sum() + sums.extra.sum() + sums.prediction_squared.sum(), x)
    assert gradient.isfinite().all() and not gradient[..., 1].any()
