"""Class weights that require a gradient: every loss of rows that takes some gives each class its own, through the items and through the denominator of "mean"."""

import inspect
from typing import Any

import mpmath
import pytest
import torch
import torch.nn.functional as F
from cases import thorough
from class_weights import CLASSES, ITEMS, KEEP, LABELS, LAWS, MASSES, SCORES, WAYS, drawn, fresh

import losskit
from losskit.contract.registry import LOSSES

SETTINGS: dict[str, list[dict[str, Any]]] = {
    "cross_entropy": [
        {}, {"label_smoothing": 0.2}, {"z_loss": 0.1}, {"label_smoothing": 0.2, "z_loss": 0.1, "softcap": 5.0, "temperature": 2.5}, {"from_logits": False},
        {"from_logits": False, "log_input": True, "label_smoothing": 0.3},
    ],
    "focal_loss": [{"task": "multiclass", "gamma": g, **more} for g in (0.0, 2.0, 1.5) for more in ({}, {"label_smoothing": 0.2}, {"from_logits": False})],
}  # fmt: skip
WEIGHTED = [
    loss for loss in LOSSES.values() if {"weight", "alpha"} & set(inspect.signature(loss.function).parameters) and (loss.pattern == "rows" or loss.rows)
]
CASES = [(loss, settings) for loss in WEIGHTED for settings in SETTINGS.get(loss.name, [{}])]
SOFT = [{}, {"label_smoothing": 0.2}, {"z_loss": 0.1}, {"label_smoothing": 0.2, "z_loss": 0.1, "temperature": 2.5}]


@pytest.fixture
def plainly():
    """In PyTorch operations: what is made of the passes' results is the same on every engine."""
    with losskit.use_engine("torch"):
        yield


@pytest.mark.sparse(3)
@pytest.mark.parametrize(("loss", "settings"), CASES, ids=lambda z: getattr(z, "name", str(z)))
def test_by_finite_differences(loss, settings):
    with losskit.use_engine("torch"):
        LAWS["textbook"](loss, settings, False)


@pytest.mark.parametrize("settings", SOFT, ids=str)
def test_beside_distributions(settings):
    with losskit.use_engine("torch"):
        LAWS["textbook"](LOSSES["cross_entropy"], settings, True)


@pytest.mark.usefixtures("plainly")
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_as_torch(reduction, smoothing):
    """Whose own function gives class weights no gradient: its textbook does."""
    x, t = drawn(LOSSES["cross_entropy"], {})
    weight = torch.tensor([0.5, 2.0, 1.0, 1.5], dtype=torch.float64, requires_grad=True)
    log = x.log_softmax(1)
    each = -(1 - smoothing) * weight[t] * log.gather(1, t[:, None])[:, 0] - smoothing / CLASSES * (weight * log).sum(1)
    expected = {"none": each, "sum": each.sum(), "mean": each.sum() / weight[t].sum()}[reduction]
    torch.testing.assert_close(expected.detach(), F.cross_entropy(x, t, weight.detach(), label_smoothing=smoothing, reduction=reduction))
    found = losskit.cross_entropy(x, t, weight=weight, label_smoothing=smoothing, reduction=reduction)
    incoming = torch.randn(found.shape, dtype=torch.float64)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*(torch.autograd.grad(y, weight, incoming)[0] for y in (found, expected)))


@pytest.mark.thorough
def test_by_the_textbook():
    """In float32, a sure item among the others: of it, too, the gradient keeps its digits."""
    loss = LOSSES["cross_entropy"]
    x = torch.tensor([[40.0, 0.0, 1.0], [0.5, 20.0, 0.0], [0.0, 1.0, 2.0]])
    for t, settings in ((torch.tensor([0, 1, 1]), {}), (torch.tensor([0, 1, 1]), {"label_smoothing": 0.25}), (torch.tensor([0, 0, 0]), {})):
        weight = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
        (found,) = torch.autograd.grad(losskit.cross_entropy(x, t, weight=weight, reduction="sum", **settings), weight)
        mp = mpmath.mp.clone()
        mp.dps = 60
        fixed = dict(label_smoothing=0.0, z_loss=0, softcap=None, temperature=1, from_logits=True, log_input=False) | settings
        for k in range(3):
            one = [mp.mpf(int(j == k)) for j in range(3)]
            exact = mp.fsum(loss.textbook(mp, [mp.mpf(v) for v in row], y, weight=one, **fixed) for row, y in zip(x.tolist(), t.tolist(), strict=True))
            assert abs(found[k].item() - float(exact)) <= 4e-6 * float(exact)


@pytest.mark.chosen
@pytest.mark.parametrize("settings", [{}, *thorough([{"label_smoothing": 0.2}])], ids=str)
def test_the_fused_passes_give_the_same(settings):
    """Float32 on the engine of plain CPU tensors, with half a batch of absent items that hold NaN; and the same bits for any number of threads.

    In the gradient of a mean the items and the denominator nearly cancel: what is left of terms near 0.3 is as good as those.
    """
    draw = torch.Generator().manual_seed(0)
    x, t = torch.randn(40001, 5, generator=draw), torch.randint(0, 5, (40001,), generator=draw)
    keep = torch.arange(40001) % 2 == 0
    x[~keep] = torch.nan
    weight = torch.tensor([0.5, 2.0, 1.0, 1.5, 3.0], requires_grad=True)
    threads, wide = torch.get_num_threads(), weight.detach().double().requires_grad_()
    assert losskit.engine_for(losskit.cross_entropy, x, t, weight=weight).engine == "cpu"
    for reduction, tolerance in (("sum", {"rtol": 1e-6, "atol": 0.0}), ("mean", {"rtol": 0.0, "atol": 3e-7})):
        more, found = settings | {"reduction": reduction, "mask": keep}, []
        with losskit.use_engine("torch"):
            (expected,) = torch.autograd.grad(losskit.cross_entropy(x.double(), t, weight=wide, **more), wide)
        try:
            for number in (1, 2, 3):
                torch.set_num_threads(number)
                found += torch.autograd.grad(losskit.cross_entropy(x, t, weight=weight, **more), weight)
        finally:
            torch.set_num_threads(threads)
        assert all(torch.equal(found[0], other) for other in found[1:])
        torch.testing.assert_close(found[0].double(), expected, **tolerance)


def test_a_class_of_weight_0_may_be_ruled_out():
    """Its item costs 0, and the gradient to the other weights is finite."""
    x = torch.tensor([[-torch.inf, 0.0, 1.0], [0.0, 1.0, 2.0]])
    weight = torch.tensor([0.0, 1.0, 2.0], requires_grad=True)
    value = losskit.cross_entropy(x, torch.tensor([0, 1]), weight=weight, reduction="sum")
    assert value.isfinite()
    assert torch.autograd.grad(value, weight)[0].isfinite().all()


@pytest.mark.usefixtures("plainly")
def test_nothing_left_and_by_products():
    x, t = drawn(LOSSES["cross_entropy"], {})
    weight = torch.ones(CLASSES, dtype=torch.float64, requires_grad=True)
    value = losskit.cross_entropy(x, t, weight=weight, mask=torch.zeros(ITEMS, dtype=torch.bool))
    assert value == 0
    assert torch.equal(torch.autograd.grad(value, weight)[0], torch.zeros_like(weight))
    for u in (t, F.one_hot(t, CLASSES).double()):
        for mask in (None, KEEP):
            value, parts = losskit.cross_entropy(x, u, weight=weight * 2, mask=mask, return_parts=True)
            plain, expected = losskit.cross_entropy(x, u, weight=weight.detach() * 2, mask=mask, return_parts=True)
            torch.testing.assert_close(value.detach(), plain)
            for got, reference in zip(parts, expected, strict=True):
                torch.testing.assert_close(got, reference)
                assert got is None or not got.requires_grad
    with pytest.raises(ValueError, match=r"inplace=True has one pass .* try weight.detach\(\), or leave inplace out"):
        losskit.cross_entropy(x, t, weight=weight, inplace=True)


@pytest.mark.parametrize("target", ["labels", "distributions"])
def test_smoothing_per_item_beside_learned_weights(target):
    """Both at once."""
    x, t = drawn(LOSSES["cross_entropy"], {}, soft=target == "distributions")
    weight, smoothing = torch.tensor([0.5, 2.0, 1.0, 1.5], dtype=torch.float64, requires_grad=True), torch.rand(ITEMS, dtype=torch.float64, requires_grad=True)
    for way in WAYS[:4]:
        with losskit.use_engine("torch"):
            assert torch.autograd.gradcheck(lambda w, s, way=way: losskit.cross_entropy(x, t, weight=w, label_smoothing=s, **way), (weight, smoothing))
    with losskit.use_engine("torch"), pytest.raises(ValueError, match=r"label_smoothing must be from 0 to 1, got 1.5 at index \(2,\)"):
        losskit.cross_entropy(x, t, weight=weight, label_smoothing=torch.tensor([0.1, 0.2, 1.5, 0.0, 0.0, 0.0, 0.0]))


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compiler's own
def test_compiled_and_transformed():
    x, t = drawn(LOSSES["cross_entropy"], {})
    weight = torch.tensor([0.5, 2.0, 1.0, 1.5], dtype=torch.float64, requires_grad=True)

    def function(w):
        return losskit.cross_entropy(x, t, weight=w, label_smoothing=0.1)

    (expected,) = torch.autograd.grad(function(weight), weight)
    torch._dynamo.reset()
    for found in (torch.autograd.grad(torch.compile(function, backend="eager", fullgraph=True)(weight), weight)[0], torch.func.grad(function)(weight.detach())):
        torch.testing.assert_close(found, expected)


@pytest.mark.usefixtures("plainly")
def test_a_module_learns_its_weights():
    module = losskit.CrossEntropyLoss(weight=torch.nn.Parameter(torch.ones(CLASSES)))
    x, t = drawn(LOSSES["cross_entropy"], {})
    module(x.float(), t).backward()
    assert module.weight.grad.shape == (CLASSES,)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # the interpreter's NumPy warns where `where` does not choose
@pytest.mark.parametrize("engine", ["torch", "cpu", "triton"])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("law", ["ruled_out", "mask_deletes"])
def test_on_each_engine(law, soft, engine):
    with losskit.use_engine(engine):
        LAWS[law](LOSSES["cross_entropy"], {"z_loss": 0.1}, soft)


@pytest.mark.parametrize("soft", [False, True])
def test_of_probabilities(soft):
    LAWS["mask_deletes"](LOSSES["cross_entropy"], {"from_logits": False}, soft)
    weight, t = fresh(), MASSES if soft else LABELS
    values = losskit.cross_entropy(SCORES.log_softmax(1), t, weight=weight, from_logits=False, log_input=True), losskit.cross_entropy(SCORES, t, weight=weight)
    torch.testing.assert_close(*(torch.autograd.grad(y, weight)[0] for y in values))


@pytest.mark.parametrize("soft", [False, *thorough([True])])
@pytest.mark.parametrize("settings", [*(settings for settings in SOFT if settings), *thorough(settings for settings in SOFT if not settings)], ids=str)
def test_half_precision_is_rounded_once(settings, soft):
    """The passes know no class weights that are learned: what multiplies what they give is made of PyTorch operations, whatever the settings."""
    with losskit.use_engine("torch" if settings else "cpu"):
        LAWS["half_precision"](LOSSES["cross_entropy"], settings, soft)


@pytest.mark.parametrize("t", [LABELS, MASSES], ids=["labels", "distributions"])
def test_beside_learned_weights_of_items(t):
    """Both at once; and float64 for the weights of items makes no loss float64."""
    x = SCORES.clamp(min=-3.0)
    for reduction in ("none", "sum", "mean"):
        weight, each = (
            torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64, requires_grad=True),
            torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64).requires_grad_(),
        )
        with losskit.use_engine("torch"):
            assert torch.autograd.gradcheck(
                lambda w, s, r=reduction: losskit.cross_entropy(x.double(), t.double() if t.dim() == 2 else t, weight=w, sample_weight=s, reduction=r),
                (weight, each),
            )
        for w in (weight.detach(), weight.detach().float().requires_grad_()):
            assert losskit.cross_entropy(x, t, weight=w, sample_weight=each, reduction=reduction).dtype is torch.float32
