"""Kernels compiled ahead: for an image, a container, or before many processes start at once."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

import losskit
from losskit import curves
from losskit.cli import doctor, stop
from losskit.cli.steps import Steps
from losskit.contract.registry import Loss
from losskit.engines.cpu.core import files

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16, "float16": torch.float16}
ROWS = ((64, 4), (64, 100), (64, 1000), (2, 4, 8, 8))  # few classes, some, many; images: each has loops of its own
TASKS = ("binary", "multilabel", "multiclass")


def settings_of(loss: Loss) -> Iterator[dict[str, Any]]:
    """The usual settings of a loss: its defaults, and each task that it has."""
    given = {name: loss.arguments[0][name] for name in loss.required if name != "task"}
    given |= {operand.name: loss.arguments[0][operand.name] for operand in loss.operands if operand.predicted and operand.name in loss.arguments[0]}
    yield from ({**given, "task": task} for task in TASKS) if "task" in loss.settings else (given,)


def batches(loss: Loss, settings: Mapping[str, Any]) -> Iterator[tuple[Tensor, ...]]:
    """Tensors of a call, float32, in each form that has loops of its own."""
    task = settings.get("task")
    if loss.pattern == "linear":
        yield torch.randn(64, 16), torch.randn(100, 16), torch.randint(100, (64,))
    elif loss.pattern in ("overlap", "ranked", "operations"):
        x = torch.randn((2, 8, 8) if task == "binary" else (2, 4, 8, 8))
        yield x, torch.randn_like(x) if loss.target == "real" else torch.randint(4, (2, 8, 8)) if task == "multiclass" else (x > 0).float()
    elif loss.pattern == "rows" or task == "multiclass":
        yield from (rows(loss, shape) for shape in ROWS)
    else:
        settings = {**loss.settings, **settings}
        axis = curves.domain(loss, settings)
        points = torch.linspace(axis.low, axis.high, 64, dtype=torch.float64)
        found = (x.detach().float() if x.is_floating_point() else x for x in curves.arguments(loss, settings, points))
        yield tuple(x.reshape(-1, 4) for x in found) if task == "multilabel" else tuple(found)


def rows(loss: Loss, shape: Sequence[int]) -> tuple[Tensor, ...]:
    """Scores of classes along the second axis, and what stands beside them."""
    x = torch.randn(tuple(shape))
    forms = {"cosine": x.tanh(), "probability": x.softmax(1), "log-probability": x.log_softmax(1)}
    items = (shape[0], *shape[2:])
    targets = {"none": (), "set": (x > 0,), "unit": ((x > 0).float(),), "distribution": (x.softmax(1),), "position": (torch.rand(items),)}
    labels = (torch.randint(shape[1], items),)
    return forms.get(loss.input, x), *(labels if loss.target == "unit" and not loss.multilabel else targets.get(loss.target, labels))


def calls(loss: Loss, dtype: torch.dtype) -> None:
    """What a training and its evaluation call: value and gradient, then the value alone."""
    for settings in settings_of(loss):
        for batch in batches(loss, settings):
            tensors = [x.to(dtype) if x.is_floating_point() else x for x in batch]
            leaf, *others = tensors
            loss.function(leaf.requires_grad_(), *others, **settings).backward()
            with torch.no_grad():
                loss.function(*tensors, **settings)


def warm(losses: Sequence[Loss], dtypes: Sequence[str], console: Console) -> None:
    """Compile the loops of losses, and say what takes how long; what is there already is only loaded."""
    (finding,) = doctor.cache(folder := files.folder())
    if folder is None or finding.state == "slow" or finding.fix.startswith("export"):  # that of an administrator is no place for ours
        stop(f"compiled loops cannot be kept: {finding.says}. Try: {finding.fix}")
    before, began = doctor.loops(folder), time.perf_counter()
    with Steps(console, len(losses) * len(dtypes)) as steps:
        steps.say(f"{len(losses)} loss{'es' * (len(losses) > 1)} in {', '.join(dtypes)}, forward and backward: 1 to 3 s per loop that is not in {folder} yet")
        for loss in losses:
            for dtype in dtypes:
                made, start = doctor.loops(folder), time.perf_counter()
                calls(loss, DTYPES[dtype])
                made = doctor.loops(folder) - made
                steps(f"{loss.name}, {dtype}: " + (f"{made} loop{'s' * (made > 1)}, {time.perf_counter() - start:.1f} s" if made else "all there"))
    made = doctor.loops(folder) - before
    console.print(f"{made} loop{'s' * (made != 1)} compiled in {time.perf_counter() - began:.0f} s; kept in {folder}", soft_wrap=True, highlight=False)


def chosen(names: str | None) -> list[Loss]:
    """Losses by their names, separated by commas; all of them by default."""
    from losskit.cli.explain import find

    try:
        return list(losskit.LOSSES.values() if names is None else {found.name: found for name in names.split(",") if (found := find(name.strip()))}.values())
    except LookupError as error:
        stop(f"--loss: {error.args[0]}")
