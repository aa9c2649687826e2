"""Losses of overlap over the ranks of a process group: the value is that of the joined batch, each rank's gradient its part of the joined batch's.

Rank 2 has no samples in some of the cases.
"""

import contextlib
from typing import Any

import pytest
import torch
from ranks import results_of
from torch import Tensor, distributed

import losskit
from losskit import LOSSES

pytestmark = pytest.mark.skipif(not distributed.is_available() or not distributed.is_gloo_available(), reason="gloo")

SIZES = {2: ((1, 3), (2, 2)), 3: ((1, 3, 2), (2, 3, 0))}  # samples of each rank
CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("dice_loss", "multiclass", {"average": "macro", "over": "batch"}),
    ("dice_loss", "multiclass", {"average": "weighted", "over": "sample", "empty": "skip", "ignore_index": 1}),
    ("dice_loss", "multiclass", {"average": "micro", "over": "batch", "background": False, "weight": torch.tensor([1.0, 2.0, 0.5])}),
    ("tversky_loss", "multilabel", {"alpha": 0.3, "beta": 0.7, "average": "none", "over": "batch", "power": 2}),
    ("dice_loss", "binary", {"average": "macro", "over": "sample", "empty": "mass", "normalizer": 5.0}),
    ("generalized_dice_loss", "multiclass", {"over": "batch"}),
    ("mcc_loss", "multilabel", {"over": "batch", "average": "weighted"}),
    ("dice_ce_loss", "multiclass", {"over": "batch", "weight": torch.tensor([1.0, 2.0, 0.5]), "ignore_index": 1}),
    ("dice_ce_loss", "soft", {"over": "sample"}),
    ("dice_focal_loss", "binary", {"over": "batch", "average": "micro"}),
]


def batch(task: str, samples: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(samples)
    x = torch.randn((samples, 1 if task == "binary" else 3, 5), generator=draw)
    if task == "multiclass":
        return x, torch.randint(0, 3, (samples, 5), generator=draw)
    soft = torch.randn(x.shape, generator=draw)
    return x, soft.softmax(1) if task == "soft" else (soft > 0.3).float()


def call(name: str, task: str, x: Tensor, t: Tensor, settings: dict[str, Any], **extra: Any) -> tuple[Tensor, Tensor]:
    a = x.clone().requires_grad_()
    value = LOSSES[name].function(a, t, task="multiclass" if task == "soft" else task, **settings, **extra)
    incoming = torch.linspace(-1.0, 2.0, value.numel()).reshape(value.shape)
    return value.detach(), torch.autograd.grad(value, a, incoming)[0]


def work(rank: int, groups: dict[int, Any], all_of_it: bool) -> dict[Any, Any]:
    """What a rank does: its part of every case."""
    found = {}
    for world, group in groups.items():
        for i, (name, task, settings) in enumerate(CASES):
            for sizes in SIZES[world] if rank < world else ():
                x, t = batch(task, sum(sizes))
                start = sum(sizes[:rank])
                mine = slice(start, start + sizes[rank])
                for engine in ("torch", None):  # None: the one that losskit chooses
                    if engine is None and (i not in (0, 1) or world == 2):  # a kernel more for each
                        continue
                    with losskit.use_engine(engine) if engine else contextlib.nullcontext():
                        found[world, i, sizes, engine] = call(name, task, x[mine], t[mine], settings, process_group=group)
    return found


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest) -> list[dict[Any, Any]]:
    return results_of(work, request)


@pytest.mark.thorough
@pytest.mark.parametrize("world", SIZES)
@pytest.mark.parametrize("case", range(len(CASES)), ids=[f"{name}-{task}" for name, task, _ in CASES])
def test_as_if_joined(world: int, case: int, results: list[dict[Any, Any]]) -> None:
    name, task, settings = CASES[case]
    for sizes in SIZES[world]:
        x, t = batch(task, sum(sizes))
        with losskit.use_engine("torch"):
            value, grad = call(name, task, x, t, settings)
        engines = {key[3] for key in results[0] if key[:3] == (world, case, sizes)}
        assert "torch" in engines
        for engine in engines:
            for rank, part in enumerate(grad.split(sizes)):
                got, own = results[rank][world, case, sizes, engine]
                torch.testing.assert_close(got, value, rtol=1e-6, atol=1e-7, msg=f"value on rank {rank} of {sizes}, {engine}: {got}, joined {value}")
                torch.testing.assert_close(own, part, rtol=1e-5, atol=1e-8, msg=f"gradient on rank {rank} of {sizes}, {engine}: {own}, joined {part}")
