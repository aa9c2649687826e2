"""Classes that are spread over the ranks of a group: value and gradients are those of one process that holds all of them, whatever the shards."""

from typing import Any

import pytest
import torch
from cases import thorough_rows
from ranks import results_of
from torch import Tensor, distributed

import losskit

pytestmark = pytest.mark.skipif(not distributed.is_available() or not distributed.is_gloo_available(), reason="gloo")

SHARDS = {2: ((5, 3), (1, 1)), 3: ((5, 3, 4), (7, 0, 2))}  # classes of each rank
SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"label_smoothing": 0.1},
    {"z_loss": 0.01},
    {"softcap": 5.0},
    {"temperature": 2.0, "reduction": "none"},
    {"weight": True, "reduction": "sum"},
    {"weight": True, "label_smoothing": 0.2, "z_loss": 0.1, "softcap": 9.0, "temperature": 0.7, "sample_weight": True, "mask": True},
    {"weight": True, "label_smoothing": 0.2, "sample_weight": True, "mask": True, "reduction": "none"},
    {"normalizer": 7.0, "mask": True},
    {"far": True},
)
IN_LOOPS = (6, 1)  # those of the settings that loops are asked for; `make test` asks for the first, on one of the shards
ITEMS = 12
ALL = [sizes for shards in SHARDS.values() for sizes in shards]


def batch(classes: int, settings: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Everything of one process, and the settings with their tensors."""
    draw = torch.Generator().manual_seed(classes)
    real: dict[str, Any] = dict(generator=draw, dtype=torch.float64)
    x = 3.0 * torch.randn(ITEMS, classes, **real)
    if settings.get("far"):  # scores of +-10,000: some ranks hold nothing that counts
        x = x * 3e3
    t = torch.randint(classes, (ITEMS,), generator=draw)
    t[3], t[7] = -100, -100
    tensors = {"x": x, "t": t, "h": torch.randn(ITEMS, 4, **real), "head": torch.randn(classes, 4, **real), "bias": torch.randn(classes, **real)}
    more = {"weight": torch.rand(classes, **real) + 0.1, "sample_weight": torch.rand(ITEMS, **real), "mask": torch.rand(ITEMS, generator=draw) > 0.2}
    return tensors, {key: more[key] if value is True and key in more else value for key, value in settings.items() if key != "far"}


def outcome(value: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
    incoming = torch.linspace(-1.0, 2.0, value.numel(), dtype=torch.float64).reshape(value.shape)
    return value.detach(), *torch.autograd.grad(value, leaves, incoming, retain_graph=True)


def both(given: dict[str, Tensor], own: slice, settings: dict[str, Any]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Of logits, and of a head: value and every gradient; a second backward gives the same."""
    parts = (("x", (slice(None), own)), ("h", slice(None)), ("head", own), ("bias", own))
    x, h, head, bias = (given[key][index].clone().requires_grad_() for key, index in parts)
    whole, linear = losskit.cross_entropy(x, given["t"], **settings), losskit.linear_cross_entropy(h, head, given["t"], linear_bias=bias, **settings)
    found = outcome(whole, x), outcome(linear, h, head, bias)
    for a, b in zip(found[1], outcome(linear, h, head, bias), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-15)
    return found


def refused(group: Any, rank: int) -> list[str]:
    """What every rank raises where one is wrong, or all: nobody waits."""
    told = []
    x, t, head, leaf = torch.randn(4, 3), torch.tensor([0, 1, 2, 3]), torch.randn(3, 5), torch.randn(4, 3, requires_grad=True)
    calls = (
        lambda: losskit.cross_entropy(x.long() if rank == 0 else x, t, class_group=group),
        lambda: losskit.cross_entropy(x[:3] if rank == 1 else x, t[:3] if rank == 1 else t, class_group=group),
        lambda: losskit.cross_entropy(x, t + 96, class_group=group),
        lambda: losskit.linear_cross_entropy(torch.randn(4, 5), head.t() if rank == 1 else head, t, class_group=group),
        lambda: losskit.cross_entropy(x, t, class_group="all"),
        lambda: losskit.cross_entropy(x, t, class_group=group, inplace=True),
        lambda: losskit.cross_entropy(x, t, class_group=group, weight=torch.ones(3, requires_grad=True)),
        lambda: losskit.cross_entropy(x, t + 96 if rank == 2 else t, class_group=group),
        lambda: losskit.cross_entropy(x, x.softmax(1), class_group=group),
        lambda: losskit.cross_entropy(x, t, class_group=group, temperature=torch.tensor(2.0)),
        lambda: torch.autograd.grad(losskit.cross_entropy(leaf, t, class_group=group), leaf, create_graph=True),
    )
    for call in calls:
        with pytest.raises((TypeError, ValueError, RuntimeError)) as error:
            call()
        told.append(f"{type(error.value).__name__}: {error.value}")
    return told


def work(rank: int, groups: dict[int, Any], all_of_it: bool) -> dict[Any, Any]:
    """What a rank does: its part of every case."""
    found: dict[Any, Any] = {}
    for world, group in groups.items():
        for sizes in SHARDS[world] if rank < world else ():
            own = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
            for i, case in enumerate(SETTINGS):
                given, settings = batch(sum(sizes), case)
                settings |= {"weight": settings["weight"][own]} if "weight" in settings else {}
                for engine in ("torch", "cpu") if i in (IN_LOOPS if all_of_it else IN_LOOPS[:1] if sizes == (5, 3, 4) else ()) else ("torch",):
                    with losskit.use_engine(engine):
                        found[sizes, i, engine] = both(given, own, settings | {"class_group": group})
    found["log-probabilities"] = losskit.linear_log_prob(torch.ones(2, 4), torch.full((3, 4), 0.5), torch.tensor([2, 5]), class_group=groups[3])
    found["refused"] = refused(groups[3], rank)
    if rank == 2:
        with pytest.raises(ValueError, match="class_group is a group without this rank: call the loss on the ranks of the group alone"):
            losskit.cross_entropy(torch.randn(4, 3), torch.zeros(4, dtype=torch.long), class_group=groups[2])
    return found


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest) -> list[dict[Any, Any]]:
    return results_of(work, request)


@pytest.mark.parametrize(
    ("sizes", "engine"),
    [*((sizes, "torch") for sizes in ALL), ((5, 3, 4), "cpu"), *thorough_rows((sizes, "cpu") for sizes in ALL if sizes != (5, 3, 4))],
    ids=str,
)
def test_as_one_process(results: list[dict[Any, Any]], sizes: tuple[int, ...], engine: str) -> None:
    for i, case in enumerate(SETTINGS):
        if engine == "cpu" and (sizes, i, engine) not in results[0]:
            continue
        given, settings = batch(sum(sizes), case)
        with losskit.use_engine("torch"):
            (value, by_x), (linear, by_h, *by_head) = both(given, slice(None), settings)
        for rank in range(len(sizes)):
            own = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
            (here, x), (there, h, *head) = results[rank][sizes, i, engine]
            first = results[0][sizes, i, engine]
            assert torch.equal(here, first[0][0]) and torch.equal(there, first[1][0]) and torch.equal(h, first[1][1])  # the same bits on every rank
            pairs = [(here, value), (x, by_x[:, own]), (there, linear), (h, by_h), *((g, s[own]) for g, s in zip(head, by_head, strict=True))]
            for got, wanted in pairs:
                torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12 * float(wanted.abs().max() if wanted.numel() else 0.0))
    assert [i for i in IN_LOOPS if (sizes, i, "cpu") in results[0]] in ([], [*IN_LOOPS[:1]], [*IN_LOOPS]) and (sizes, IN_LOOPS[0], engine) in results[0]


def test_log_probabilities(results: list[dict[Any, Any]]) -> None:
    for found in results:
        torch.testing.assert_close(found["log-probabilities"], torch.full((2,), 1 / 9.0).log())


def test_what_one_rank_refuses_is_raised_on_all(results: list[dict[Any, Any]]) -> None:
    told = list(zip(*(found["refused"] for found in results), strict=True))
    for of, wrong, text in (
        (0, 0, "TypeError: input must be a floating-point tensor, got torch.int64"),
        (3, 1, "ValueError: input of shape (4, 5) and linear_weight of shape (5, 3) do not multiply"),
    ):
        for rank in range(3):
            assert told[of][rank].startswith(text if rank == wrong else f"Refused: rank {wrong} of class_group has refused its input")
    for rank in range(3):
        assert told[1][rank].startswith("ValueError: the ranks of class_group hold 4, 3, 4 items: each must hold scores of all items")
        assert told[2][rank].startswith("ValueError: target must hold labels from 0 to 8 (the input has 9 classes) or ignore_index=-100, got 96 at index (0,)")
        assert told[4][rank].startswith(
            "TypeError: class_group must be a torch.distributed.ProcessGroup, got str: for all ranks, try torch.distributed.group.WORLD"
        )
        assert told[5][rank] == "ValueError: inplace=True does not go with class_group: leave it out"
        mine = "ValueError: target must hold labels from 0 to 8" if rank == 2 else "Refused: rank 2 of class_group has a label that is none of the 9 classes"
        assert told[7][rank].startswith(mine)
        assert told[8][rank].startswith("ValueError: target must hold class labels beside class_group, got probabilities")
        assert told[9][rank] == "ValueError: temperature must be a number beside class_group, got a tensor"
        assert told[10][rank].startswith("RuntimeError: second derivatives cannot be had with class_group")
        assert "weight must not require a gradient" in told[6][rank]
