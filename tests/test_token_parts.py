"""What `linear_log_prob` returns beside log-probabilities: entropy and the most probable classes, from chunks, as of whole scores."""

import gc
import math
import weakref

import mpmath
import pytest
import torch
import torch.nn.functional as F
from cases import thorough_rows
from test_memory import measured

import losskit
from losskit import linear_log_prob
from losskit.contract.tokens import largest

ITEMS, WIDTH, CLASSES = 37, 6, 23


def factors(dtype=torch.float64, items=ITEMS, classes=CLASSES):
    """Hidden states, a head, its bias and labels, some absent."""
    draw = torch.Generator().manual_seed(7)
    tensors = (torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype) for shape in ((items, WIDTH), (classes, WIDTH), (classes,)))
    x, weight, bias = (y.requires_grad_() for y in tensors)
    return x, weight, bias, torch.randint(classes, (items,), generator=draw).masked_fill(torch.arange(items) % 5 == 0, -100)


def expected(scores, counts, top_k, softcap=None, temperature=1.0):
    """Of whole scores, by torch alone."""
    s = scores.detach().double()
    s = s if softcap is None else softcap * torch.tanh(s / softcap)
    heat = temperature.double().expand(s.shape[:-1])[..., None] if isinstance(temperature, torch.Tensor) else temperature
    logs = torch.log_softmax(s / heat, -1)
    entropy = -torch.where(logs == -math.inf, 0.0, logs.exp() * logs).sum(-1)
    order = scores.detach().sort(stable=True, dim=-1, descending=True).indices[..., :top_k]
    here = counts[..., None]
    return torch.where(counts, entropy, 0.0), torch.where(here, logs.gather(-1, order), 0.0), torch.where(here, order, -1)


def agree(parts, wanted, tolerance=1e-12):
    entropy, values, indices = wanted
    assert parts.top.indices.dtype is torch.int64
    torch.testing.assert_close(parts.entropy.double(), entropy, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(parts.top.values.double(), values, rtol=tolerance, atol=tolerance)
    assert torch.equal(parts.top.indices, indices)
    assert not any(y.requires_grad for y in (parts.entropy, *parts.top))


SETTINGS = (
    {},
    {"temperature": 2.5},
    {"softcap": 1.5},
    {"softcap": 3.0, "temperature": torch.linspace(0.5, 2.0, ITEMS, dtype=torch.float64)},
    {"temperature": torch.tensor(0.7, dtype=torch.float64)},
)


@pytest.mark.parametrize(("engine", "place"), [*(("torch", k) for k in range(5)), ("cpu", 3), *thorough_rows(("cpu", k) for k in (0, 1, 2, 4))])
def test_as_of_whole_scores(engine, place):
    x, weight, bias, t = factors()
    mask = torch.arange(ITEMS) % 3 != 0
    ruled_out = bias.detach().clone().index_fill(0, torch.tensor([2, 5, 11]), -math.inf)
    with losskit.use_engine(engine):
        for k, chunk in ((0, 16), (1, None), (4, 5), (CLASSES, 16)):
            for own in (bias, ruled_out, None):
                t_here = torch.where((t == 2) | (t == 5) | (t == 11), 3, t)
                more = dict(linear_bias=own, mask=mask, chunk=chunk, **SETTINGS[place])
                value, parts = linear_log_prob(x, weight, t_here, return_parts=True, top_k=k, **more)
                assert torch.equal(value, linear_log_prob(x, weight, t_here, **more))
                assert parts.top.values.shape == (ITEMS, k)
                agree(parts, expected(F.linear(x, weight, own), mask & (t != -100), k, **SETTINGS[place]))


@pytest.mark.parametrize("engine", ["torch", "cpu"])
def test_gradients_are_those_without_parts(engine):
    x, weight, bias, t = factors()
    incoming = torch.linspace(-1, 2, ITEMS, dtype=torch.float64)
    with losskit.use_engine(engine):
        value, _ = linear_log_prob(x, weight, t, linear_bias=bias, chunk=7, return_parts=True, top_k=3)
        alone = linear_log_prob(x, weight, t, linear_bias=bias, chunk=7)
        for a, b in zip(torch.autograd.grad(value, (x, weight, bias), incoming), torch.autograd.grad(alone, (x, weight, bias), incoming), strict=True):
            assert torch.equal(a, b)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # NumPy, of lanes that are not stored
def test_on_a_gpu():
    """Under Triton's interpreter: absent items are not left out there."""
    x, weight, bias, t = factors(torch.float32)
    with losskit.use_engine("triton"):
        _, parts = linear_log_prob(x, weight, t, linear_bias=bias, chunk=16, softcap=4.0, temperature=1.5, return_parts=True, top_k=3)
    agree(parts, expected(F.linear(x, weight, bias), t != -100, 3, softcap=4.0, temperature=1.5), 2e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_equal_scores_are_in_the_order_of_their_classes(dtype):
    """Small whole numbers, whose products are exact: most scores have their like."""
    draw = torch.Generator().manual_seed(1)
    x, weight = (torch.randint(-1, 2, shape, generator=draw).to(dtype) for shape in ((40, 3), (300, 3)))
    scores = F.linear(x.double(), weight.double())
    for engine in ("torch", "cpu"):
        for k in (1, 5, 40, 300):
            with losskit.use_engine(engine):
                _, parts = linear_log_prob(x, weight, torch.zeros(40, dtype=torch.long), chunk=16, return_parts=True, top_k=k)
            assert parts.entropy.dtype is parts.top.values.dtype is torch.float32
            agree(parts, expected(scores, torch.ones(40, dtype=torch.bool), k), 2e-6)


def test_the_largest():
    draw = torch.Generator().manual_seed(2)
    odd = torch.tensor([math.nan, math.inf, -math.inf, -0.0])
    for classes in (1, 2, 3, 7, 16, 17, 100, 257):
        few = torch.randint(-3, 3, (12, classes), generator=draw).float()
        scores = torch.cat((few, torch.where(torch.rand(12, classes, generator=draw) < 0.3, odd[torch.randint(4, (12, classes), generator=draw)], few)))
        scores = torch.cat((scores, torch.full((1, classes), -math.inf)))
        wanted = scores.sort(stable=True, dim=-1, descending=True).indices
        for count in {1, 2, 3, classes // 2, classes} & set(range(1, classes + 1)):
            assert torch.equal(largest(scores, count), wanted[:, :count]), (classes, count)


@pytest.mark.parametrize("engine", ["torch", "cpu"])
def test_a_sure_token_keeps_its_digits(engine):
    """The head is the identity, so that scores are known exactly."""
    x = torch.tensor([[30.0, 0.0, -5.0, 1.0], [1e4, 1e4 - 40, 1e4 - 60, 0.0], [0.0, 0.0, 0.0, 0.0]])
    with losskit.use_engine(engine):
        _, parts = linear_log_prob(x, torch.eye(4), torch.zeros(3, dtype=torch.long), return_parts=True, top_k=4, temperature=2.0)
    with mpmath.workdps(50):
        for row, entropy, values in zip(x.tolist(), parts.entropy.tolist(), parts.top.values.tolist(), strict=True):
            s = sorted((mpmath.mpf(v) / 2 for v in row), reverse=True)
            logs = [v - s[0] - mpmath.log1p(mpmath.fsum(mpmath.exp(u - s[0]) for u in s[1:])) for v in s]
            assert abs(entropy / -mpmath.fsum(mpmath.exp(v) * v for v in logs) - 1) < 1e-5
            assert all(abs(a / b - 1) < 1e-6 for a, b in zip(values, logs, strict=True))


@pytest.mark.parametrize("engine", ["torch", "cpu"])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (2, 3)], ids=str)
def test_sizes(shape, engine):
    draw = torch.Generator().manual_seed(4)
    x, weight = torch.randn((*shape, 5), generator=draw, dtype=torch.float64), torch.randn((4, 5), generator=draw, dtype=torch.float64)
    with losskit.use_engine(engine):
        for t in (torch.randint(4, shape, generator=draw), torch.full(shape, -100)):
            for k in (0, 1, 4):
                value, parts = linear_log_prob(x, weight, t, return_parts=True, top_k=k, chunk=2)
                assert value.shape == parts.entropy.shape == shape and parts.top.values.shape == parts.top.indices.shape == (*shape, k)
                agree(parts, expected(F.linear(x, weight), t != -100, k))


def test_a_label_that_is_ignored_may_be_one_of_the_best():
    x, weight, bias, t = factors()
    bias = bias.detach().index_fill(0, torch.tensor(0), 9.0)
    _, parts = linear_log_prob(x, weight, t.clamp(min=0), linear_bias=bias, ignore_index=0, return_parts=True, top_k=2)
    assert (parts.top.indices[:, 0] == 0).any()
    agree(parts, expected(F.linear(x, weight, bias), t.clamp(min=0) != 0, 2))


def test_the_next_token():
    x, weight, _, _ = factors(items=24)
    t = torch.randint(CLASSES, (3, 8), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(8) % 3 != 1
    _, parts = linear_log_prob(x.reshape(3, 8, -1), weight, t, shift=True, mask=mask.expand(3, 8), return_parts=True, top_k=2)
    counts = torch.cat((mask[1:], torch.tensor([False]))).expand(3, 8)
    agree(parts, expected(F.linear(x.reshape(3, 8, -1), weight), counts, 2))


@pytest.mark.filterwarnings("ignore")  # the compiler's own deprecations
def test_transforms_and_the_compiler():
    x, weight, bias, t = (y.detach() for y in factors())
    ask = lambda x: linear_log_prob(x, weight, t, linear_bias=bias, temperature=1.5, return_parts=True, top_k=3)  # noqa: E731
    wanted = expected(F.linear(x, weight, bias), t != -100, 3, temperature=1.5)
    _, parts = torch.compile(ask, fullgraph=True, backend="aot_eager")(x.clone().requires_grad_())
    agree(parts, wanted)
    by_x, parts = torch.func.grad(lambda x: (ask(x)[0].sum(), ask(x)[1]), has_aux=True)(x)
    agree(parts, wanted)
    leaf = x.clone().requires_grad_()
    torch.testing.assert_close(by_x, torch.autograd.grad(ask(leaf)[0].sum(), leaf)[0])
    _, parts = torch.func.vmap(ask)(torch.stack((x, -x)))
    for k, sign in enumerate((1, -1)):
        agree(
            parts._replace(entropy=parts.entropy[k], top=type(parts.top)(*(y[k] for y in parts.top))),
            expected(F.linear(sign * x, weight, bias), t != -100, 3, temperature=1.5),
        )


def test_scores_are_never_whole():
    """At the peak a chunk of scores, and what is sorted of it."""
    x, weight = torch.randn(1000, 64, requires_grad=True), torch.randn(4096, 64)
    t = torch.randint(4096, (1000,))
    peak, _ = measured(lambda: linear_log_prob(x, weight, t, chunk=128, return_parts=True, top_k=5))
    assert peak < 1.6 * 128 * 4096 * 4 + 1000 * 200


def test_parts_are_let_go_of_with_the_loss():
    """Without waiting for the garbage collector: what a context keeps of its own output is a circle."""
    x, weight, _, t = factors()
    gc.disable()
    try:
        for ask in (
            lambda: linear_log_prob(x, weight, t, return_parts=True, top_k=2)[0],
            lambda: losskit.linear_cross_entropy(x, weight, t, return_parts=True, reduction="none")[0],
            lambda: losskit.cross_entropy(F.linear(x, weight), t, return_parts=True, reduction="none")[0],
        ):
            value = ask()
            gone = weakref.ref(value.grad_fn if value.grad_fn.name().endswith("EachBackward") else value.grad_fn.next_functions[-1][0])
            del value
            assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("settings", "error", "told"),
    [
        ({"top_k": CLASSES + 1, "return_parts": True}, ValueError, rf"top_k must be from 0 to the number of classes, {CLASSES}, got {CLASSES + 1}"),
        ({"top_k": -1, "return_parts": True}, ValueError, r"top_k must be from 0 to the number of classes, .* got -1"),
        ({"top_k": 2.0, "return_parts": True}, TypeError, r"top_k must be a whole number of classes, got float: 2.0"),
        ({"top_k": True, "return_parts": True}, TypeError, r"top_k must be a whole number of classes, got bool: True"),
        ({"top_k": 2}, ValueError, r"top_k=2 asks for parts that are not returned: add return_parts=True, or leave top_k out"),
        ({"return_parts": 1}, TypeError, r"return_parts"),
        ({"return_parts": True, "shift": 1}, TypeError, r"shift"),
        ({"return_parts": True, "class_group": object()}, TypeError, r"class_group must be a torch.distributed.ProcessGroup, got object"),
        ({"return_parts": True, "temperature": 0.0}, ValueError, r"temperature"),
        ({"return_parts": True, "softcap": -1.0}, ValueError, r"softcap"),
        ({"return_parts": True, "ignore_index": 1.5}, TypeError, r"ignore_index"),
    ],
)
def test_what_is_refused(settings, error, told):
    x, weight, _, t = factors()
    with pytest.raises(error, match=told):
        linear_log_prob(x, weight, t, **settings)
