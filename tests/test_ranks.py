"""`losskit.Ranks`: the mean over all ranks' items, whatever each rank holds. Every loss that takes `normalizer`, on three ranks, one of them with nothing.

What it must be is made of passes without ranks: the sum of the sums, over the sum of what each mean divides by.
"""

import contextlib
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from cases import subjects_of
from ranks import results_of
from torch import Tensor, distributed

import losskit
from losskit import LOSSES
from losskit.testing.subject import Subject

pytestmark = pytest.mark.skipif(not distributed.is_available() or not distributed.is_gloo_available(), reason="gloo")

RANKS = 3
FUSED = ("mse_loss", "cross_entropy", "giou_loss", "kl_divergence")  # on the engine that losskit chooses, too: a kernel or two each
GRADIENTS = {"averaged": 3.0, "summed": 1.0}  # what the loss is multiplied by, so that the gradients come out right


def subjects() -> dict[str, Subject]:
    """Every loss whose items have a mean, as it is shown."""
    shown = {name: subjects_of(loss)[0].with_dtype(torch.float64) for name, loss in LOSSES.items()}
    return {name: s for name, s in shown.items() if s.offers("normalizer") and s.offers("reduction")}


def pieces(s: Subject) -> list[tuple[Tensor, ...]]:
    """A batch as the ranks hold it: the last has nothing."""
    batch = s.batch(s.items, seed=4)
    count = len(batch[0])
    sizes = (count - count // 3, count // 3, 0)
    return list(zip(*(z.split(sizes) for z in batch), strict=True))


def ways(s: Subject, piece: tuple[Tensor, ...], rank: int) -> dict[str, dict[str, Tensor]]:
    """Arguments under which "mean" divides by different things."""
    draw = torch.Generator().manual_seed(rank)
    weights = torch.rand((len(piece[0]), *s.items[1:]), generator=draw, dtype=torch.float64) + 0.5
    masks, weights = {"mask": s.mask(weights > 0.7)}, s.mask(weights) if s.loss.pattern == "operations" else weights
    found = {"plain": {}, "mask": masks, "weights": {"sample_weight": weights}, "learned": {"sample_weight": weights.clone().requires_grad_()}}
    return {way: extra for way, extra in found.items() if all(map(s.offers, extra))}


def leaves(s: Subject, piece: tuple[Tensor, ...], extra: Mapping[str, Tensor]) -> tuple[tuple[Tensor, ...], list[Tensor]]:
    """The tensors of a call, and those of them, and of its weights, that require a gradient."""
    fresh = s.fresh(*(z.clone() for z in piece))
    return fresh, [z for z in (*fresh, *extra.values()) if z.requires_grad]


def work(rank: int, groups: dict[int, Any]) -> dict[Any, Any]:
    """What a rank does: its part of every case."""
    found: dict[Any, Any] = {}
    for name, s in subjects().items():
        piece = pieces(s)[rank]
        for engine in ("torch", None) if name in FUSED else ("torch",):
            for way, extra in ways(s, piece, rank).items():
                for gradients in GRADIENTS if name in FUSED else ("averaged",):
                    with losskit.use_engine("torch") if engine else contextlib.nullcontext():
                        given, wanted = leaves(s, piece, extra)
                        value = s(*given, normalizer=losskit.Ranks(gradients=gradients), **extra)
                        found[name, engine, way, gradients] = value.detach(), torch.autograd.grad(value, wanted)
    x, t = (torch.tensor([[1.0, -2.0], [0.5, 3.0], [-1.0, 0.0]], dtype=torch.float64) * sign for sign in (1.0, -1.0))
    t = (t > 0.6).double()
    found["given"] = losskit.mse_loss(x[rank], t[rank], normalizer=losskit.Ranks(0.5 + rank))
    found["positives"] = losskit.focal_loss(x[rank], t[rank], normalizer=losskit.Ranks("positives"))
    found["multilabel"] = losskit.multilabel_soft_margin_loss(x[rank : rank + 1], t[rank : rank + 1], normalizer=losskit.Ranks(float(rank)))
    found["nothing"] = losskit.mse_loss(x[rank], t[rank], mask=torch.tensor(False), normalizer=losskit.Ranks())
    found["no count"] = losskit.mse_loss(x[rank] * torch.nan, t[rank], normalizer=losskit.Ranks(0))
    if rank < 2:
        found["two"] = losskit.mse_loss(x[rank], t[rank], mask=torch.tensor([True, rank == 0]), normalizer=losskit.Ranks(group=groups[2]))
    boxes = torch.tensor([[0.0, 0.0, 2.0, 1.0 + rank], [0.0, 0.0, 1.0, 1.0]], dtype=torch.float64)[: 2 - rank]
    found["WIoU"] = losskit.WIoUv3Loss()(boxes, boxes + 0.25, normalizer=losskit.Ranks())
    if rank == 2:
        with pytest.raises(ValueError, match="group is a group without this rank"):
            losskit.Ranks(group=groups[2])
    return found


@pytest.fixture(scope="module")
def results() -> list[dict[Any, Any]]:
    return results_of(work)


def expected(s: Subject, way: str) -> list[tuple[Tensor, tuple[Tensor, ...]]]:
    """What each rank must find, of the sums and the means of their batches without ranks: its sum over all denominators; the gradient of the sum of these."""
    calls = [(piece, ways(s, piece, rank)[way]) for rank, piece in enumerate(pieces(s))]
    sums, denominators, wanted = [], [], []
    with losskit.use_engine("torch"):
        for piece, extra in calls:
            given, attached = leaves(s, piece, extra)
            total, mean = s(*given, reduction="sum", **extra), s(*given, reduction="mean", **extra)
            sums.append(total)
            assert mean != 0.0 or not len(piece[0])
            denominators.append(total / mean if len(piece[0]) else torch.zeros((), dtype=total.dtype))
            wanted.append(attached)
    whole = torch.stack(denominators).sum()
    gradient = torch.autograd.grad(torch.stack(sums).sum() / whole, [z for each in wanted for z in each])
    parts = iter(gradient)
    return [((total / whole).detach(), tuple(next(parts) for _ in each)) for total, each in zip(sums, wanted, strict=True)]


@pytest.mark.parametrize("name", subjects())
def test_the_mean_of_all_ranks(name: str, results: list[dict[Any, Any]]) -> None:
    s = subjects()[name]
    for way in ways(s, pieces(s)[0], 0):
        wanted = expected(s, way)
        for case in [case for case in results[0] if case[0] == name and case[2] == way]:
            for rank, (value, gradients) in enumerate(wanted):
                got, by = results[rank][case]
                times = GRADIENTS[case[3]]
                torch.testing.assert_close(got, times * value, rtol=1e-11, atol=1e-14, msg=lambda told, case=case: f"{case}: {told}")
                for a, b in zip(by, gradients, strict=True):
                    torch.testing.assert_close(a, times * b, rtol=1e-9, atol=1e-11, msg=lambda told, case=case: f"{case}, gradient: {told}")


def test_every_denominator_of_a_mean_is_shared() -> None:
    """A loss that takes `normalizer`, and is not listed above, says that it is no mean of items."""
    tested = subjects()
    for name, loss in LOSSES.items():
        s = subjects_of(loss)[0]
        if name not in tested and s.offers("normalizer"):
            with pytest.raises(TypeError, match="normalizer must be a number or a 0-d tensor here, got losskit"):
                s(*s.batch(), normalizer=losskit.Ranks())


def test_what_a_rank_gives(results: list[dict[Any, Any]]) -> None:
    """A part of the denominator that the caller counts."""
    x, t = (torch.tensor([[1.0, -2.0], [0.5, 3.0], [-1.0, 0.0]], dtype=torch.float64) * sign for sign in (1.0, -1.0))
    t = (t > 0.6).double()
    for rank, found in enumerate(results):
        torch.testing.assert_close(found["given"], losskit.mse_loss(x[rank], t[rank], normalizer=(0.5 + 1.5 + 2.5) / 3))
        torch.testing.assert_close(found["positives"], losskit.focal_loss(x[rank], t[rank], normalizer=float(t.sum()) / 3))
        torch.testing.assert_close(found["multilabel"], losskit.multilabel_soft_margin_loss(x[rank : rank + 1], t[rank : rank + 1], normalizer=(0 + 1 + 2) / 3))
        assert found["nothing"] == 0.0 and found["no count"] == 0.0
    for rank in range(2):
        keep = torch.tensor([True, rank == 0])
        torch.testing.assert_close(results[rank]["two"], losskit.mse_loss(x[rank], t[rank], mask=keep, normalizer=3 / 2))
    for rank, found in enumerate(results):
        boxes = torch.tensor([[0.0, 0.0, 2.0, 1.0 + rank], [0.0, 0.0, 1.0, 1.0]], dtype=torch.float64)[: 2 - rank]
        torch.testing.assert_close(found["WIoU"], losskit.WIoUv3Loss()(boxes, boxes + 0.25, normalizer=3 / 3))


def test_one_process_is_the_only_rank() -> None:
    x, t = torch.tensor([1.0, 2.0]), torch.zeros(2)
    assert losskit.mse_loss(x, t, normalizer=losskit.Ranks()) == losskit.mse_loss(x, t)
    assert losskit.dice_loss(x, t, task="binary", process_group=losskit.Ranks()) == losskit.dice_loss(x, t, task="binary")


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        ({"gradients": "mean"}, ValueError, "gradients must be one of 'averaged', 'summed', got 'mean'"),
        ({"normalizer": "items"}, ValueError, "normalizer must be a number, a 0-d tensor or \"positives\", got 'items'"),
        ({"group": "world"}, TypeError, "group must be a torch.distributed.ProcessGroup, got str"),
    ],
)
def test_bad_ranks(given: dict[str, Any], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        losskit.Ranks(**given)


def test_a_denominator_of_its_own_beside_sums() -> None:
    x = torch.rand(2, 3)
    with pytest.raises(ValueError, match=r"process_group has no denominator of its own.*: leave normalizer out of losskit.Ranks"):
        losskit.dice_loss(x, x, task="binary", process_group=losskit.Ranks(3.0))
