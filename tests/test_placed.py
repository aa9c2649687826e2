"""DTensors: every loss gives the value and the gradients of whole tensors, however these are spread over the ranks of a mesh."""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from cases import subjects_of, thorough
from claims import claim
from ranks import results_of
from torch import Tensor, distributed

import losskit
from losskit import LOSSES
from losskit.contract import groups

pytestmark = pytest.mark.skipif(not distributed.is_available() or not distributed.is_gloo_available(), reason="gloo")

SHOWN = ("cross_entropy", "linear_cross_entropy", "dice_loss", "lovasz_loss", "giou_loss", "gaussian_nll_loss", "ssim_loss", "supcon_loss", "kl_divergence")
# of the first tensor of a call, and of the others: None is a plain tensor, "all" one that every rank has whole, a number the axis along which it is spread
WAYS: dict[str, tuple[Any, Any]] = {
    "all": ("all", "all"),
    "spread": (0, 0),
    "first spread": (0, "all"),
    "beside plain ones": (0, None),
    "last axis": (-1, "all"),
}
FOR_CLASSES = (
    {},
    {"label_smoothing": 0.1, "z_loss": 0.01, "weight": [0.5, 1.0, 2.0, 1.0, 3.0]},
    {"reduction": "none", "mask": True},
    {"softcap": 4.0, "ignore_index": 1},
    {"temperature": torch.tensor(1.4), "label_smoothing": torch.tensor([0.1, 0.3, 0.0, 0.5]), "hidden": 0},
    {"soft": 1, "label_smoothing": 0.1},
    {"soft": "all", "z_loss": 0.01, "reduction": "none"},
)


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)), dtype=torch.float64)


LABELS = torch.tensor([0, 2, 1])
# whose tensors beside the input might be of items or not: as many items as classes, numbers or columns; and those that are not, of settings
HARD: dict[str, tuple[Any, dict[str, Any]]] = {
    "a number per column": (lambda x, **how: losskit.focal_loss(x, (drawn(3, 3) > 0).double(), **how), {"gamma": torch.tensor([0.5, 1.0, 3.0])}),
    "a mask of columns": (lambda x, **how: losskit.focal_loss(x, (drawn(3, 3) > 0).double(), **how), {"mask": torch.tensor([True, False, True])}),
    "a mask of places": (lambda x, **how: losskit.dice_loss(x, (drawn(3, 3) > 0).double(), task="binary", over="batch", **how), {"mask": drawn(3) > -0.5}),
    "a smoothing per item": (lambda x, **how: losskit.cross_entropy(x, LABELS, **how), {"label_smoothing": torch.tensor([0.1, 0.0, 0.3])}),
    "a temperature per item": (lambda x, **how: losskit.cross_entropy(x, LABELS, **how), {"temperature": torch.tensor([0.5, 1.0, 3.0])}),
    "a weight per class": (lambda x, **how: losskit.cross_entropy(x, LABELS, **how), {"weight": torch.tensor([0.5, 1.0, 3.0])}),
    "a weight per number": (lambda x, **how: losskit.binary_cross_entropy_with_logits(x, drawn(3, 3).sigmoid(), **how), {"weight": drawn(3, 3).abs()}),
    "a scale per number": (lambda x, **how: losskit.barron_loss(x, drawn(3, 3).sin(), alpha=1.0, **how), {"scale": drawn(3, 3).abs() + 0.1}),
    "another normalizer": (lambda x, **how: losskit.mse_loss(x, drawn(3, 3).sin(), **how), {"normalizer": 4.0}),
    "a weight per item": (lambda x, **how: losskit.poly_loss(x, LABELS, epsilon=1.0, **how), {"sample_weight": torch.tensor([0.5, 1.0, 3.0])}),
    "shifted labels": (lambda x, **how: losskit.linear_cross_entropy(x, drawn(5, 3), LABELS, **how), {"shift": True}),
    "products": (lambda x, **how: losskit.linear_cross_entropy(x, drawn(3, 3).cos(), LABELS, **how), {"linear_bias": drawn(3)}),
    "a learned scalar": (lambda x, **how: losskit.huber_loss(x, drawn(3, 3).sin(), **how), {"delta": torch.tensor(0.3, dtype=torch.float64, requires_grad=True)}),
}  # fmt: skip


def hard(name: str, mesh: Any = None) -> list[Tensor]:
    loss, how = HARD[name]
    how = {key: y.detach().clone().requires_grad_(y.requires_grad) if isinstance(y, Tensor) else y for key, y in how.items()}
    x = drawn(3, 3).requires_grad_()
    x = x if mesh is None else spread(x, 0, mesh)
    return outcome(loss(x, **how), [x, *(y for y in how.values() if isinstance(y, Tensor) and y.requires_grad)])


def batch_of(name: str) -> tuple[Any, tuple[Tensor, ...]]:
    s = subjects_of(LOSSES[name])[0].with_dtype(torch.float64)
    return s, s.batch(s.items, seed=3)


def placements(x: Tensor, way: Any, mesh: Any) -> Any:
    """None for a plain tensor."""
    from torch.distributed.tensor import Replicate, Shard

    if way is None:
        return None
    if way == "all" or not x.dim():
        return [Replicate()] * mesh.ndim
    return [*[Replicate()] * (mesh.ndim - 1), Shard(way % x.dim())]


def spread(x: Tensor, way: Any, mesh: Any) -> Tensor:
    """A leaf, as a DTensor or plain."""
    from torch.distributed.tensor import distribute_tensor

    where = placements(x, way, mesh)
    found = x.detach().clone() if where is None else distribute_tensor(x.detach().clone(), mesh, where)
    return found.requires_grad_(x.requires_grad)


def whole(x: Any) -> Any:
    return x.full_tensor() if hasattr(x, "full_tensor") else x


def outcome(value: Any, leaves: list[Tensor], incoming: Tensor | None = None) -> list[Tensor]:
    """The value and the gradients of leaves, all of them; nothing is wrong with a leaf that is a plain tensor on every rank."""
    total = (value * value.detach().cos()).sum() if incoming is None else (value * incoming).sum()
    found = torch.autograd.grad(total, leaves, allow_unused=True)
    return [whole(value).detach(), *(whole(g) for g in found if g is not None)]


def cases(all_of_it: bool) -> Iterator[tuple[str, str]]:
    for name in LOSSES if all_of_it else SHOWN:
        yield from ((name, way) for way in (WAYS if all_of_it or name in SHOWN[:3] else ("spread", "first spread")))


def call_of(name: str, way: str, mesh: Any) -> list[Tensor]:
    s, batch = batch_of(name)
    leaves = list(s.fresh(*(z.clone() for z in batch)))
    first, others = WAYS[way]
    leaves = [spread(x, first if k == 0 else others, mesh) for k, x in enumerate(leaves)]
    return outcome(s(*leaves), [x for x in leaves if x.requires_grad])


def classes_of(k: int, settings: dict[str, Any], mesh: Any = None) -> dict[str, list[Tensor]]:
    """Cross-entropy of logits, and of a head, five classes over the ranks."""
    draw = torch.Generator().manual_seed(k)
    real: dict[str, Any] = dict(generator=draw, dtype=torch.float64)
    x, t, h, head, bias = torch.randn(4, 5, **real), torch.tensor([0, 4, 1, 2]), torch.randn(4, 3, **real), torch.randn(5, 3, **real), torch.randn(5, **real)
    mask = torch.tensor([True, False, True, True])
    given = {name: mask if value is True else value for name, value in settings.items() if name not in ("hidden", "soft")}
    t = torch.rand(4, 5, **real).softmax(1) if "soft" in settings else t
    place = (lambda y, way: spread(y, way, mesh)) if mesh is not None else (lambda y, way: y.detach().clone().requires_grad_(y.requires_grad))
    x, h, head, bias = (y.requires_grad_() for y in (x, h, head, bias))
    own, hidden, own_head, own_bias = place(x, 1), place(h, settings.get("hidden", "all")), place(head, 0), place(bias, 0)
    labels = place(t, settings.get("soft", "all"))
    return {
        "logits": outcome(losskit.cross_entropy(own, labels, **given), [own]),
        "head": outcome(losskit.linear_cross_entropy(hidden, own_head, labels, linear_bias=own_bias, **given), [hidden, own_head, own_bias]),
    }


def refused(rank: int, group: Any, mesh: Any) -> list[str]:
    """What every rank raises where one is wrong: nobody waits."""
    from torch.distributed.tensor import DTensor, Shard

    own = DTensor.from_local(torch.tensor([9 if rank == 1 else 0]), mesh, [Shard(0)], run_check=False)
    soft = DTensor.from_local(torch.full((1, 3), 1.5 if rank == 2 else 0.5), mesh, [Shard(0)], run_check=False)
    scores = DTensor.from_local(torch.randn(1, 3), mesh, [Shard(0)], run_check=False)
    x, t = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    calls = (
        lambda: losskit.mse_loss(x, x[:2] if rank == 1 else x, normalizer=losskit.Ranks()),
        lambda: losskit.cross_entropy(x, t + 5 if rank == 2 else t, normalizer=losskit.Ranks()),
        lambda: losskit.multilabel_soft_margin_loss(x, x[0] if rank == 0 else (x > 0).float(), normalizer=losskit.Ranks()),
        lambda: losskit.CrossEntropyLoss()(x.long() if rank == 0 else x, t, normalizer=losskit.Ranks()),
        lambda: losskit.mse_loss(x, x, normalizer=losskit.Ranks(), reduction="sum"),
        lambda: losskit.dice_loss(x, t + 5 if rank == 2 else t, task="multiclass", process_group=group),
        lambda: losskit.dice_ce_loss(x, t[:3] if rank == 1 else t, task="multiclass", process_group=losskit.Ranks()),
        lambda: losskit.dice_ce_loss(x.softmax(1), t[:3] if rank == 1 else t, task="multiclass", from_logits=False, process_group=group),
        lambda: losskit.dice_loss(x, t, task="many", process_group=group),
        lambda: losskit.dice_ce_loss(x.sigmoid(), (x > 0) + 0.5 if rank == 1 else (x > 0).float(), task="multilabel", from_logits=False, process_group=group),
        *(lambda how=how: losskit.cross_entropy(scores, own, **how) for how in ({}, {"reduction": "sum"}, {"reduction": "none"}, {"normalizer": 2.0})),
        lambda: losskit.binary_cross_entropy_with_logits(scores, soft),
    )
    told = []
    for call in calls:
        with pytest.raises((TypeError, ValueError, RuntimeError)) as error:
            call()
        told.append(f"{type(error.value).__name__}: {error.value}")
    told.append(repr(losskit.mse_loss(torch.zeros(4, 3), torch.ones(4, 3), normalizer=losskit.Ranks()).item()))  # nobody was left behind
    return told


def work(rank: int, worlds: dict[int, Any], all_of_it: bool) -> dict[Any, Any]:
    """What a rank does."""
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DeviceMesh, DTensor, Partial, Replicate, Shard, distribute_tensor, init_device_mesh
    from torch.distributed.tensor.debug import CommDebugMode

    found: dict[Any, Any] = {}
    mesh, square = init_device_mesh("cpu", (3,)), init_device_mesh("cpu", (1, 3))
    with losskit.use_engine("torch"):
        for name, way in cases(all_of_it):
            found[name, way] = call_of(name, way, mesh)
        for name in HARD:
            found["hard", name] = hard(name, mesh)
        for k, settings in enumerate(FOR_CLASSES):
            found["classes", k] = classes_of(k, settings, square if k == 1 else mesh)
    with nullcontext() if all_of_it else losskit.use_engine("torch"):
        found["fused"] = call_of("mse_loss", "spread", mesh), classes_of(0, {}, mesh)
    x, t = distribute_tensor(torch.randn(7, 5), mesh, [Shard(0)]), distribute_tensor(torch.arange(7) % 5, mesh, [Shard(0)])
    head = distribute_tensor(torch.randn(7, 5), mesh, [Shard(0)])
    with CommDebugMode() as watched, losskit.use_engine("torch"):
        losskit.cross_entropy(x, t)
        losskit.dice_loss(x, t, task="multiclass", over="batch")
        losskit.mse_loss(x, x, reduction="none")
        losskit.linear_cross_entropy(x, torch.randn(7, 5), t)
        losskit.linear_cross_entropy(torch.randn(4, 5), head, torch.arange(4))
        losskit.cross_entropy(distribute_tensor(torch.randn(4, 7), mesh, [Shard(1)]), torch.arange(4))
        chances = distribute_tensor(torch.rand(4, 7).softmax(1), mesh, [Shard(1)])
        losskit.cross_entropy(distribute_tensor(torch.randn(4, 7), mesh, [Shard(1)]), chances, temperature=torch.tensor(2.0), return_parts=True)
        losskit.linear_cross_entropy(distribute_tensor(torch.randn(4, 5), mesh, [Shard(0)]), head, torch.arange(4))
    found["gathered"] = sum(count for name, count in watched.get_comm_counts().items() if "all_gather" in str(name))
    half = torch.arange(6.0).reshape(2, 3)
    partial = DTensor.from_local(half / 3, mesh, [Partial()], run_check=False)
    found["partial"] = whole(losskit.l1_loss(partial, torch.zeros(2, 3)))
    value = losskit.l1_loss(distribute_tensor(half, mesh, [Replicate()]), torch.zeros(2, 3))
    found["kind"] = type(value).__name__, value.placements[0].is_replicate(), value.item()
    each = losskit.l1_loss(distribute_tensor(half, mesh, [Shard(0)]), torch.zeros(2, 3), reduction="none")
    found["each"] = each.placements == (Shard(0),), tuple(each.shape), whole(each)
    _, parts = losskit.cross_entropy(distribute_tensor(half, mesh, [Shard(0)]), torch.tensor([0, 2]), return_parts=True)
    found["parts"] = type(parts).__name__, whole(parts.accuracy)
    told = []
    other = init_device_mesh("cpu", (3, 1))
    for call in (
        lambda: losskit.l1_loss(distribute_tensor(half, mesh, [Shard(0)]), distribute_tensor(half, other, [Shard(0), Replicate()])),
        lambda: losskit.l1_loss(distribute_tensor(half, mesh, [Shard(0)]), half, normalizer=losskit.Ranks()),
        lambda: losskit.l1_loss(distribute_tensor(half, mesh, [Shard(0)]), half[:1]),
        lambda: losskit.cross_entropy(distribute_tensor(half, mesh, [Shard(1)]), torch.tensor([0, 2]), class_group=worlds[3]),
        lambda: losskit.dice_loss(x, t, task="multiclass", process_group=worlds[3]),
    ):
        with pytest.raises((TypeError, ValueError)) as error:
            call()
        told.append(f"{type(error.value).__name__}: {error.value}")
    found["told"] = told
    some = DeviceMesh("cpu", [0, 1])
    if rank == 2:
        with pytest.raises(ValueError, match=r"input lies on a mesh without this rank, .*: call the loss on the ranks of the mesh alone"):
            losskit.l1_loss(DTensor.from_local(half, some, [Replicate()], run_check=False), half)
    found["refused"] = refused(rank, worlds[3], mesh)
    found["asked"] = losskit.engine_for(losskit.mse_loss, x, x).engine if rank == 0 else None  # which takes nobody else
    if rank == 1:
        with pytest.raises(ValueError, match="must be equal"):
            losskit.engine_for(losskit.mse_loss, half, half[:1], normalizer=losskit.Ranks())
    found["after"] = losskit.mse_loss(half, half + 1.0, normalizer=losskit.Ranks()).item()
    module = fully_shard(losskit.GaussianNLLLoss(var=torch.nn.Parameter(torch.ones(5))), mesh=mesh)  # whose parameter becomes a DTensor
    found["sharded"] = type(module.var).__name__
    return found


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest) -> list[dict[Any, Any]]:
    return results_of(work, request)


def agree(found: list[Any], expected: list[Tensor]) -> None:
    for got in found:
        for a, b in zip(got, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)


def expected_of(name: str) -> list[Tensor]:
    s, batch = batch_of(name)
    leaves = s.fresh(*(z.clone() for z in batch))
    return outcome(s(*leaves), [x for x in leaves if x.requires_grad])


@pytest.mark.parametrize("name", [*SHOWN, *thorough(name for name in LOSSES if name not in SHOWN)])
def test_as_of_whole_tensors(results: list[dict[Any, Any]], name: str) -> None:
    """Value and gradients, on every rank, of every way to spread the tensors."""
    with losskit.use_engine("torch"):
        expected = expected_of(name)
    ways = [way for way in WAYS if (name, way) in results[0]]
    assert len(ways) >= 2
    for way in ways:
        agree([found[name, way] for found in results], expected)


@pytest.mark.parametrize("name", HARD)
def test_what_might_be_of_items_or_not(results: list[dict[Any, Any]], name: str) -> None:
    with losskit.use_engine("torch"):
        expected = hard(name)
    agree([found["hard", name] for found in results], expected)


def test_what_one_rank_asks_alone(results: list[dict[Any, Any]]) -> None:
    """Which engine a loss would run on: nothing is computed, so nobody meets."""
    assert results[0]["asked"] in ("cpu", "torch") and [found["after"] for found in results] == [1.0] * 3
    assert [found["sharded"] for found in results] == ["DTensor"] * 3


@pytest.mark.parametrize("k", range(len(FOR_CLASSES)))
def test_classes_that_are_spread(results: list[dict[Any, Any]], k: int) -> None:
    """Three of five, two and none; also over the second axis of a mesh."""
    with losskit.use_engine("torch"):
        expected = classes_of(k, FOR_CLASSES[k])
    for of in expected:
        agree([found["classes", k][of] for found in results], expected[of])


def test_what_can_be_had_from_parts_is_not_gathered(results: list[dict[Any, Any]]) -> None:
    assert [found["gathered"] for found in results] == [0, 0, 0]
    with losskit.use_engine("torch"):
        values, classes = expected_of("mse_loss"), classes_of(0, {})
    agree([found["fused"][0] for found in results], values)
    agree([found["fused"][1]["head"] for found in results], classes["head"])


def test_what_comes_back(results: list[dict[Any, Any]]) -> None:
    half = torch.arange(6.0).reshape(2, 3)
    for found in results:
        assert found["partial"] == half.mean() and found["kind"] == ("DTensor", True, 2.5)
        assert found["each"][:2] == (True, (2, 3)) and torch.equal(found["each"][2], half)
        assert found["parts"] == ("ByProducts", torch.tensor(0.5))


def test_what_is_refused(results: list[dict[Any, Any]]) -> None:
    for found in results:
        meshes, ranks, shapes, classes, sums = found["told"]
        assert classes == "TypeError: cross_entropy of DTensors needs no class_group, for their mesh says which ranks hold what: leave it out"
        assert sums.startswith("TypeError: dice_loss of DTensors needs no process_group")
        assert meshes.startswith("ValueError: input and target lie on two meshes, ")
        assert ranks == "TypeError: l1_loss of DTensors needs no losskit.Ranks, for their mesh says which ranks hold what: leave it out"
        assert shapes.startswith("ValueError: ")


SAID = (
    (1, "ValueError: "),
    (2, "ValueError: target must hold labels from 0 to 2"),
    (0, "ValueError: "),
    (0, "TypeError: input must be a floating-point tensor"),
    (None, "ValueError: normalizer replaces the denominator of reduction"),
    (2, "ValueError: target must hold labels from 0 to 2"),
    (1, "ValueError: target has shape (3,)"),
    (1, "ValueError: target has shape (3,)"),
    (None, "ValueError: task must be one of"),
    (1, "ValueError: target must lie in [0, 1]"),
    *[(1, "ValueError: target must hold labels from 0 to 2")] * 4,
    (2, "ValueError: target must lie in [0, 1]"),
    (None, "1.0"),
)


@claim("Ranks", "What one rank refuses before the pass is raised on all")
def test_what_one_rank_refuses_is_raised_on_all(results: list[dict[Any, Any]]) -> None:
    """With `losskit.Ranks`, and with the process_group= of losses of overlap."""
    for place, (wrong, text) in enumerate(SAID):
        for rank, found in enumerate(results):
            expected = text if wrong in (None, rank) else "Refused: another rank has refused its input: see what it raises"
            assert found["refused"][place].startswith(expected), (place, rank, found["refused"][place])


@claim("Ranks", "Numbers out of their range")
def test_alone_nobody_is_told() -> None:
    assert groups.meeting.get() is None
    with pytest.raises(ValueError, match="input has shape"):
        losskit.mse_loss(torch.zeros(3), torch.zeros(2), normalizer=losskit.Ranks())
    with pytest.raises(ValueError, match=r"target must lie in \[0, 1\]"):
        losskit.binary_cross_entropy_with_logits(torch.zeros(1), torch.tensor([1.5]), normalizer=losskit.Ranks())
    assert groups.meeting.get() is None


def test_the_compiler_counts_the_graphs_of_each_loss_for_itself() -> None:
    """All stand in the same frame."""
    torch.compiler.reset()
    x = torch.randn(4, 3)
    for name in (
        "mse_loss",
        "l1_loss",
        "l2_loss",
        "huber_loss",
        "smooth_l1_loss",
        "log_cosh_loss",
        "charbonnier_loss",
        "cauchy_loss",
        "welsch_loss",
        "wing_loss",
    ):
        settings = LOSSES[name].arguments[0]
        torch.compile(getattr(losskit, name), fullgraph=True, backend="eager")(x, x.sin(), **settings)
    torch.compiler.reset()
