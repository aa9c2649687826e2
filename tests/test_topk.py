"""Hard mining as a reduction, of every loss with a loss per item: against sorting in Python, and against the same loss of the kept items alone."""

import copy
import pickle
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy
import pytest
import torch
from cases import thorough
from contexts import CONTEXTS, Context
from test_options import alternatives
from torch import Tensor

import losskit
from losskit import LOSSES, TopK
from losskit.contract import mined

MINED = [c for c in CONTEXTS if "reduction" in c.loss.settings]
ALONE = [c for c in MINED if c.loss.pattern not in ("vectors", "windows")]  # an item's loss depends on no other item
APART = ("reduction", "process_group", "class_group", "sequence_dim", "inplace", "return_parts", "dim", "sub_centers")
WAYS: tuple[dict[str, Any], ...] = (
    {"keep": 0.4}, {"keep": 3}, {"keep": 1.0}, {"keep": 0.01, "min_kept": 0}, {"threshold": 0.3}, {"threshold": 0.3, "keep": 0.5, "min_kept": 2},
    {"threshold": 1e9, "min_kept": 0.25}, {"keep": 0.5, "per": "sample"}, {"keep": 1, "per": "sample"},
)  # fmt: skip


def textbook(losses: Any, present: Any, keep: Any = None, threshold: float | None = None, min_kept: Any = 1, per: str = "batch") -> Any:
    """Which are kept, by sorting: the sets are the samples, or the batch."""
    kept = numpy.zeros(losses.shape, dtype=bool)
    sets = [losses[i : i + 1] for i in range(len(losses))] if per == "sample" else [losses]
    theirs = [present[i : i + 1] for i in range(len(losses))] if per == "sample" else [present]
    marks = [kept[i : i + 1] for i in range(len(losses))] if per == "sample" else [kept]
    for some, there, into in zip(sets, theirs, marks, strict=True):
        places = [place for place in numpy.ndindex(some.shape) if there[place]]
        ordered = sorted(places, key=lambda place: -some[place])  # Python's sort is stable
        count = len(ordered) if threshold is None else sum(some[place] > threshold for place in ordered)
        least, most = (int(Fraction(str(x)) * len(ordered)) if isinstance(x, float) else x for x in (min_kept, len(ordered) if keep is None else keep))
        for place in ordered[: max(min(count, most), least)]:
            into[place] = True
    return kept


def reduced(context: Context, tensors: tuple[Tensor, ...], **options: Any) -> tuple[Tensor, Tensor]:
    """The loss, and the gradient of 0.7 times it by the first tensor."""
    leaf = tensors[0].detach().clone().requires_grad_()
    value = context(leaf, *tensors[1:], **options)
    assert isinstance(value, Tensor)
    return value.detach(), torch.autograd.grad(value, leaf, torch.full_like(value, 0.7))[0]


def expected(context: Context, tensors: tuple[Tensor, ...], how: dict[str, Any], weight: Tensor) -> tuple[Tensor, Tensor]:
    """The mean over the kept items, with the gradient from "none"."""
    leaf = tensors[0].detach().clone().requires_grad_()
    each = context(leaf, *tensors[1:], reduction="none", sample_weight=weight)
    present = weight != 0
    if context.loss.compares in ("alike", "triplet"):  # whoever has no other of its label is absent
        labels = tensors[-1]
        present &= ((labels[:, None] == labels) & present & ~torch.eye(len(labels), dtype=torch.bool)).any(1)
    kept = torch.from_numpy(textbook(each.detach().double().numpy(), present.numpy(), **how))
    total = weight[kept].double().sum()
    share = kept / total if total else torch.zeros_like(kept, dtype=total.dtype)
    value = (each.double() * share).sum() if total else each.detach().double().sum() * 0
    return value.detach(), torch.autograd.grad(each, leaf, 0.7 * share.to(each.dtype))[0]


def weights(each: Tensor, dtype: torch.dtype) -> Tensor:
    """Weights of all kinds, of which some are 0."""
    return torch.tensor([1.0, 0.0, 2.5, 0.5, 3.0, 1.0, 0.0]).repeat(each.numel() // 7 + 1)[: each.numel()].reshape(each.shape).to(dtype)


def close(found: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor]) -> None:
    eps = torch.finfo(found[0].dtype).eps
    for a, b in zip(found, wanted, strict=True):
        assert a.isfinite().all()
        torch.testing.assert_close(a.double(), b.double(), rtol=32 * eps, atol=32 * eps * float(b.abs().max()) if b.numel() else 0.0)


@pytest.mark.parametrize("dtype", [torch.float32, *thorough([torch.float64])], ids=str)
@pytest.mark.parametrize("context", MINED, ids=str)
def test_the_mean_of_the_largest(context: Context, dtype: torch.dtype) -> None:
    """In PyTorch operations, with weights of which some are 0."""
    with losskit.use_engine("torch"):
        tensors = context.tensors(dtype)
        weight = weights(context(*tensors, reduction="none"), dtype)
        for how in WAYS:
            close(reduced(context, tensors, reduction=TopK(**how), sample_weight=weight), expected(context, tensors, how, weight))


FUSED = {context.loss.pattern: context for context in reversed(MINED)}


@pytest.mark.sparse(2)
@pytest.mark.chosen
@pytest.mark.parametrize("context", FUSED.values(), ids=str)
def test_in_loops(context: Context) -> None:
    """The same on the engine that losskit chooses, one loss of each pattern."""
    tensors = context.tensors()
    weight = weights(context(*tensors, reduction="none"), torch.float32)
    for how in WAYS:
        close(reduced(context, tensors, reduction=TopK(**how), sample_weight=weight), expected(context, tensors, how, weight))


@pytest.mark.sparse(2)
@pytest.mark.parametrize("context", ALONE, ids=str)
def test_it_is_the_loss_of_the_kept_items(context: Context) -> None:
    """With each option: the mean is that of the same call with a mask of the kept items. So no option is forgotten that changes what "mean" divides by."""
    with losskit.use_engine("torch"):
        tensors = context.tensors()
        for name in [None, *(name for name in context.loss.settings if name not in (*APART, *context.settings))]:
            for value in [None] if name is None else alternatives(context, name):
                options = {} if name is None else {name: value}
                try:
                    each = context(*tensors, **options, reduction="none")
                except (TypeError, ValueError):
                    continue  # it is refused, and by TopK, too
                there = torch.arange(each.numel()).reshape(each.shape) % 5 != 1
                kept = largest_present(context, tensors, options, there)
                close(reduced(context, tensors, **options, reduction=TopK(0.4), mask=there), reduced(context, tensors, **options, mask=kept))
                everything = reduced(context, tensors, **options, mask=there)
                close(reduced(context, tensors, **options, reduction=TopK(1.0), mask=there), everything)


def largest_present(context: Context, tensors: tuple[Tensor, ...], options: dict[str, Any], there: Tensor) -> Tensor:
    """Which 0.4 are the largest, of those that count: whoever makes a difference to "mean" where nothing else is there counts."""
    target = tensors[-1]
    present = there.clone()
    ignored = options.get("ignore_index", options.get("missing"))
    if ignored is not None and target.shape == there.shape:
        present &= target != ignored
    weight = options.get("weight", options.get("alpha"))
    if isinstance(weight, list) and context.kind == "label":
        assert all(weight)
    each = context(*tensors, **options, reduction="none", mask=there)
    return torch.from_numpy(textbook(each.detach().double().numpy(), present.numpy(), keep=0.4))


X = torch.tensor([2.0, 1.0, 2.0, 3.0, 2.0, 0.0, 2.0])
ZERO = torch.zeros(7)


@pytest.mark.parametrize(
    ("how", "mask", "mean"),
    [
        ({"keep": 3}, [1, 1, 1, 1, 1, 1, 1], (9 + 4 + 4) / 3),
        ({"keep": 0.0000001, "min_kept": 0}, [1, 1, 1, 1, 1, 1, 1], 0.0),
        ({"keep": 1.0}, [1, 1, 1, 1, 1, 1, 1], 26 / 7),
        ({"keep": 99}, [1, 1, 1, 1, 1, 1, 1], 26 / 7),
        ({"keep": 0.5}, [0, 0, 0, 0, 0, 0, 0], 0.0),
        ({"keep": 0.5}, [0, 1, 0, 0, 0, 0, 0], 1.0),
        ({"keep": 2, "min_kept": 4}, [1, 1, 1, 1, 1, 1, 1], (9 + 4 + 4 + 4) / 4),
        ({"threshold": 2.0}, [1, 1, 1, 0, 1, 1, 1], 4.0),
        ({"threshold": 4.0}, [1, 1, 1, 1, 1, 1, 1], 9.0),
    ],
)
def test_by_hand(how: dict[str, Any], mask: list[int], mean: float) -> None:
    x = X.clone().requires_grad_()
    loss = losskit.mse_loss(x, ZERO, reduction=TopK(**how), mask=torch.tensor(mask, dtype=torch.bool))
    assert loss.item() == pytest.approx(mean, rel=1e-6)
    loss.backward()
    assert x.grad is not None and x.grad.isfinite().all()


def test_of_equal_losses_the_first_are_kept() -> None:
    x = X.clone().requires_grad_()
    losskit.mse_loss(x, ZERO, reduction=TopK(3, reduction="sum")).backward()
    assert x.grad is not None and x.grad.nonzero()[:, 0].tolist() == [0, 2, 3]


@pytest.mark.parametrize("items", [0, 1])
def test_few_items(items: int) -> None:
    x = torch.full((items,), 3.0, requires_grad=True)
    loss = losskit.mse_loss(x, torch.zeros(items), reduction=TopK(0.3))
    loss.backward()
    assert loss.item() == 9.0 * items and x.grad is not None and x.grad.tolist() == [6.0] * items


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("spread", [3, 10**9])
def test_searching_is_sorting(dtype: torch.dtype, spread: int) -> None:
    """On the CPU nothing is sorted; elsewhere it is. Many ties, NaN, infinite losses, absent items."""
    draw = torch.Generator().manual_seed(1)
    values = torch.randint(0, spread, (4, 211), generator=draw).to(dtype)
    values[1, ::9], values[2, ::5], values[3, ::4] = torch.nan, torch.inf, -torch.inf
    counts = torch.rand((4, 211), generator=draw) < 0.8
    for kept in (0, 1, 20, 70, 1000):
        count = torch.minimum(torch.full((4,), kept), counts.sum(1))
        found = mined.largest(values, counts, count)
        assert (found.sum(1) == count).all() and not (found & ~counts).any()
        compiled = torch.compile(mined.largest, backend="eager", fullgraph=True)
        assert (compiled(values, counts, count) == found).all()
        worth = torch.where(values.isnan(), torch.inf, values).double().numpy()
        for row in (0, 2, 3):
            assert (textbook(worth[row], counts[row].numpy(), keep=int(count[row]), min_kept=0) == found[row].numpy()).all()


def test_a_nan_is_kept() -> None:
    x = torch.tensor([1.0, torch.nan, 2.0, 3.0])
    assert losskit.mse_loss(x, torch.zeros(4), reduction=TopK(1)).isnan()
    assert losskit.mse_loss(x, torch.zeros(4), reduction=TopK(threshold=100.0)).isnan()
    assert losskit.mse_loss(x, torch.zeros(4), reduction=TopK(1), mask=~x.isnan()) == 9.0


def test_shares_are_rounded_down_as_written() -> None:
    """In binary 0.29 is less than 29 of 100."""
    for hundredth in range(1, 101):
        assert mined.whole(hundredth / 100, torch.tensor([100])).item() == hundredth
    assert mined.whole(1 / 3, torch.tensor([3 * 10**6])).item() == 10**6


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_other_reductions(reduction: Any) -> None:
    each = losskit.mse_loss(X, ZERO, reduction=TopK(0.3, reduction=reduction))
    assert each.tolist() == (13.0 if reduction == "sum" else [4.0, 0.0, 0.0, 9.0, 0.0, 0.0, 0.0])


def test_a_normalizer_divides() -> None:
    assert losskit.mse_loss(X, ZERO, reduction=TopK(2), normalizer=4.0).item() == 13.0 / 4
    assert losskit.mse_loss(X * torch.nan, ZERO, reduction=TopK(2), normalizer=0.0).item() == 0.0


def test_gradients_of_weights() -> None:
    """Weights of items that require a gradient have that of the mean over the kept items."""
    x = torch.randn(2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[0, 3, 1], [2, 2, 0]])

    def loss(weight: Tensor) -> Tensor:
        return losskit.cross_entropy(x, labels, reduction=TopK(0.5), sample_weight=weight, weight=[1.0, 2.0, 0.5, 1.5])

    weight = torch.tensor([[1.0, 0.5, 2.0], [0.7, 1.0, 3.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, (weight,))


@pytest.mark.parametrize("name", ["mse_loss", "cross_entropy", "focal_loss", "giou_loss"])
def test_gradcheck(name: str) -> None:
    context = next(c for c in MINED if c.loss.name == name)
    x, *target = context.tensors(torch.float64)
    work = lambda x: context(x, *target, reduction=TopK(0.4, per="sample" if name == "mse_loss" else "batch"))  # noqa: E731
    assert torch.autograd.gradcheck(work, (x.requires_grad_(),))
    if name != "giou_loss":
        assert torch.autograd.gradgradcheck(work, (x,))


@pytest.mark.sparse(3)
@pytest.mark.filterwarnings("ignore:.*should not be instantiated")  # torch's own words about autograd functions, while it traces
@pytest.mark.parametrize("context", FUSED.values(), ids=str)
def test_in_one_graph(context: Context) -> None:
    """`torch.compile(fullgraph=True)` gives the same, with the gradient."""
    tensors = context.tensors()
    torch._dynamo.reset()
    how = TopK(0.4, min_kept=2)
    compiled = torch.compile(lambda *tensors: context(*tensors, reduction=how), backend="aot_eager", fullgraph=True)
    leaf = tensors[0].detach().clone().requires_grad_()
    value = compiled(leaf, *tensors[1:])
    close((value.detach(), torch.autograd.grad(value, leaf, torch.full_like(value, 0.7))[0]), reduced(context, tensors, reduction=how))


@pytest.mark.filterwarnings("ignore:.*should not be instantiated")
def test_large_passes_in_one_graph() -> None:
    """Where the pass is an operator."""
    torch._dynamo.reset()
    draw = torch.Generator().manual_seed(0)
    x, labels = torch.randn(2, 5, 96, 96, generator=draw), torch.randint(0, 5, (2, 96, 96), generator=draw)
    work = lambda x: losskit.cross_entropy(x, labels, reduction=TopK(0.2, per="sample"))  # noqa: E731
    leaves = [x.clone().requires_grad_() for _ in range(2)]
    values = [torch.compile(work, backend="aot_eager", fullgraph=True)(leaves[0]), work(leaves[1])]
    slopes = [torch.autograd.grad(value, leaf)[0] for value, leaf in zip(values, leaves, strict=True)]
    close((values[0].detach(), slopes[0]), (values[1].detach(), slopes[1]))


@pytest.mark.parametrize("name", [loss.name for loss in LOSSES.values() if "reduction" in loss.settings])
def test_modules(name: str) -> None:
    """Held as a setting, shown, copied and pickled."""
    loss = LOSSES[name]
    needed = {key: loss.arguments[0][key] for key in loss.required if key in loss.arguments[0]} | ({"task": "binary"} if "task" in loss.required else {})
    module = getattr(losskit, loss.module)(**needed, reduction=TopK(0.25, min_kept=3))
    assert "reduction=TopK(keep=0.25, min_kept=3)" in repr(module)
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert twin.reduction == module.reduction and repr(twin) == repr(module)


@pytest.mark.parametrize("name", [loss.name for loss in LOSSES.values() if "reduction" not in loss.settings])
def test_losses_without_a_loss_per_item_say_so(name: str) -> None:
    with pytest.raises(TypeError, match="no loss per item"):
        LOSSES[name].function(X[None], ZERO[None], reduction=TopK(0.5))
    with pytest.raises(TypeError, match="no loss per item"):
        getattr(losskit, LOSSES[name].module)(task="binary", reduction=TopK(0.5))


@pytest.mark.chosen
def test_of_scores_that_are_never_whole() -> None:
    """Cross-entropy of a product keeps the items that it would keep of whole logits."""
    draw = torch.Generator().manual_seed(0)
    x, head = torch.randn(40, 6, generator=draw).requires_grad_(), torch.randn(11, 6, generator=draw).requires_grad_()
    labels, weight = torch.randint(-1, 11, (40,), generator=draw), torch.rand(11, generator=draw)
    for how in (TopK(0.3), TopK(threshold=2.0), TopK(0.3, reduction="sum")):
        found = losskit.linear_cross_entropy(x, head, labels, ignore_index=-1, weight=weight, reduction=how)
        whole = losskit.cross_entropy(x @ head.t(), labels, ignore_index=-1, weight=weight, reduction=how)
        torch.testing.assert_close(found, whole, rtol=1e-5, atol=0.0)
        for a, b in zip(torch.autograd.grad(found, (x, head)), torch.autograd.grad(whole, (x, head)), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_parts_stay_those_of_all_items() -> None:
    x, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, -100])
    _, plain = losskit.cross_entropy(x, labels, return_parts=True, reduction="none")
    loss, parts = losskit.cross_entropy(x, labels, return_parts=True, reduction=TopK(1))
    assert loss == parts.losses.max() and torch.equal(parts.losses, plain.losses)


@pytest.mark.parametrize("engine", ["torch", "cpu"])
@pytest.mark.parametrize("learned", ["nothing", "weight", "sample_weight"])
def test_of_a_class_of_weight_0_smoothing_leaves_a_loss(engine: Any, learned: str) -> None:
    """Its items have no share of the denominator, but a loss: all items are kept, and the mean is that of all."""
    x, t = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0], [1.0, 1.0, 4.0], [5.0, 0.0, 0.0]]), torch.tensor([0, 1, -100, 0])
    weight, beside = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 2.0, 1.0, 0.5])
    how: dict[str, Any] = dict(weight=weight, label_smoothing=0.2)
    if learned != "nothing":
        how["sample_weight"] = beside
        (weight if learned == "weight" else beside).requires_grad_()
    with losskit.use_engine(engine):
        everything = losskit.cross_entropy(x, t, **how)
        assert everything > 0
        torch.testing.assert_close(losskit.cross_entropy(x, t, **how, reduction=TopK(1.0)), everything)
        each = losskit.cross_entropy(x, t, **how, reduction="none")
        torch.testing.assert_close(losskit.cross_entropy(x, t, **how, reduction=TopK(1, reduction="sum")), each.max())


def test_repr_is_what_makes_it() -> None:
    for how in WAYS:
        assert eval(repr(TopK(**how))) == TopK(**how)
    assert repr(TopK(numpy.int64(3), min_kept=numpy.float64(0.5))) == "TopK(keep=3, min_kept=0.5)"
    assert TopK(1) != TopK(1.0) and repr(TopK(1.0, min_kept=1.0)) == "TopK(keep=1.0, min_kept=1.0)"
    assert len({TopK(0.5), TopK(0.5), TopK(0.25)}) == 2


@pytest.mark.parametrize(
    ("settings", "error", "told"),
    [
        ({}, ValueError, r"needs keep=.*try TopK\(0.2\)"),
        ({"keep": 70.0}, ValueError, "for 70 percent try 0.7"),
        ({"keep": 0.0}, ValueError, r"share in \(0, 1\]"),
        ({"keep": float("nan")}, ValueError, r"share in \(0, 1\]"),
        ({"keep": 0}, ValueError, "at least 1 item"),
        ({"keep": True}, TypeError, "share .* or a number of items"),
        ({"keep": "0.5"}, TypeError, "share .* or a number of items"),
        ({"keep": 0.5, "min_kept": -1}, ValueError, "min_kept of TopK must be at least 0 items"),
        ({"threshold": float("nan")}, ValueError, "threshold must be finite"),
        ({"threshold": "1"}, TypeError, "threshold must be a number"),
        ({"keep": 0.5, "per": "item"}, ValueError, "per of TopK must be one of 'batch', 'sample'"),
        ({"keep": 0.5, "reduction": "max"}, ValueError, "reduction of TopK must be one of"),
    ],
)
def test_bad_settings(settings: dict[str, Any], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        TopK(**settings)


def test_bad_calls() -> None:
    with pytest.raises(ValueError, match="divide the result instead"):
        losskit.mse_loss(X, ZERO, reduction=TopK(2, reduction="sum"), normalizer=3)
    with pytest.raises(ValueError, match="must not be negative"):
        losskit.mse_loss(X, ZERO, reduction=TopK(2), sample_weight=-torch.ones(7))
    with pytest.raises(ValueError, match=r'try TopK.*reduction="sum"'):
        losskit.varifocal_loss(X, ZERO, reduction=TopK(2), normalizer="positives")
    with pytest.raises(ValueError, match="leave per out"):
        losskit.mse_loss(X[0], ZERO[0], reduction=TopK(2, per="sample"))
    with pytest.raises(TypeError, match="WIoULoss"):
        losskit.WIoUv3Loss(reduction=TopK(2))


@pytest.fixture
def alone() -> Iterator[Any]:
    """A group of one rank."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield torch.distributed.group.WORLD
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(not torch.distributed.is_available() or not torch.distributed.is_gloo_available(), reason="gloo")
def test_over_ranks(alone: Any) -> None:
    """The mean divides by what is kept on all ranks; of scores whose classes are spread; not where each rank has some of the items' losses alone."""
    assert losskit.mse_loss(X, ZERO, reduction=TopK(2), normalizer=losskit.Ranks()).item() == 6.5
    x, labels = torch.randn(4, 3), torch.tensor([0, 2, 1, -100])
    spread = losskit.cross_entropy(x, labels, reduction=TopK(0.5), class_group=alone, weight=[1.0, 2.0, 0.5])
    torch.testing.assert_close(spread, losskit.cross_entropy(x, labels, reduction=TopK(0.5), weight=[1.0, 2.0, 0.5]))
    with pytest.raises(ValueError, match="leave process_group out"):
        losskit.clip_loss(x, x, 1.0, reduction=TopK(2), process_group=alone)


@pytest.mark.skipif(not torch.distributed.is_available() or not torch.distributed.is_gloo_available(), reason="gloo")
def test_of_dtensors(alone: Any) -> None:
    """All items are gathered: the largest of all of them are kept."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    x = distribute_tensor(X.clone().requires_grad_(), init_device_mesh("cpu", (1,)), [Shard(0)])
    loss = losskit.mse_loss(x, distribute_tensor(ZERO, x.device_mesh, [Shard(0)]), reduction=TopK(2))
    assert loss.full_tensor().item() == 6.5
