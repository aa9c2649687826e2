"""`losskit.Ranks`: the mean over all ranks' items, whatever each rank holds. Some losses on three ranks, one of them with nothing; every loss that takes `normalizer` as one of two.

What it must be is made of passes without ranks: the sum of the sums, over the sum of what each mean divides by.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from cases import subjects_of
from claims import claim
from ranks import results_of
from torch import Tensor, distributed

import losskit
from losskit import LOSSES
from losskit.testing.subject import Subject

pytestmark = pytest.mark.skipif(not distributed.is_available() or not distributed.is_gloo_available(), reason="gloo")

OTHER = 3.7  # what another rank divides by
MET = ("mse_loss", "cross_entropy", "giou_loss")  # in processes that meet, on the engine that losskit chooses; in `make test` that is asked of the first
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


def work(rank: int, groups: dict[int, Any], all_of_it: bool) -> dict[Any, Any]:
    """What a rank does: its part of every case."""
    found: dict[Any, Any] = {}
    for name in MET:
        s = subjects()[name]
        piece = pieces(s)[rank]
        for way, extra in ways(s, piece, rank).items():
            for gradients in GRADIENTS:
                given, wanted = leaves(s, piece, extra)
                with nullcontext() if all_of_it else losskit.use_engine("cpu" if name == MET[0] else "torch"):
                    value = s(*given, normalizer=losskit.Ranks(gradients=gradients), **extra)
                found[name, way, gradients] = value.detach(), torch.autograd.grad(value, wanted)
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
def results(request: pytest.FixtureRequest) -> list[dict[Any, Any]]:
    return results_of(work, request)


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


def check(got: tuple[Tensor, tuple[Tensor, ...]], wanted: tuple[Tensor, tuple[Tensor, ...]], times: float, what: object) -> None:
    """A rank's part of the loss, and its gradients."""
    torch.testing.assert_close(got[0], times * wanted[0], rtol=1e-11, atol=1e-14, msg=lambda told: f"{what}: {told}")
    for a, b in zip(got[1], wanted[1], strict=True):
        torch.testing.assert_close(a, times * b, rtol=1e-9, atol=1e-11, msg=lambda told: f"{what}, gradient: {told}")


@claim("Ranks", "One small sum over the ranks per loss")
@claim("Ranks", "Weights of items may have a gradient")
@claim("Ranks", "There one adds up the count")
@pytest.mark.parametrize("name", MET)
def test_the_mean_of_all_ranks(name: str, results: list[dict[Any, Any]]) -> None:
    """In three processes, on the engine that losskit chooses."""
    s = subjects()[name]
    for way in ways(s, pieces(s)[0], 0):
        for rank, wanted in enumerate(expected(s, way)):
            for gradients, times in GRADIENTS.items():
                check(results[rank][name, way, gradients], wanted, times, (name, way, gradients, rank))


class TwoRanks(losskit.Ranks):
    """The first of two ranks, in this process: what the other divides by is a number. It tells what this one does."""

    def denominator(self, own: float | Tensor, device: torch.device, least: float = 0.0) -> Tensor:
        object.__setattr__(self, "own", torch.as_tensor(own, dtype=torch.float64))
        return (self.own + OTHER).clamp(min=least) / 2  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("name", subjects())
def test_every_loss_divides_by_what_all_ranks_hold(name: str) -> None:
    """Value and gradients of the first of two ranks, of its own mean."""
    s = subjects()[name]
    mine = pieces(s)[0]
    for way, extra in ways(s, mine, 0).items():
        ranks = TwoRanks()
        with losskit.use_engine("torch"):
            given, wanted = leaves(s, mine, extra)
            value = s(*given, normalizer=ranks, **extra)
            part = s(*given, reduction="mean", **extra) * ranks.own / (ranks.own + OTHER)  # type: ignore[attr-defined]
            got, expected = (torch.autograd.grad(y, wanted, retain_graph=True) for y in (value, part))
        check((value.detach(), got), (part.detach(), expected), 2.0, way)


@claim("Ranks", "Losses of overlap, such as Dice")
def test_every_denominator_of_a_mean_is_shared() -> None:
    """A loss that takes `normalizer`, and is not listed above, says that it is no mean of items."""
    tested = subjects()
    for name, loss in LOSSES.items():
        s = subjects_of(loss)[0]
        if name not in tested and s.offers("normalizer"):
            with pytest.raises(TypeError, match="normalizer must be a number or a 0-d tensor here, got losskit"):
                s(*s.batch(), normalizer=losskit.Ranks())


@claim("Ranks", "If no rank has anything to count")
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
        ({"normalizer": distributed.ProcessGroup(0, 1)}, TypeError, r"got a process group: try losskit.Ranks\(group=...\)"),
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


@pytest.mark.parametrize(
    ("module", "given", "told"),
    [
        ("DiceLoss", {"task": "binary", "process_group": losskit.Ranks(3.0)}, "process_group has no denominator of its own"),
        ("MSELoss", {"normalizer": losskit.Ranks("positives")}, "normalizer"),
        ("CLIPLoss", {"process_group": losskit.Ranks(3.0)}, "process_group has no denominator of its own"),
    ],
)
def test_modules_look_at_them_when_made(module: str, given: dict[str, Any], told: str) -> None:
    """Not in the first step."""
    with pytest.raises((TypeError, ValueError), match=told):
        getattr(losskit, module)(**given)
