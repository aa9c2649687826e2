"""What a rank does for `test_class_group.py` where something is refused, ruled out, or of a subclass."""

from typing import Any

import pytest
import torch
from torch import Tensor

import losskit
from losskit.engines import forced


def ruled_out(group: Any, rank: int, world: int) -> dict[str, Tensor]:
    """Of classes that are ruled out on every rank but the first: parts of the loss, infinite for the label among them, and parts of tokens; alone, and over ranks."""
    draw, found = torch.Generator().manual_seed(world), {}
    hidden, head = (torch.randn(shape, generator=draw, dtype=torch.float64) for shape in ((4, 5), (2 * world, 5)))
    bias, labels, own = torch.full((2 * world,), -torch.inf, dtype=torch.float64), torch.tensor([0, 1, 3, 0]), slice(2 * rank, 2 * rank + 2)
    bias[:2] = 0.5
    for alone in (True, False):
        how: dict[str, Any] = {"return_parts": True} if alone else {"return_parts": True, "class_group": group}
        w, b = (head, bias) if alone else (head[own], bias[own])
        scores = torch.nn.functional.linear(hidden, w, b)
        for name, given in (
            ("labels", losskit.cross_entropy(scores, labels, reduction="sum", **how)),
            ("head", losskit.linear_cross_entropy(hidden, w, labels, linear_bias=b, reduction="sum", **how)),
        ):
            found |= {f"{name} {of}{' alone' * alone}": y for of, y in (("value", given[0]), ("losses", given[1].losses))}
        _, parts = losskit.linear_log_prob(hidden, w, labels, linear_bias=b, top_k=3, **how)  # type: ignore[misc]
        found |= {
            f"entropy{' alone' * alone}": parts.entropy,
            f"values{' alone' * alone}": parts.top.values,
            f"top{' alone' * alone}": parts.top.indices[:, :2],
        }
    return found


class Named(Tensor):
    """A subclass that holds its numbers as plain tensors do: no loop takes it."""


def of_subclass(group: Any, rank: int) -> dict[str, Tensor]:
    """A loss that meets in chunks where it is free to, given a subclass; alone, and over ranks."""
    draw, found, sizes = torch.Generator().manual_seed(3), {}, (2, 0, 4)
    hidden, head = torch.randn(8, 4, generator=draw), torch.randn(6, 4, generator=draw)
    labels, weights, own = torch.randint(6, (8,), generator=draw), torch.rand(8, generator=draw), head.split(sizes)[rank]
    free = forced.current.set(None)
    try:
        for name, given in (("mask", weights > 0.3), ("sample_weight", weights)):
            for alone in (True, False):
                how: dict[str, Any] = {} if alone else {"class_group": group}
                settings: dict[str, Any] = {name: given if alone else given.as_subclass(Named), **how}
                value = losskit.linear_cross_entropy(hidden, head if alone else own, labels, chunk=3, **settings)
                found[name + " alone" * alone] = value.as_subclass(Tensor)
    finally:
        forced.current.reset(free)
    return found


ALIKE: tuple[tuple[str, Any, Any, str], ...] = (  # an argument, as the first rank has it and as the others, and what is raised
    ("temperature", float("nan"), 1.0, "temperature must not be NaN"),
    ("label_smoothing", 1.5, 0.1, "label_smoothing must be >= 0 and <= 1"),
    ("z_loss", -1.0, 0.1, "z_loss must be >= 0"),
    ("softcap", 0.0, 1.0, "softcap must be > 0"),
    ("return_parts", "all", True, "return_parts must be"),
    ("normalizer", losskit.Ranks(normalizer=-1.0), losskit.Ranks(normalizer=3.0), "normalizer must be >= 0"),
    ("shift", "yes", True, "shift must be"),
    ("target", [0, 1, 2, 3], None, "target must be a torch.Tensor, got list"),
    ("sample_weight", torch.ones(4, requires_grad=True), torch.ones(4), "sample_weight requires a gradient on some"),
    ("label_smoothing", torch.tensor(0.1), 0.1, "label_smoothing is not the same number on all, or is a tensor on some"),
    ("temperature", torch.tensor(0.5), 0.5, "temperature is not the same number on all, or is a tensor on some"),
    ("z_loss", 0.1, 0.2, "z_loss differs"),
    ("softcap", None, 0.2, "softcap differs"),
    ("normalizer", 3.0, None, "normalizer is a number on some, and losskit.Ranks or nothing on others"),
)


def alike(group: Any, rank: int) -> list[str]:
    """What every rank raises where one is given what the others are not."""
    told = []
    for name, first, others, _ in ALIKE:
        settings: dict[str, Any] = {"target": torch.tensor([0, 1, 2, 3]), name: others if rank else first}
        if name == "target":
            settings |= {"shift": True, "target": first if not rank else torch.tensor([0, 1, 2, 3])}
        with pytest.raises((TypeError, ValueError, RuntimeError, AttributeError)) as error:
            losskit.linear_cross_entropy(torch.zeros(4, 5), torch.zeros(2, 5), class_group=group, **settings)
        told.append(f"{type(error.value).__name__}: {error.value}")
    return told


def told_to_others(pair: Any, group: Any, rank: int) -> str:
    """Of a group of classes, and one of items, which have one rank in common: what one is told in the first it tells in the second."""
    x, t = torch.zeros(4, 3), torch.tensor([0, 1, 2, 96 if rank == 0 else 2])
    settings: dict[str, Any] = {} if rank == 2 else {"class_group": group}
    with pytest.raises((ValueError, RuntimeError)) as error:
        losskit.cross_entropy(x, t, normalizer=losskit.Ranks(group=pair[rank]), **settings)
    return f"{type(error.value).__name__}: {error.value}"


def refused(group: Any, rank: int) -> list[str]:
    """What every rank raises where one is wrong, or all: nobody waits."""
    told, narrow = [], torch.float16 if rank == 1 else torch.bfloat16
    x, t, head, leaf = torch.randn(4, 3), torch.tensor([0, 1, 2, 3]), torch.randn(3, 5), torch.randn(4, 3, requires_grad=True)
    calls = (
        lambda: losskit.cross_entropy(x.long() if rank == 0 else x, t, class_group=group),
        lambda: losskit.cross_entropy(x[:3] if rank == 1 else x, t[:3] if rank == 1 else t, class_group=group),
        lambda: losskit.cross_entropy(x, t + 96, class_group=group),
        lambda: losskit.linear_cross_entropy(torch.randn(4, 5), head.t() if rank == 1 else head, t, class_group=group),
        lambda: losskit.cross_entropy(x, t, class_group="all"),
        lambda: losskit.cross_entropy(x, t, class_group=group, inplace=True),
        lambda: losskit.cross_entropy(x, x.softmax(1) if rank == 1 else t, class_group=group),
        lambda: losskit.cross_entropy(x, t + 96 if rank == 2 else t, class_group=group),
        lambda: losskit.cross_entropy(x, x.softmax(1), class_group=group),
        lambda: losskit.cross_entropy(x, t, class_group=group, temperature=torch.tensor([1.0, 1.0, -1.0, 2.0])),
        lambda: torch.autograd.grad(losskit.cross_entropy(leaf, t, class_group=group), leaf, create_graph=True),
        lambda: losskit.cross_entropy(x, t, class_group=group, temperature=torch.tensor(1.0, requires_grad=rank == 0)),
        lambda: losskit.cross_entropy(x, t, class_group=group, return_parts=rank == 0),
        lambda: losskit.cross_entropy(x, x - 10.0 if rank == 0 else x.softmax(1) / 3, class_group=group),
        lambda: losskit.cross_entropy(x, losskit.linear_probabilities(torch.zeros(4, 5), head), class_group=group),
        lambda: losskit.linear_cross_entropy(torch.zeros(4, 5), head, t, class_group=group, sequence_dim=rank),
        lambda: losskit.linear_cross_entropy(torch.zeros(4, 5 + (rank == 0)), head, t, class_group=group, sequence_dim=0),
        lambda: losskit.linear_cross_entropy(torch.zeros(2 - rank, 2, 5)[:, : 2 - rank], head, t[:3], class_group=group, sequence_dim=0),
        lambda: losskit.linear_cross_entropy(torch.zeros(4, 5), head, t, class_group=group, sequence_dim="items"),
        lambda: losskit.linear_cross_entropy(torch.zeros(4, 5), head, t, sequence_dim=0),
        lambda: losskit.linear_log_prob(torch.zeros(4, 5), head, t, class_group=group, return_parts=True, top_k=10),
        lambda: losskit.linear_log_prob(torch.zeros(4, 5), head, t, class_group=group, return_parts=True, top_k=rank),
        lambda: losskit.linear_cross_entropy(torch.zeros(4, 5), head, t, class_group=group, sequence_dim=None if rank else 0),
        lambda: losskit.linear_log_prob(torch.zeros(4, 5), head, t, class_group=group, return_parts=rank == 0),
        lambda: losskit.linear_log_prob(torch.zeros(4, 5), head, t, class_group=group, return_parts=True, top_k=-1),
        lambda: losskit.linear_log_prob(torch.zeros(4, 5), head, t, class_group=group, return_parts=True, top_k="all" if rank == 1 else 2),
        lambda: losskit.linear_cross_entropy(*(y.to(narrow) for y in (torch.zeros(4, 5), head)), t, class_group=group, sequence_dim=0),
        lambda: losskit.cross_entropy(x.double() if rank == 1 else x, t, class_group=group),
        lambda: losskit.cross_entropy(x[:, :0], t, class_group=group),
        lambda: losskit.cross_entropy(x, t, class_group=group, log_input=True),
        lambda: losskit.linear_log_prob(torch.zeros(4, 5), head, t, sequence_dim=0, return_parts=True),
    )
    for call in calls:
        with pytest.raises((TypeError, ValueError, RuntimeError)) as error:
            call()
        told.append(f"{type(error.value).__name__}: {error.value}")
    return told
