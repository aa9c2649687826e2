"""What the docstrings of `linear_scores`, `linear_cross_entropy` and `linear_log_prob` claim. How a claim finds its sentence: `claims.py`."""

import inspect
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from cases import thorough
from claims import claim
from torch import nn
from torch.profiler import ProfilerActivity, profile

import losskit
from losskit.engines import chunks, private
from losskit.engines.cpu import products

TOKENS, WIDTH, CLASSES = 40, 16, 37
OPTIONS = torch.nn.LinearCrossEntropyOptions() if hasattr(nn, "LinearCrossEntropyOptions") else None
has_torchs = pytest.mark.skipif(OPTIONS is None, reason="torch")


def factors(dtype=torch.float32, tokens=TOKENS):
    """Hidden states, a head, its bias and labels."""
    draw = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(*shape, generator=draw).to(dtype).requires_grad_() for shape in ((tokens, WIDTH), (CLASSES, WIDTH), (CLASSES,)))
    return x, weight, bias, torch.randint(0, CLASSES, (tokens,), generator=draw)


@pytest.fixture
def made(monkeypatch):
    """How many rows of each product are made: of scores, of the input's gradient, of the weight's."""
    rows: Counter[str] = Counter()

    def counted(owner, name, what, which):
        real = getattr(owner, name)

        def method(self, *tensors):
            rows[what] += tensors[which].shape[0]
            return real(self, *tensors)

        monkeypatch.setattr(owner, name, method)

    counted(chunks.Weight, "scores", "scores", 0)
    counted(chunks.Weight, "back", "by input", 0)
    counted(chunks.Same, "add", "by weight", 1)
    return rows


def allocated(step):
    """The pieces of memory that were taken."""
    step()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        step()
    return [event.nbytes() for event in record.profiler.kineto_results.events() if event.name() == "[memory]"]


@claim("linear_scores", "A tensor of shape (..., classes)")
@claim("linear_scores", "Its method `whole()`")
def test_the_scores():
    x, weight, bias, labels = factors()
    for shape in ((TOKENS,), (4, 10), (2, 2, 10)):
        scores = losskit.linear_scores(x.reshape(*shape, WIDTH), weight, bias)
        assert isinstance(scores, torch.Tensor) and scores.shape == (*shape, CLASSES) and scores.dtype is x.dtype
        assert torch.equal(scores.whole(), F.linear(x.reshape(*shape, WIDTH), weight, bias))
        losskit.cross_entropy(scores, labels.reshape(shape), dim=-1)
        with pytest.raises(RuntimeError, match=r"try its method whole\(\)"):
            scores.sum()
    assert losskit.linear_scores(x[0], weight).shape == (CLASSES,)
    with pytest.raises(ValueError, match="dim=-1"):
        losskit.cross_entropy(losskit.linear_scores(x.reshape(4, 10, WIDTH), weight), labels.reshape(4, 10), dim=1)


@pytest.mark.filterwarnings("ignore:.*deprecated")  # forward mode: torch's own
@claim("linear_scores", "Under `torch.compile`, transforms")
def test_where_they_are_whole_from_the_start():
    x, weight, bias, labels = factors()
    kinds = []

    def loss(x):
        scores = losskit.linear_scores(x, weight.detach(), bias.detach())
        kinds.append(hasattr(scores, "made"))
        return losskit.cross_entropy(scores, labels, dim=-1)

    value = loss(x)
    torch.testing.assert_close(torch.func.grad(loss)(x.detach()), torch.autograd.grad(value, x)[0])
    torch.func.jvp(loss, (x.detach(),), (torch.ones_like(x),))
    loss(nn.Parameter(x.detach()).as_subclass(type("Sub", (torch.Tensor,), {})))
    assert kinds == [True, False, False, False]
    torch.testing.assert_close(torch.compile(lambda x: losskit.linear_scores(x, weight), backend="eager", fullgraph=True)(x), F.linear(x, weight))


@pytest.mark.chosen
@claim("linear_scores", "An absent item (ignored, masked, of weight 0)")
def test_absent_items_are_not_multiplied(made):
    x, weight, bias, labels = factors(tokens=64)
    keep = torch.arange(64) % 4 == 0  # 16 of them
    dirty = torch.where(keep[:, None], x.detach(), torch.nan).requires_grad_()
    expected = torch.autograd.grad(losskit.linear_cross_entropy(x[keep], weight, labels[keep], linear_bias=bias), (x, weight, bias))
    for given in (dict(mask=keep), dict(sample_weight=keep.float()), None):
        made.clear()
        target = labels if given else torch.where(keep, labels, -100)
        value = losskit.linear_cross_entropy(dirty, weight, target, linear_bias=bias, **(given or {}))
        found = torch.autograd.grad(value, (dirty, weight, bias))
        torch.testing.assert_close(found, expected)
        assert not found[0][~keep].any() and made == {"scores": 16, "by input": 16, "by weight": 16}


@pytest.mark.chosen
@claim("linear_scores", "A factor that requires no gradient")
def test_a_frozen_factor(made):
    x, weight, _, labels = factors(tokens=32)
    for leaf, rest in (("by input", "by weight"), ("by weight", "by input")):
        made.clear()
        pair = (x, weight.detach()) if leaf == "by input" else (x.detach(), weight)
        losskit.linear_cross_entropy(*pair, labels).backward()
        assert made[leaf] == 32 and made[rest] == 0
    x, weight, labels = torch.randn(16, 64), torch.randn(4096, 64), torch.arange(16)
    taken = [
        allocated(lambda a=a, b=b: losskit.linear_cross_entropy(a, b, labels).backward()) for a, b in ((x.requires_grad_(), weight), (x, nn.Parameter(weight)))
    ]
    assert [max(pieces) for pieces in taken] == [16 * 4096 * 4, weight.nbytes]  # the scores, and the gradient of the weight


@pytest.mark.chosen
@claim("linear_scores", "An item has the same scores whatever batch")
@claim("linear_log_prob", "A token has the same bits")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, *thorough([torch.float16, torch.float64])])
def test_an_item_has_its_bits(dtype):
    draw = torch.Generator().manual_seed(1)
    for width, classes in ((16, 517), (33, 517), (48, 300), (64, 1000)):
        x, weight = torch.randn(700, width, generator=draw).to(dtype), torch.randn(classes, width, generator=draw).to(dtype)
        y = torch.randint(0, classes, (700,), generator=draw)
        whole = losskit.linear_log_prob(x, weight, y)
        for count in (1, 2, 15, 17, 129, 699):
            for place in (slice(0, count), slice(700 - count, 700)):
                for chunk in (None, 100):
                    assert torch.equal(losskit.linear_log_prob(x[place], weight, y[place], chunk=chunk), whole[place]), (width, count)
        assert (whole - losskit.linear_log_prob(x, weight, y)).exp().eq(1).all()


@pytest.mark.chosen
@claim("linear_scores", "Gradients are made in the forward")
def test_when_gradients_are_made(made):
    x, weight, _, labels = factors(tokens=32)
    for reduction in ("mean", "sum", "none"):
        made.clear()
        value = losskit.linear_cross_entropy(x, weight, labels, reduction=reduction)
        early = reduction != "none"
        assert made == ({"scores": 32, "by input": 32, "by weight": 32} if early else {"scores": 32})
        value.sum().backward()
        assert made["scores"] == (32 if early else 64) and made["by weight"] == 32


@claim("linear_scores", "float16, and bfloat16 where the processor")
def test_what_is_multiplied_in_float32():
    assert products.multiplied(torch.float16) is torch.float32
    assert products.multiplied(torch.bfloat16) is (torch.bfloat16 if private.multiplies_bfloat16() else torch.float32)
    x, weight, bias, labels = (y.detach() for y in factors(torch.float16))
    exact = losskit.linear_cross_entropy(x.double(), weight.double(), labels, linear_bias=bias.double())
    torch.testing.assert_close(losskit.linear_cross_entropy(x, weight, labels, linear_bias=bias).double(), exact, rtol=1e-6, atol=0)


@claim("linear_scores", "Second derivatives compute chunks again")
def test_second_derivatives(monkeypatch):
    from losskit.engines.torch import products as operations

    counts = []
    real = operations.multiplied
    monkeypatch.setattr(operations, "multiplied", lambda x, weight, bias: counts.append(x.shape[0]) or real(x, weight, bias))
    x, weight, _, labels = factors(torch.float64)

    def step(chunk):
        counts.clear()
        (by,) = torch.autograd.grad(losskit.linear_cross_entropy(x, weight, labels, chunk=chunk), x, create_graph=True)
        return torch.autograd.grad(by.square().sum(), weight)[0]

    plain = torch.autograd.grad(F.cross_entropy(F.linear(x, weight), labels), x, create_graph=True)[0]
    torch.testing.assert_close(step(10), torch.autograd.grad(plain.square().sum(), weight)[0])
    assert set(counts) == {10} and len(counts) >= 2 * TOKENS // 10


@claim("linear_scores", "`torch.nn.functional.linear` makes all scores")
@claim("linear_log_prob", "There, `log_softmax(linear(...)).gather(...)`")
def test_what_is_held():
    draw = torch.Generator().manual_seed(0)
    x, weight = torch.randn(600, 2, generator=draw, requires_grad=True), torch.randn(1000, 2, generator=draw, requires_grad=True)
    labels = torch.randint(0, 1000, (600,), generator=draw)

    def kept(loss):
        """How many tensors of the size of the scores autograd keeps, and how many the backward makes."""
        sizes = {}
        with torch.autograd.graph.saved_tensors_hooks(lambda y: sizes.update({y.data_ptr(): y.nbytes}) or y, lambda y: y):
            value = loss()
        scores = 600 * 1000 * 4
        made = allocated(lambda: value.backward(retain_graph=True))
        return sum(size == scores for size in sizes.values()), sum(size == scores for size in made)

    held, made = kept(lambda: F.cross_entropy(F.linear(x, weight), labels))
    assert held == 1 and made >= 1
    assert kept(lambda: F.log_softmax(F.linear(x, weight), 1).gather(1, labels[:, None]).sum()) == (1, 2)
    for ours in (
        lambda: losskit.linear_cross_entropy(x, weight, labels, chunk=64),
        lambda: losskit.linear_log_prob(x, weight, labels, chunk=64).sum(),
        lambda: losskit.focal_loss(losskit.linear_scores(x, weight, chunk=64), labels, task="multiclass", dim=-1),
    ):
        assert kept(ours) == (0, 0)


@claim("linear_cross_entropy", "A scalar, or with reduction")
@claim("linear_cross_entropy", "float32, or float64 of float64 factors")
@claim("linear_log_prob", "The target's shape, in (-inf, 0]")
@claim("linear_log_prob", "float32, or float64 of float64 factors")
@claim("linear_log_prob", "Differentiable, with any incoming gradient")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_what_comes_back(dtype):
    x, weight, bias, labels = factors(dtype)
    real = torch.float64 if dtype is torch.float64 else torch.float32
    for shape in ((TOKENS,), (4, 10)):
        y = labels.reshape(shape)
        arguments = (x.reshape(*shape, WIDTH), weight, y)
        for reduction, size in (("mean", ()), ("sum", ()), ("none", shape)):
            value = losskit.linear_cross_entropy(*arguments, linear_bias=bias, reduction=reduction)
            assert value.shape == size and value.dtype is real and (value >= 0).all()
        chosen = losskit.linear_log_prob(*arguments, linear_bias=bias, mask=y != 3)
        assert chosen.shape == shape and chosen.dtype is real and (chosen <= 0).all() and not chosen[y == 3].any() and chosen[y != 3].all()
        incoming = torch.linspace(-1, 2, TOKENS, dtype=real).reshape(shape)
        found = torch.autograd.grad(chosen, (x, weight, bias), incoming)
        logs = F.linear(x.double(), weight.double(), bias.double()).log_softmax(-1).gather(-1, labels[:, None])[:, 0].reshape(shape)
        expected = torch.autograd.grad(logs, (x, weight, bias), incoming.double() * (y != 3))
        for by, right in zip(found, expected, strict=True):
            torch.testing.assert_close(by, right, rtol=0, atol={torch.float64: 1e-12, torch.float32: 1e-5}.get(dtype, 0.1))


@claim("linear_cross_entropy", "As of `linear_scores` and `cross_entropy`")
@claim("linear_cross_entropy", "A label of a class out of range")
def test_nothing_and_wrong_labels(made):
    x, weight, bias, labels = factors()
    value = losskit.linear_cross_entropy(x, weight, torch.full_like(labels, -100), linear_bias=bias)
    assert value == 0 and not any(by.any() for by in torch.autograd.grad(value, (x, weight, bias)))
    assert made["scores"] == 0
    with pytest.raises(ValueError, match=r"labels from 0 to 36 .* got 37 at index \(3,\)"):
        losskit.linear_cross_entropy(x, weight, labels.index_fill(0, torch.tensor(3), CLASSES))
    assert made["scores"] == 0


@has_torchs
@claim("linear_cross_entropy", "`torch.nn.functional.linear_cross_entropy` makes all logits")
@claim("linear_cross_entropy", "With options it still makes all logits")
@claim("linear_cross_entropy", "A second backward raises unless the options allow it")
@claim("linear_cross_entropy", "Its `ignore_index` of None means -100")
@claim("linear_cross_entropy", "Its input has at most two axes")
@claim("linear_cross_entropy", "Its module owns the head")
def test_torchs_function():
    x, weight, _, labels = factors()
    theirs = F.linear_cross_entropy
    assert "CrossEntropy" not in type(theirs(x, weight, labels).grad_fn).__name__  # the reference: cross_entropy of all logits
    with pytest.warns(UserWarning, match="``options`` ignored"):
        theirs(x, weight, labels, label_smoothing=0.1, options=OPTIONS)
    with pytest.warns(UserWarning, match="``options`` ignored"):
        theirs(x, weight, torch.full((TOKENS, CLASSES), 1 / CLASSES), options=OPTIONS)
    with pytest.warns(UserWarning, match="``options`` ignored"), pytest.raises((RuntimeError, IndexError)):
        theirs(x, weight, labels.int(), options=OPTIONS)  # and then refuses it
    value = theirs(x, weight, labels, options=OPTIONS)
    value.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="called twice"):
        value.backward()
    ours = losskit.linear_cross_entropy(x, weight, labels)
    ours.backward(retain_graph=True)
    ours.backward()
    some = labels.index_fill(0, torch.arange(5), -100)
    torch.testing.assert_close(losskit.linear_cross_entropy(x, weight, some), theirs(x, weight, some))
    with pytest.raises(RuntimeError, match="dimensionality 1 or 2"):
        theirs(x.reshape(4, 10, WIDTH), weight, labels.reshape(4, 10))
    with pytest.raises(ValueError, match="linear_weight must have shape"):
        losskit.linear_cross_entropy(x, weight[:, None].expand(-1, 2, -1), labels)
    assert theirs(x, weight[:, None].expand(-1, 2, -1), labels[:, None].expand(-1, 2)).isfinite()
    assert "in_features" in inspect.signature(nn.LinearCrossEntropyLoss).parameters and nn.LinearCrossEntropyLoss(WIDTH, CLASSES).weight is None
    with pytest.raises(TypeError, match="options"):
        losskit.linear_cross_entropy(x, weight, labels, options=OPTIONS)


@has_torchs
@claim("linear_cross_entropy", "A second backward raises unless the options allow it")
def test_what_torchs_function_multiplies():
    x, weight, _, labels = factors(torch.bfloat16)
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as record:
        F.linear_cross_entropy(x, weight, labels, options=OPTIONS).backward()
    events = record.profiler.kineto_results.events()
    products = [e for e in events if e.name() in ("aten::mm", "aten::addmm")]
    assert products and all(set(e.dtypes()) <= {"float", "Scalar", ""} for e in products)
    assert sum(e.name() == "aten::_to_copy" and e.shapes()[0] == [CLASSES, WIDTH] for e in events) > 2  # chunks of 16 of 40 tokens


@pytest.mark.chosen
@claim("linear_log_prob", "Of the parts, entropy has that shape")
@claim("linear_log_prob", "Parts come from the same chunks of scores")
@claim("linear_log_prob", "Of an absent token, entropy and")
def test_parts_of_tokens(made):
    x, weight, _, labels = factors()
    labels[::2] = -100
    ask = lambda **more: losskit.linear_log_prob(x.reshape(4, 10, -1), weight, labels.reshape(4, 10), chunk=7, **more)  # noqa: E731
    ask()
    alone = made.copy()
    _, parts = ask(return_parts=True, top_k=3)
    assert made["scores"] == 2 * alone["scores"] and made.keys() == alone.keys()
    assert parts.entropy.shape == (4, 10) and parts.top.values.shape == parts.top.indices.shape == (4, 10, 3)
    assert (parts.top.values.diff(dim=-1) <= 0).all()
    absent = labels.reshape(4, 10) == -100
    assert not parts.entropy[absent].any() and not parts.top.values[absent].any() and (parts.top.indices[absent] == -1).all()
    assert (parts.entropy[~absent] > 0).all() and (parts.top.indices[~absent] >= 0).all()


@claim("linear_log_prob", "Classes of equal scores are in the order of their numbers")
@claim("linear_log_prob", "A class that is ruled out by a bias of -inf comes last")
def test_equal_and_impossible_classes():
    bias = torch.tensor([0.0, -torch.inf, 0.0, 0.0])
    _, parts = losskit.linear_log_prob(torch.ones(1, 2), torch.ones(4, 2), torch.tensor([0]), linear_bias=bias, return_parts=True, top_k=4)
    assert parts.top.indices.tolist() == [[0, 2, 3, 1]]
    torch.testing.assert_close(parts.top.values, torch.tensor([[1 / 3, 1 / 3, 1 / 3, 0.0]]).log())


@pytest.mark.chosen
@claim("linear_log_prob", "A token has the same bits")
def test_a_ratio_begins_at_1():
    x, weight, bias, labels = factors(tokens=96)
    old = torch.cat([losskit.linear_log_prob(a, weight, b, linear_bias=bias) for a, b in zip(x.split(7), labels.split(7), strict=True)]).detach()
    assert (losskit.linear_log_prob(x, weight, labels, linear_bias=bias) - old).exp().eq(1).all()


def teacher(dtype=torch.float32):
    """Factors of another width, all of which require a gradient."""
    draw = torch.Generator().manual_seed(4)
    return tuple(torch.randn(*shape, generator=draw).to(dtype).requires_grad_() for shape in ((TOKENS, 8), (CLASSES, 8), (CLASSES,)))


@claim("linear_probabilities", "A tensor of shape (..., classes) for a loss on `linear_scores`")
@claim("linear_probabilities", "Its method `whole()` makes the probabilities")
@claim("linear_probabilities", "Under `torch.compile`, transforms")
@pytest.mark.filterwarnings("ignore")  # the compiler's own deprecations
def test_the_probabilities():
    x, weight, _, _ = factors()
    for dtype, real in ((torch.float32, torch.float32), (torch.bfloat16, torch.float32), (torch.float64, torch.float64)):
        made = losskit.linear_probabilities(*teacher(dtype), temperature=2.0)
        assert made.shape == (TOKENS, CLASSES) and made.dtype is real
    whole = torch.softmax(F.linear(*teacher()) / 2, -1)
    torch.testing.assert_close(losskit.linear_probabilities(*teacher(), temperature=2.0).whole(), whole.detach())
    expected = losskit.kl_divergence(F.linear(x, weight), whole.detach())
    step = lambda *z: losskit.kl_divergence(losskit.linear_scores(*z[:2]), losskit.linear_probabilities(*z[2:], temperature=2.0))  # noqa: E731
    torch.testing.assert_close(step(x, weight, *teacher()), expected)
    torch.testing.assert_close(torch.compile(step, fullgraph=True, backend="aot_eager")(x, weight, *teacher()), expected)
    hidden, *head = teacher()
    one = lambda a, b: losskit.kl_divergence(losskit.linear_scores(a[None], weight), losskit.linear_probabilities(b[None], *head, temperature=2.0))  # noqa: E731
    torch.testing.assert_close(torch.func.vmap(one)(x, hidden).mean(), expected)


@claim("linear_probabilities", "No gradient goes to the teacher")
@claim("linear_probabilities", "With scores that are whole it is refused")
@claim("linear_probabilities", "There, both tensors of scores are whole")
def test_the_teacher():
    x, weight, _, _ = factors()
    taught = teacher()
    value = losskit.kl_divergence(losskit.linear_scores(x, weight), losskit.linear_probabilities(*taught))
    assert all(g is None for g in torch.autograd.grad(value, taught, allow_unused=True))
    with pytest.raises(RuntimeError, match=r"try its method whole\(\)"):
        losskit.kl_divergence(F.linear(x, weight), losskit.linear_probabilities(*taught))
    losskit.kl_divergence(F.linear(x, weight), losskit.linear_probabilities(*taught).whole())

    def whole():
        F.kl_div(F.linear(x, weight).log_softmax(-1), F.linear(*taught).softmax(-1), reduction="batchmean")

    def ours():
        losskit.kl_divergence(losskit.linear_scores(x, weight, chunk=16), losskit.linear_probabilities(*taught))

    size = TOKENS * CLASSES * 4
    assert sum(piece >= size for piece in allocated(whole)) >= 4 and not any(piece >= size for piece in allocated(ours))
