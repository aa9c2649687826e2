"""Margins on the label's cosine: ArcFace, CosFace and their sub-centres. What laws over the registry do not see."""

import math

import mpmath
import pytest
import torch
import torch.nn.functional as F
from cases import thorough_rows
from claims import claim, slope

import losskit
from losskit.engines import chunks
from losskit.engines.torch import products

arc, cos = losskit.arcface_loss, losskit.cosface_loss
BOTH = pytest.mark.parametrize("loss", (arc, cos), ids=("arcface", "cosface"))
EACH_WAY = pytest.mark.parametrize(("loss", "engine"), [(arc, "torch"), (arc, "cpu"), (cos, "torch"), *thorough_rows([(cos, "cpu")])], ids=lambda x: named(x))
NONE = dict(reduction="none")
SHAPES = [(7, 5), (2, 6, 9), (5, 40), (3, 700), (2, 5000)]
WAYS = [(loss, engine, shape) for loss in (arc, cos) for engine in ("torch", "cpu") for shape in SHAPES]
LIKEWISE = [(cos, "cpu", shape) for shape in SHAPES]  # loops that ArcFace shows


def named(x):
    return {arc: "arcface", cos: "cosface"}.get(x) if callable(x) else str(x)


def lowered(loss, own, margin):
    """The label's cosine with its margin, as papers write it."""
    if loss is cos:
        return own - margin
    return torch.where(own > -math.cos(margin), (own.acos() + margin).cos(), own - (1 - math.cos(margin)))


def plain(loss, x, t, margin, scale=64.0):
    """The loss of each row in PyTorch operations, by torch's own cross-entropy."""
    place = t.clamp(min=0).unsqueeze(1)
    z = scale * x.scatter(1, place, lowered(loss, x.gather(1, place), margin))
    return F.cross_entropy(z, t, reduction="none")


def cosines(shape, seed=0, dtype=torch.float64):
    """Cosines of the whole range, and labels of which some are absent."""
    draw = torch.Generator().manual_seed(seed)
    x = 2 * torch.rand(shape, generator=draw, dtype=torch.float64) - 1
    t = torch.randint(shape[1], (shape[0], *shape[2:]), generator=draw)
    return x.to(dtype), torch.where(torch.rand(t.shape, generator=draw) < 0.2, -100, t)


def factors(items=40, classes=12, width=6, dtype=torch.float64, seed=3):
    """Embeddings and centres, not yet of length 1."""
    draw = torch.Generator().manual_seed(seed)
    x, centres = (torch.randn(n, width, generator=draw, dtype=torch.float64).to(dtype) for n in (items, classes))
    return x, centres


def product(x, centres, **how):
    return losskit.linear_scores(F.normalize(x, dim=-1), F.normalize(centres, dim=-1), **how)


def whole(x, centres):
    return F.linear(F.normalize(x, dim=-1), F.normalize(centres, dim=-1))


# the definition


@pytest.mark.chosen
@pytest.mark.parametrize(("loss", "engine", "shape"), [*(way for way in WAYS if way not in LIKEWISE), *thorough_rows(LIKEWISE)], ids=named)
def test_is_cross_entropy_of_the_scores_with_a_margin(loss, engine, shape):
    """Of few classes and many, rows and images, by value and by a gradient that is not the same for all items."""
    x, t = cosines(shape)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    incoming = torch.linspace(-1, 2, t.numel(), dtype=torch.float64).reshape(t.shape)
    with losskit.use_engine(engine):
        got = loss(a, t, margin=0.4, **NONE)
        got.backward(incoming)
    expected = plain(loss, b, t, 0.4)
    expected.backward(incoming)
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(a.grad, b.grad, rtol=1e-11, atol=1e-11)


@pytest.mark.chosen
@EACH_WAY
def test_sure_items_keep_their_digits(loss, engine):
    """Scores 90 and more above the others, whose exponentials float32 does not have, beside a margin that lifts the loss to where it has them; and cosines beside 1, where
    the derivative of an angle is large, and beside that of pi - margin, where it is 0.
    """
    x = torch.tensor(
        [[0.8, -0.61, -0.7], [0.5, -0.92, -0.95], [1 - 2**-24, -0.4, -0.9], [1 - 2**-20, 0.9, 0.99], [-0.6, 0.8, 0.1], [-0.5403, 0.8, 0.1], [-0.5402, 0.1, 0.2]]
    )
    t = torch.zeros(7, dtype=torch.long)
    margin = {arc: 1.0, cos: 0.9}[loss]
    with losskit.use_engine(engine):
        value, gradient = slope(loss, x, t, margin=margin, **NONE)
    mp = mpmath.mp.clone()
    mp.dps = 60
    for row, got, by in zip(x.tolist(), value.tolist(), gradient.tolist(), strict=True):

        def exact(c, row=row):
            own = mp.cos(mp.acos(c) + mp.mpf(margin)) if loss is arc and c > -mp.cos(margin) else c - (1 - mp.cos(margin) if loss is arc else mp.mpf(margin))
            return mp.log1p(mp.fsum(mp.exp(64 * (mp.mpf(v) - own)) for v in row[1:]))

        assert got == pytest.approx(float(exact(mp.mpf(row[0]))), rel=1e-5)
        assert by[0] == pytest.approx(float(mp.diff(exact, mp.mpf(row[0]), h=mp.mpf(10) ** -20)), rel=1e-5)
        assert value.min() > 0


def test_second_derivatives_are_those_of_the_definition():
    for loss in (arc, cos):
        x, t = cosines((5, 4), seed=2)
        assert torch.autograd.gradgradcheck(lambda x: loss(x, t, scale=6.0), x.requires_grad_())  # noqa: B023
        found = [torch.autograd.functional.hessian(f, x.detach()) for f in (lambda x: loss(x, t, margin=0.3, scale=6.0, reduction="sum"), lambda x: plain(loss, x, t, 0.3, 6.0).sum())]  # noqa: B023  # fmt: skip
        torch.testing.assert_close(*found)


# the ends of the range


@claim("arcface_loss", "The loss falls as the label's cosine rises")
def test_the_loss_falls_everywhere():
    for margin in (0.2, 0.5, 1.2, math.pi / 2):
        c = torch.linspace(-1, 1, 20001, dtype=torch.float64)
        x = torch.stack((c, 0 * c), 1)
        value, gradient = slope(arc, x, torch.zeros(len(c), dtype=torch.long), margin=margin, scale=3.0, **NONE)
        assert (value.diff() < 0).all() and value.diff().abs().max() < 0.05  # a step at 1 is steep: sin(margin) sqrt(2e-4) times the scale
        assert (gradient[:, 0] <= 0).all()


@claim("arcface_loss", "At a cosine of 1 the derivative, which is infinite there, is finite")
def test_the_derivative_at_one_is_finite():
    t = torch.zeros(1, dtype=torch.long)
    for dtype, angle in ((torch.float32, 2.44e-4), (torch.bfloat16, 0.0625), (torch.float16, 0.0221), (torch.float64, 1.05e-8)):
        _, gradient = slope(arc, torch.tensor([[1.0, 1.0]], dtype=dtype), t, scale=1.0, **NONE)
        expected = -torch.sigmoid(torch.tensor(1 - math.cos(0.5), dtype=torch.float64)) * (math.cos(0.5) + math.sin(0.5) / angle)
        torch.testing.assert_close(gradient[0, 0].double(), expected, rtol=1e-2, atol=0)
    beside = torch.tensor([[1 - 2**-24, 1.0]])  # the number before 1 in float32: as the definition has it
    _, gradient = slope(arc, beside, t, scale=1.0, **NONE)
    _, exact = slope(lambda x, t, **how: plain(arc, x, t, 0.5, 1.0), beside.double(), t)
    torch.testing.assert_close(gradient.double(), exact, rtol=1e-5, atol=0)
    for dtype in (torch.float32, torch.float64):  # an embedding that is its centre, and one that nearly is
        centres = F.normalize(torch.tensor([[1.0, 2.0, 3.0], [3.0, -1.0, 0.5]], dtype=dtype), dim=1)
        for off in (0.0, 1e-6, 1e-3):
            x = (centres[:1] + off * torch.tensor([[1.0, 1.0, -1.0]], dtype=dtype)).requires_grad_()
            arc(whole(x, centres), t, scale=64.0, margin=1.5).backward()
            assert x.grad.isfinite().all() and x.grad.norm() <= 2 * 64  # of the label and of the other class at most the scale each


@claim("arcface_loss", "Cosines beyond 1 by rounding count as 1")
@claim("cosface_loss", "Cosines beyond 1 by rounding count as 1")
@pytest.mark.chosen
@EACH_WAY
def test_beyond_one_by_rounding(loss, engine):
    t = torch.tensor([0, 0])
    with losskit.use_engine(engine):
        for far in (2**-23, 1e-3, 0.019):
            value, gradient = slope(loss, torch.tensor([[1 + far, 0.9], [-1 - far, 0.9]]), t, **NONE)
            expected, at_one = slope(loss, torch.tensor([[1.0, 0.9], [-1.0, 0.9]]), t, **NONE)
            torch.testing.assert_close((value, gradient), (expected, at_one), rtol=1e-6, atol=0)
            assert gradient.isfinite().all()


@claim("arcface_loss", "margin=0 is `cross_entropy`")
@claim("cosface_loss", "margin=0 is `cross_entropy`")
@pytest.mark.chosen
@EACH_WAY
def test_no_margin(loss, engine):
    """By the same numbers, to the last bit; of scores that were multiplied before, to their rounding."""
    for shape in ((50, 7), (6, 300)):
        x, t = cosines(shape, dtype=torch.float32)
        x[0, 0], x[1, 0], t[:2] = 1.0, -1.0, 0
        with losskit.use_engine(engine):
            found = slope(loss, x, t, margin=0.0, scale=30.0, **NONE)
            same = slope(losskit.cross_entropy, x, t, temperature=1 / 30, **NONE)
            value, gradient = slope(losskit.cross_entropy, 30.0 * x, t, **NONE)
        for ours, exactly in zip(found, same, strict=True):
            assert torch.equal(ours, exactly)
        torch.testing.assert_close(found, (value, 30.0 * gradient), rtol=1e-5, atol=1e-5)


@claim("arcface_loss", "insightface goes on with x_y - margin sin(margin)")
@claim("arcface_loss", "pytorch-metric-learning's margin is in degrees")
@claim("cosface_loss", "insightface's and pytorch-metric-learning's have the same formula")
def test_other_libraries():
    """Their formulas, written out."""
    x, t = cosines((40, 5))
    t = t.clamp(min=0)
    own = x.gather(1, t[:, None])
    after = math.cos(math.pi - 0.5)
    theirs = torch.where(own > after, own * math.cos(0.5) - (1 - own**2).sqrt() * math.sin(0.5), own - 0.5 * math.sin(math.pi - 0.5))
    value = F.cross_entropy(64 * x.scatter(1, t[:, None], theirs), t, reduction="none")
    ours, gradient = slope(arc, x, t, **NONE)
    near = own[:, 0] > after
    torch.testing.assert_close(ours[near], value[near])
    assert 0 < near.sum() < 40
    jump = math.sin(0.5) * 0.5 - (1 - math.cos(0.5))
    assert jump == pytest.approx(0.117, abs=1e-3)
    torch.testing.assert_close((value - ours)[~near], torch.full_like(ours, 64 * jump)[~near], rtol=1e-3, atol=1e-3)  # such items are wholly wrong
    torch.testing.assert_close(gradient.gather(1, t[:, None])[~near], torch.full_like(own, -64.0)[~near])  # slope 1, as theirs
    assert math.degrees(0.5) == pytest.approx(28.65, abs=0.01)
    theirs = x - 0.35 * F.one_hot(t, 5)
    torch.testing.assert_close(cos(x, t, **NONE), F.cross_entropy(64 * theirs, t, reduction="none"))


# products and sub-centres


@pytest.mark.chosen
@EACH_WAY
@pytest.mark.parametrize("sub_centers", (1, 3))
@pytest.mark.parametrize("dtype", (torch.float64, torch.float32))
def test_a_product_gives_what_whole_cosines_give(loss, engine, sub_centers, dtype):
    """Value, each item's loss, and gradients of both factors, in chunks, with absent items, weights and an incoming gradient that is not 1."""
    x, centres = factors(classes=12, dtype=dtype)
    t = torch.arange(40) % (12 // sub_centers)
    t[::7] = -100
    weight = torch.linspace(0.5, 2.0, 12 // sub_centers, dtype=dtype)
    found = []
    for made in (whole, lambda a, b: product(a, b, chunk=16)):
        a, b = x.clone().requires_grad_(), centres.clone().requires_grad_()
        with losskit.use_engine(engine):
            value = loss(made(a, b), t, sub_centers=sub_centers, weight=weight)
            (3 * value).backward()
            each = loss(made(x, centres), t, sub_centers=sub_centers, **NONE)
        found.append((value.detach(), each, a.grad, b.grad))
    digits = dict(rtol=1e-10, atol=1e-12) if dtype is torch.float64 else dict(rtol=2e-5, atol=2e-5)
    torch.testing.assert_close(*found, **digits)
    assert sub_centers == 1 or found[0][3].any(1).sum() > 12 // sub_centers  # more than one centre of a class learns


@BOTH
def test_the_largest_of_a_class_counts(loss):
    """Centres of a class lie next to each other; the first of equal ones has the gradient, and no other."""
    x = torch.tensor([[0.1, 0.7, 0.7, -0.3, -0.2, 0.0], [0.2, 0.3, -0.5, 0.9, 0.9, 0.8]])
    t = torch.tensor([0, 0])
    value, gradient = slope(loss, x, t, sub_centers=3, scale=8.0, **NONE)
    expected, by = slope(loss, torch.tensor([[0.7, 0.0], [0.3, 0.9]]), t, scale=8.0, **NONE)
    assert torch.equal(value, expected)
    places = torch.tensor([[1, 5], [1, 3]])
    assert torch.equal(gradient, torch.zeros_like(x).scatter(1, places, by))
    images = x.reshape(2, 6, 1, 1).expand(2, 6, 2, 3)
    torch.testing.assert_close(loss(images, t[:, None, None].expand(2, 2, 3), sub_centers=3, scale=8.0, **NONE), value[:, None, None].expand(2, 2, 3))


@pytest.mark.parametrize("module", (chunks, products))
def test_a_product_with_sub_centres_is_never_whole(module, monkeypatch):
    """Chunks of 16 of 64 items are all that is ever made of it."""
    seen = []
    largest = module.largest
    monkeypatch.setattr(module, "largest", lambda scores, *rest: seen.append(scores.shape) or largest(scores, *rest))
    x, centres = factors(items=64)
    with losskit.use_engine("torch" if module is products else "cpu"):
        arc(product(x.requires_grad_(), centres, chunk=16), torch.arange(64) % 4, sub_centers=3).backward()
    assert {tuple(shape) for shape in seen} == {(16, 12)}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile's own
def test_compiled_and_transformed():
    x, centres = factors(items=30, dtype=torch.float32)
    t = torch.arange(30) % 4

    def step(x, centres):
        return arc(product(x, centres), t, sub_centers=3) + cos(whole(x, centres), t)

    expected = slope(step, x, centres)
    torch.testing.assert_close(slope(torch.compile(step, backend="aot_eager", fullgraph=True), x, centres), expected, rtol=1e-5, atol=1e-6)
    one = lambda x, t: arc(whole(x, centres), t, sub_centers=3)  # noqa: E731
    torch.testing.assert_close(torch.func.vmap(one)(x, t), arc(whole(x, centres), t, sub_centers=3, **NONE))


def test_parts_are_those_of_the_scores_with_the_margin():
    x = torch.tensor([[0.9, 0.8], [0.9, 0.1], [0.4, 0.2]])
    t = torch.tensor([0, 0, -100])
    value, parts = cos(x, t, margin=0.3, scale=10.0, return_parts=True)
    z = 10 * torch.tensor([[0.6, 0.8], [0.6, 0.1], [0.0, 0.0]])
    torch.testing.assert_close(parts.lse, torch.where(t == 0, z.logsumexp(1), 0.0))
    torch.testing.assert_close(parts.losses.sum() / 2, value)
    assert parts.accuracy == 0.5 and parts.items == 2  # the first is right, but not by the margin


# what is refused

X, L = torch.tensor([[0.5, 0.2, -0.1], [0.9, -0.3, 0.0]]), torch.tensor([2, 0])
BAD = [
    (dict(margin=-0.1), ValueError, "margin must be >= 0"),
    (dict(margin=math.nan), ValueError, "margin must not be NaN"),
    (dict(margin="0.5"), TypeError, "margin must be a number"),
    (dict(margin=100.0), ValueError, "margin must be"),
    (dict(scale=0.0), ValueError, "scale must be > 0"),
    (dict(scale=-64.0), ValueError, "scale must be > 0"),
    (dict(scale=torch.ones(())), TypeError, "scale must be a number"),
    (dict(sub_centers=0), ValueError, "sub_centers must be at least 1"),
    (dict(sub_centers=2), ValueError, "no multiple of sub_centers=2"),
    (dict(sub_centers=3), ValueError, "input has one class"),
    (dict(sub_centers=1.0), TypeError, "sub_centers must be a whole number"),
    (dict(sub_centers=True), TypeError, "sub_centers must be a whole number"),
    (dict(target=torch.tensor([3, 0])), ValueError, r"labels from 0 to 2 .* got 3 at index \(0,\)"),
    (dict(target=torch.tensor([0.0, 1.0])), TypeError, "target must be class labels"),
    (dict(input=X * 3), ValueError, r"input must hold cosines.* got 2\.7 for the label at index \(1,\).*F\.linear\(F\.normalize\(x"),
    (dict(input=-X * 3), ValueError, r"input must hold cosines.* got -2\.7"),
    (dict(input=X.long()), TypeError, "input must"),
    (dict(weight=[1.0, 2.0]), ValueError, "weight"),
    (dict(dim=2), ValueError, "dim must be an axis"),
]


@pytest.mark.chosen
@EACH_WAY
@pytest.mark.parametrize(("bad", "kind", "says"), BAD, ids=[f"{next(iter(bad))}={i}" for i, (bad, *_) in enumerate(BAD)])
def test_what_is_refused(loss, engine, bad, kind, says):
    with losskit.use_engine(engine), pytest.raises(kind, match=says):
        loss(**{"input": X, "target": L} | bad)


@pytest.mark.chosen
@EACH_WAY
def test_scores_of_vectors_that_are_not_of_length_one_are_refused(loss, engine):
    x, centres = factors()
    t = torch.arange(40) % 4
    for sub_centers in (1, 3):
        with losskit.use_engine(engine), pytest.raises(ValueError, match=r"input must hold cosines.*linear_scores\(F\.normalize\(x"):
            loss(losskit.linear_scores(4 * x, centres), t, sub_centers=sub_centers)
    with losskit.use_engine(engine):  # absent items may hold anything; a NaN is a NaN
        assert loss(torch.cat((X, 100 * X)), torch.cat((L, L)), mask=torch.tensor([True, True, False, False])) == loss(X, L)
        assert loss(torch.cat((X, 100 * X)), torch.cat((L, 0 * L - 100))) == loss(X, L)
        assert loss(torch.full_like(X, math.nan), L).isnan()


@BOTH
def test_sizes_of_none_and_one(loss):
    """No items: 0, attached to the graph. One class, and none, are refused as by every softmax."""
    for shape in ((0, 3), (0, 3, 4), (2, 3, 0)):
        x = torch.zeros(shape, requires_grad=True)
        value = loss(x, torch.zeros((shape[0], *shape[2:]), dtype=torch.long))
        value.backward()
        assert value == 0 and x.grad.shape == shape
    for shape in ((4, 1), (4, 0)):
        with pytest.raises(ValueError, match=r"one class|no classes"):
            loss(torch.zeros(shape), torch.zeros(4, dtype=torch.long))
    assert loss(torch.zeros(1, 2), torch.tensor([1])).shape == loss(torch.zeros(2), torch.tensor(1)).shape == ()
    x, centres = factors(items=0)
    none = torch.zeros(0, dtype=torch.long)
    assert loss(product(x.requires_grad_(), centres), none) == 0
    assert loss(product(x, centres), none, sub_centers=3, **NONE).shape == (0,)
