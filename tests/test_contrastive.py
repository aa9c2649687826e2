"""Contrastive losses: options, several sets, chunks, engines, memory, what their docstrings claim. Textbooks and laws: `test_vector_laws.py`."""

import math

import pytest
import torch
import torch.nn.functional as F
from cases import thorough, thorough_rows
from claims import claim
from contrastive_cases import IN_LOOPS, NAMES, NUMBERS, PAIRS, agree, batch, beside, call, each_loss, outcome, reference
from test_memory import measured

import losskit
from losskit.contract.registry import LOSSES
from losskit.engines import both, chunks


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, in Triton's interpreter
@pytest.mark.parametrize(
    ("name", "engine"),
    [
        *((name, "torch") for name in NAMES),
        *IN_LOOPS,
        *thorough_rows((name, engine) for name in NAMES for engine in (None, "triton") if (name, engine) not in IN_LOOPS),
    ],
)
@pytest.mark.chosen
def test_every_option_on_every_engine(name, engine, monkeypatch):
    """In one chunk, and in several: the same as whole scores, to all vectors and numbers, for "none", "sum" and "mean"."""
    with losskit.use_engine(engine) if engine else torch.enable_grad():
        for more in beside(name):
            vectors, numbers, labels = batch(name)
            more = {key: x.clone().requires_grad_() if x.is_floating_point() else x for key, x in more.items()}
            leaves = [*vectors, *numbers.values(), *(x for x in more.values() if x.is_floating_point())]
            each = reference(name, vectors, numbers, labels, **more)
            for rows in (None, 4):
                if rows is not None and engine != "torch":
                    for module in (both, chunks):
                        monkeypatch.setattr(module, "items_of_chunk", lambda *_: 4)
                agree(outcome(call(name, vectors, numbers, labels, reduction="none", **more), leaves), outcome(each, leaves))
                agree(outcome(call(name, vectors, numbers, labels, reduction="sum", **more), leaves), outcome(each.sum(), leaves))
                count = (each != 0).sum() if name == "supcon_loss" else len(each)
                agree(outcome(call(name, vectors, numbers, labels, **more), leaves), outcome(each.sum() / count, leaves))
            monkeypatch.undo()


@pytest.mark.sparse(2)
@each_loss
def test_whoever_is_left_out_is_compared_with_nobody(name):
    """A mask and weights, beside what else is given; sets of their own along leading axes, each as if alone."""
    vectors, numbers, labels = batch(name, 2, 3)
    keep = torch.rand(2, 3, 11, generator=torch.Generator().manual_seed(1)) < 0.7
    weight = torch.rand(2, 3, 11, dtype=torch.float64).requires_grad_()
    leaves = [*vectors, *numbers.values(), weight]
    found = call(name, vectors, numbers, labels, mask=keep, sample_weight=weight, reduction="none")
    wanted = torch.zeros_like(found)
    for place in ((i, j) for i in range(2) for j in range(3)):
        here = keep[place]
        each = reference(name, [x[place][here] for x in vectors], numbers, [t[place][here] for t in labels])
        wanted[(*place, here.nonzero()[:, 0])] = each * weight[place][here]
    agree(outcome(found, leaves), outcome(wanted, leaves))
    own, mask = [x.detach()[0, 0].requires_grad_() for x in vectors], keep[0, 0]
    bad = [torch.where(mask[:, None], x.detach(), math.nan).requires_grad_() for x in own]
    lone = [t[0, 0] for t in labels]
    fixed = {"sample_weight": weight.detach()[0, 0], "normalizer": 3.5}
    value, *grads = outcome(call(name, bad, numbers, lone, mask=mask, **fixed), [*bad, *numbers.values()])
    each = reference(name, [x[mask] for x in own], numbers, [t[mask] for t in lone])
    agree((value, *grads), outcome((each * fixed["sample_weight"][mask]).sum() / 3.5, [*own, *numbers.values()]))


def test_supcon_of_labels_that_are_not_known():
    """NaN is like nothing, itself included, wherever it stands among the labels."""
    vectors, numbers, (labels,) = batch("supcon_loss")
    for place in range(11):
        unknown = torch.where(torch.arange(11) == place, math.nan, labels / 3.0)
        pairs = unknown[:, None] == unknown
        leaves = [*vectors, *numbers.values()]
        agree(outcome(call("supcon_loss", vectors, numbers, (unknown,)), leaves), outcome(call("supcon_loss", vectors, numbers, (pairs,)), leaves))


def test_supcon_of_named_positives():
    vectors, numbers, labels = batch("supcon_loss")
    pairs = labels[0][:, None] == labels[0]
    leaves = [*vectors, *numbers.values()]
    agree(outcome(call("supcon_loss", vectors, numbers, (pairs,)), leaves), outcome(call("supcon_loss", vectors, numbers, labels), leaves))
    pairs = torch.rand(11, 11, generator=torch.Generator().manual_seed(2)) < 0.3  # not symmetric
    mask = torch.arange(11) != 4
    wanted = reference("supcon_loss", [vectors[0][mask]], numbers, positives=pairs[mask][:, mask])
    found = call("supcon_loss", vectors, numbers, (pairs,), mask=mask, reduction="none")
    agree(outcome(found[mask], leaves), outcome(wanted, leaves))


@each_loss
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_second_derivatives(name):
    vectors, numbers, labels = batch(name, items=4, width=3)
    keep = torch.tensor([True, True, False, True])

    def value(*given):
        return call(name, given[: len(vectors)], dict(zip(numbers, given[len(vectors) :], strict=True)), labels, mask=keep)

    torch.autograd.gradgradcheck(value, (*vectors, *numbers.values()))


@pytest.mark.sparse(3)
@each_loss
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.chosen
def test_inside_a_compiled_graph(name):
    vectors, numbers, labels = batch(name)
    leaves = [*vectors, *numbers.values()]
    compiled = torch.compile(
        lambda *given: call(name, given[: len(vectors)], dict(zip(numbers, given[len(vectors) :], strict=True)), labels), fullgraph=True, backend="eager"
    )
    agree(outcome(compiled(*leaves), leaves), outcome(call(name, vectors, numbers, labels), leaves))


@claim("info_nce_loss nt_xent_loss supcon_loss clip_loss", 'A scalar, or with reduction="none" the shape (..., N); in [0, inf)')
@claim("siglip_loss", 'A scalar, or with reduction="none" the shape (..., N), a picture\'s losses added up; in [0, inf)')
@claim("info_nce_loss", "A single key costs 0")
@claim("nt_xent_loss clip_loss", "One pair alone costs 0")
@pytest.mark.sparse(2)
@each_loss
def test_shapes_and_sizes(name):
    for lead, items in (((), 1), ((), 2), ((2, 3), 1), ((2,), 0), ((0,), 4), ((), 0)):
        vectors, numbers, labels = batch(name, *lead, items=items)
        each = call(name, vectors, numbers, labels, reduction="none")
        assert each.shape == (*lead, items) and (each >= 0).all()
        value = call(name, vectors, numbers, labels)
        assert value.shape == () and all(g.isfinite().all() for g in torch.autograd.grad(value, [*vectors, *numbers.values()]))
        if items == 1 and name != "siglip_loss":
            assert not each.any() and value == 0
        elif items == 1:
            assert each.all()


@claim("info_nce_loss", "The N x (N + K) scores are never whole")
@claim("nt_xent_loss", "The 2N x 2N scores are never whole")
@claim("supcon_loss siglip_loss", "The N x N scores are never whole")
@claim("clip_loss", "Both directions share one product")
@pytest.mark.parametrize("name", ["clip_loss", *thorough(name for name in NAMES if name != "clip_loss")])
@pytest.mark.chosen
def test_memory(name):
    """Beside vectors of two numbers; of nt_xent the scores are four times as many."""
    count = 3072 if name == "nt_xent_loss" else 6144
    vectors, numbers, labels = batch(name, items=count, width=2, dtype=torch.float32)
    peak, _ = measured(lambda: call(name, vectors, numbers, labels).backward())
    assert peak < 0.8 * 6144**2 * 4


@claim("info_nce_loss", "A sure query keeps the digits of its small loss")
@claim("clip_loss siglip_loss", "A sure pair keeps the digits of its small loss")
@pytest.mark.parametrize("name", ["info_nce_loss", "clip_loss", "siglip_loss", "nt_xent_loss"])
@pytest.mark.chosen
def test_sure_pairs(name):
    """Losses of 1e-13, in float32."""
    size = {"info_nce_loss": 30.0, "clip_loss": 30.0, "nt_xent_loss": 30.0, "siglip_loss": 60.0}[name]
    x = (torch.eye(3) * math.sqrt(size)).requires_grad_()
    numbers = {"logit_scale": 1.0} if name in NUMBERS else {"temperature": 1.0}
    numbers |= {"logit_bias": -30.0} if name == "siglip_loss" else {}
    found = outcome(call(name, [x, x], numbers, ()), [x])
    wide = x.detach().double().requires_grad_()
    exact = {"info_nce_loss": lambda s: torch.log1p(2 * torch.exp(-s)), "nt_xent_loss": lambda s: torch.log1p(4 * torch.exp(-s)), "clip_loss": lambda s: torch.log1p(2 * torch.exp(-s)),
             "siglip_loss": lambda s: torch.log1p(torch.exp(30 - s)) + 2 * torch.log1p(torch.exp(torch.tensor(-30.0, dtype=torch.float64)))}[name]  # fmt: skip
    wanted = exact((wide * wide).sum(1)).mean()
    assert 1e-13 < wanted < 1e-12
    torch.testing.assert_close(found[0].double(), wanted.detach(), rtol=2e-5, atol=0.0)
    assert found[1].any()


@claim("info_nce_loss supcon_loss", "A vector of zeros has no direction")
@claim("nt_xent_loss", "A vector of zeros has no direction")
@pytest.mark.parametrize("name", NAMES)
def test_a_vector_of_zeros(name):
    vectors, numbers, labels = batch(name)
    vectors = [x.detach().index_fill(0, torch.tensor(3), 0.0).requires_grad_() for x in vectors]
    value, *grads = outcome(call(name, vectors, numbers, labels, normalize=True), vectors)
    unit = [F.normalize(x, dim=-1) for x in vectors]
    wanted, *slopes = outcome(call(name, unit, numbers, labels), vectors)
    torch.testing.assert_close(value, wanted)
    for g, s in zip(grads, slopes, strict=True):
        assert not g[3].any()
        torch.testing.assert_close(g[torch.arange(11) != 3], s[torch.arange(11) != 3])


@claim("info_nce_loss", "A NaN in a key costs every query NaN, one in a query its own loss")
@claim("siglip_loss", "A NaN in a text costs every picture NaN, one in a picture its own loss")
@claim("clip_loss nt_xent_loss", "A NaN costs every pair NaN")
@claim("supcon_loss", "A NaN costs every vector that has a positive NaN")
@each_loss
def test_nan(name):
    for k in range(2 if name in PAIRS else 1):
        vectors, numbers, labels = batch(name)
        vectors[k].data[2, 1] = math.nan
        each = call(name, vectors, numbers, (torch.zeros_like(labels[0]),) if labels else (), reduction="none")
        own = k == 0 and name in ("info_nce_loss", "siglip_loss")
        assert each.isnan().tolist() == [not own or i == 2 for i in range(11)]


@claim("info_nce_loss nt_xent_loss supcon_loss clip_loss siglip_loss", "Half precision is multiplied in float32")
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("siglip_loss", torch.bfloat16),
        *thorough_rows((n, d) for n in NAMES for d in (torch.bfloat16, torch.float16) if (n, d) != ("siglip_loss", torch.bfloat16)),
    ],
)
@pytest.mark.chosen
def test_half_precision(name, dtype):
    vectors, numbers, labels = batch(name, dtype=dtype)
    wide = [x.detach().float().requires_grad_() for x in vectors]
    numbers = {key: value.detach().float() for key, value in numbers.items()}
    value, *grads = outcome(call(name, vectors, numbers, labels, reduction="none"), vectors)
    wanted, *slopes = outcome(call(name, wide, numbers, labels, reduction="none"), wide)
    assert value.dtype is torch.float32 and torch.equal(value, wanted)
    assert all(torch.equal(g, s.to(dtype)) for g, s in zip(grads, slopes, strict=True))


def test_every_loss_that_compares_is_here():
    assert {loss.name for loss in LOSSES.values() if loss.compares in ("own", "alike")} == set(NAMES)


@pytest.mark.parametrize("same", [False, True])
@pytest.mark.chosen
def test_one_tensor_as_both_factors(same):
    """Each has a gradient of its own, of which autograd makes the sum: in the second derivative, too, and of a batch of incoming gradients."""
    x = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    y = x if same else x + 0.0
    t = torch.arange(6)
    for factors in ((x, y), (x, x + 0.0)):
        scores = losskit.linear_scores(*factors)
        value = losskit.cross_entropy(scores, t, dim=-1, reduction="none")
        wanted = F.cross_entropy(x @ x.T, t, reduction="none")
        agree(torch.autograd.grad(value, x, torch.eye(6, dtype=torch.float64), is_grads_batched=True, retain_graph=True),
              torch.autograd.grad(wanted, x, torch.eye(6, dtype=torch.float64), is_grads_batched=True, retain_graph=True))  # fmt: skip
        (g,), (s,) = torch.autograd.grad(value.sum(), x, create_graph=True), torch.autograd.grad(wanted.sum(), x, create_graph=True)
        agree(torch.autograd.grad(g.square().sum(), x), torch.autograd.grad(s.square().sum(), x))


@pytest.mark.sparse(2)
@each_loss
@pytest.mark.chosen
def test_what_scores_have_in_common_costs_no_digits(name):
    """Scores near 1,600 that differ by a few: the gradient of a temperature or a scale is of differences."""
    draw = torch.Generator().manual_seed(1)
    vectors = [(0.3 * torch.randn(40, 16, generator=draw) + 10.0).requires_grad_() for _ in range(2 if name in PAIRS else 1)]
    numbers = {key: torch.tensor(1.0 if key != "logit_bias" else -1600.0).requires_grad_() for key in NUMBERS.get(name, ("temperature",))}
    labels = () if name in PAIRS else (torch.arange(40) // 4,)
    found = outcome(call(name, vectors, numbers, labels), [*numbers.values()])
    wide, exact = [x.detach().double() for x in vectors], {key: value.detach().double().requires_grad_() for key, value in numbers.items()}
    each = reference(name, wide, exact, labels)
    for got, wanted in zip(found, outcome(each.mean(), [*exact.values()]), strict=True):
        torch.testing.assert_close(got.double(), wanted, rtol=2e-5, atol=0.0)


@pytest.mark.parametrize("name", ["clip_loss", "info_nce_loss", "siglip_loss", "supcon_loss"])
def test_exclude_is_kept_by_autograd(name):
    """Changed in place before the backward it raises; made in inference mode it is taken."""
    vectors, numbers, labels = batch(name)
    with torch.inference_mode():
        held = torch.zeros(11, 11, dtype=torch.bool)
    call(name, vectors, numbers, labels, exclude=held, reduction="none").sum().backward()
    out = torch.zeros(11, 11, dtype=torch.bool)
    value = call(name, vectors, numbers, labels, exclude=out, reduction="none")
    out[1, 2] = True
    if name not in ("siglip_loss", "supcon_loss"):  # which read it once, and keep what they made of it
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            value.sum().backward()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.uint16, torch.uint32, torch.uint64, torch.float16, torch.float64, torch.bool], ids=str)
def test_labels_of_any_dtype(dtype):
    vectors, numbers, _ = batch("supcon_loss")
    labels = torch.arange(11) % 2
    expected = call("supcon_loss", vectors, numbers, (labels,), reduction="none")
    assert torch.equal(call("supcon_loss", vectors, numbers, (labels.to(dtype),), reduction="none"), expected)
    if dtype.is_floating_point:  # a label that is NaN is like no other, itself NaN or not
        marked = torch.where(torch.arange(11) >= 9, math.nan, labels.to(dtype))
        each = call("supcon_loss", vectors, numbers, (marked,), reduction="none")
        assert not each[9:].any() and each[:9].all()
        keep = torch.arange(11) < 9
        torch.testing.assert_close(call("supcon_loss", vectors, numbers, (marked,), mask=keep), call("supcon_loss", [vectors[0][:9]], numbers, (labels[:9],)))


def test_negatives_of_no_queries_are_attached():
    extra = torch.randn(3, 5, requires_grad=True)
    losskit.info_nce_loss(torch.randn(0, 5), torch.randn(0, 5), negatives=extra).backward()
    assert extra.grad is not None and not extra.grad.any()
