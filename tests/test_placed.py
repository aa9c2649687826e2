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
from losskit.contract import groups, placed

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
)


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
    given = {name: mask if value is True else value for name, value in settings.items()}
    place = (lambda y, way: spread(y, way, mesh)) if mesh is not None else (lambda y, way: y.detach().clone().requires_grad_(y.requires_grad))
    x, h, head, bias = (y.requires_grad_() for y in (x, h, head, bias))
    own, hidden, own_head, own_bias = place(x, 1), place(h, "all"), place(head, 0), place(bias, 0)
    labels = place(t, "all")
    return {
        "logits": outcome(losskit.cross_entropy(own, labels, **given), [own]),
        "head": outcome(losskit.linear_cross_entropy(hidden, own_head, labels, linear_bias=own_bias, **given), [hidden, own_head, own_bias]),
    }


def refused(rank: int, group: Any) -> list[str]:
    """What every rank raises where one is wrong: nobody waits."""
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
    )
    told = []
    for call in calls:
        with pytest.raises((TypeError, ValueError, RuntimeError)) as error:
            call()
        told.append(f"{type(error.value).__name__}: {error.value}")
    told.append(repr(losskit.mse_loss(x, x + 1.0, normalizer=losskit.Ranks()).item()))  # nobody was left behind
    return told


def work(rank: int, worlds: dict[int, Any], all_of_it: bool) -> dict[Any, Any]:
    """What a rank does."""
    from torch.distributed.tensor import Partial, Replicate, Shard, distribute_tensor, init_device_mesh

    found: dict[Any, Any] = {}
    mesh, square = init_device_mesh("cpu", (3,)), init_device_mesh("cpu", (1, 3))
    with losskit.use_engine("torch"):
        for name, way in cases(all_of_it):
            found[name, way] = call_of(name, way, mesh)
        for k, settings in enumerate(FOR_CLASSES):
            found["classes", k] = classes_of(k, settings, square if k == 1 else mesh)
    with nullcontext() if all_of_it else losskit.use_engine("torch"):
        found["fused"] = call_of("mse_loss", "spread", mesh), classes_of(0, {}, mesh)
    gathers: list[Any] = []
    real, placed.gathered = placed.gathered, lambda x: gathers.append(x) if placed.spread(x, 0) is not None else real(x)  # type: ignore[assignment]
    try:
        x = distribute_tensor(torch.randn(7, 5), mesh, [Shard(0)])
        t = distribute_tensor(torch.arange(7) % 5, mesh, [Shard(0)])
        losskit.cross_entropy(x, t)
        losskit.dice_loss(x, t, task="multiclass", over="batch")
        losskit.mse_loss(x, x, reduction="none")
    finally:
        placed.gathered = real
    found["gathered"] = len(gathers)
    half = torch.arange(6.0).reshape(2, 3)
    partial = placed.DTensor.from_local(half / 3, mesh, [Partial()], run_check=False)
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
    ):
        with pytest.raises((TypeError, ValueError)) as error:
            call()
        told.append(f"{type(error.value).__name__}: {error.value}")
    found["told"] = told
    found["refused"] = refused(rank, worlds[3])
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
        meshes, ranks, shapes = found["told"]
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
    (None, "1.0"),
)


@claim("Ranks", "What one rank refuses is raised on all")
def test_what_one_rank_refuses_is_raised_on_all(results: list[dict[Any, Any]]) -> None:
    """With `losskit.Ranks`, and with the process_group= of losses of overlap."""
    for place, (wrong, text) in enumerate(SAID):
        for rank, found in enumerate(results):
            expected = text if wrong in (None, rank) else "Refused: another rank has refused its input: see what it raises"
            assert found["refused"][place].startswith(expected), (place, rank, found["refused"][place])


def test_alone_nobody_is_told() -> None:
    assert groups.meeting.get() is None
    with pytest.raises(ValueError, match="input has shape"):
        losskit.mse_loss(torch.zeros(3), torch.zeros(2), normalizer=losskit.Ranks())
    assert groups.meeting.get() is None
