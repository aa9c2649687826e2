"""Every size may be 0 or 1, on every axis, in every layout: values and gradients are those of PyTorch operations on plain memory, and no process dies.

What could crash does so in a child, which says what it is at; many cases a child, for each takes a second or two to start.
"""

import faulthandler
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import anything
import pytest
import torch
from anything import Entry
from cases import thorough
from torch import Tensor

import losskit

ITEMS = ((), (3,), (1,), (0,), (0, 2), (2, 0), (1, 2), (2, 1), (0, 3, 2), (2, 3, 0), (1, 0, 1), (1, 1, 1), (2, 1, 3))  # sizes without the classes
CLASSES = (3, 2, 1, 5, 0)
WIDE = (((0, 5000), 1), ((2, 5000, 0), 1), ((0, 5000, 2), 1), ((1, 5000, 1), 1))  # sizes with more classes than a tile of an image holds, and their axis
AVERAGES = (("macro", "sample"), ("none", "batch"), ("none", "sample"), ("micro", "batch"), ("weighted", "sample"), ("nested", "sample"))
LAYOUTS: dict[str, Callable[[Tensor, int], Tensor]] = {  # of the same numbers
    "contiguous": lambda x, dim: x.contiguous(),
    "classes last": lambda x, dim: x.movedim(dim, -1).contiguous().movedim(-1, dim) if x.dim() else x,
    "transposed": lambda x, dim: x.mT.contiguous().mT if x.dim() > 1 else x,
    "every other": lambda x, dim: x.repeat_interleave(2, -1)[..., ::2] if x.dim() else x,
    "steps of sizes up to 1 odd": lambda x, dim: x.contiguous().as_strided(
        x.shape, [7 + d if n < 2 else step for d, (n, step) in enumerate(zip(x.shape, x.contiguous().stride(), strict=True))]
    ),
    "expanded": lambda x, dim: x.sum(0, keepdim=True).expand(x.shape) if x.dim() and x.shape[0] < 2 else x,  # to nothing, too
}


class Case(NamedTuple):
    """A call: its tensors, and what else it is given."""

    entry: Entry
    x: Tensor
    t: Tensor | None
    dim: int
    more: Mapping[str, Any]

    def __str__(self) -> str:
        """On one line."""
        shown = ", ".join(f"{k}=tensor{tuple(v.shape)}" if isinstance(v, Tensor) else f"{k}={v!r}" for k, v in self.more.items())
        return f"{self.entry}: {tuple(self.x.shape)} {'' if self.t is None else tuple(self.t.shape)} {shown}"

    def differentiable(self) -> bool:
        """Whether the second tensor has a gradient."""
        return self.t is not None and self.t.is_floating_point() and self.entry.takes != "positions" and self.entry.name != "lovasz_loss"


def shapes(entry: Entry) -> Iterator[tuple[tuple[int, ...], int]]:
    """Sizes of the input, and its class axis."""
    for items in ITEMS:
        if entry.takes in ("boxes", "pairs"):
            yield (*items, 4), -1
        elif not entry.classes:
            yield items, -1
        else:
            yield from (((*items[:dim], classes, *items[dim:]), dim) for classes in CLASSES for dim in range(len(items) + 1))


def options(entry: Entry) -> list[dict[str, Any]]:
    """Settings, and names of what `case` fills in."""
    ways: list[dict[str, Any]] = [{"reduction": r} for r in ("mean", "none", "sum") if entry.offers("reduction")]
    ways += [{"average": a, "over": o} for a, o in AVERAGES if entry.offers("average")]
    more: list[dict[str, Any]] = [
        {"mask": "some"},
        {"mask": "none"},
        {"sample_weight": "some"},
        {"normalizer": 5.0},
        {"return_parts": True},
        {"background": False},
    ]
    more += [{"empty": "skip"}, {"power": 2}, {"inplace": True}]
    offered = [{}, *(m for m in more if entry.offers(next(iter(m))))]
    return [way | one for way in ways or [{}] for one in offered if "normalizer" not in one or "none" not in way.values()]


def case(entry: Entry, shape: tuple[int, ...], dim: int, option: Mapping[str, Any], turn: int) -> "Case":
    """A call with its tensors."""
    x, t = entry.tensors(shape, dim)
    if entry.takes == "pairs" and len(shape) > 1:
        t, _ = entry.tensors((*shape[:-2], turn % 3, 4), dim, seed=1)
    items = shape[:-1] if entry.takes == "boxes" else shape[:dim] + shape[dim + 1 :] if entry.classes else shape
    place = torch.arange(math.prod(items)).reshape(items)
    filled: dict[str, Any] = {"mask": place % 2 == 0 if option.get("mask") == "some" else place < 0, "sample_weight": 0.5 + place}
    axis = {"dim": dim - len(shape) * (turn % 2)} if entry.classes and entry.offers("dim") else {}
    more = {**axis, **option, **{k: v for k, v in filled.items() if k in option}}
    return Case(entry, x.float(), t.float() if t is not None and t.is_floating_point() else t, dim, more)


def cases(entry: Entry, first: int, count: int) -> Iterator[tuple["Case", str, str]]:
    """Some of all sizes, options and layouts of both tensors, spread evenly."""
    every = list(product(shapes(entry), options(entry), LAYOUTS, LAYOUTS))
    step = next(n for n in range(int(0.618 * len(every)), len(every) + 2) if math.gcd(n, len(every)) == 1)
    for turn in range(first, first + count):
        (shape, dim), option, one, other = every[turn * step % len(every)]
        yield case(entry, shape, dim, option, turn), one, other


def few(entry: Entry, first: int, every: Sequence[tuple[tuple[int, ...], int]]) -> Iterator[tuple["Case", str, str]]:
    """Some sizes, with nothing else."""
    for turn in range(first, first + 4):
        yield case(entry, *every[turn * 11 % len(every)], {}, turn), "contiguous", "contiguous"


class Answer(NamedTuple):
    """What came out: tensors, and the gradients; or how it was refused."""

    values: tuple[Tensor, ...] = ()
    gradients: tuple[Tensor, ...] = ()
    refused: str = ""


def tensors(found: Any) -> tuple[Tensor, ...]:
    """Those in a result."""
    return (found,) if isinstance(found, Tensor) else tuple(y for part in found if part is not None for y in tensors(part))


def answer(case: Case, x: Tensor, t: Tensor | None, graph: bool = True, plain: bool = False) -> Answer:
    """One call, and its gradients with something different coming in for each value."""
    x = x.detach().requires_grad_(graph)
    t = t.detach().requires_grad_(graph) if t is not None and case.differentiable() else t
    more = {k: v for k, v in case.more.items() if k != "inplace" or not plain}
    try:
        found = tensors(case.entry(x.clone() if "inplace" in more else x, t, **more))
    except (ValueError, TypeError) as error:
        return Answer(refused=f"{type(error).__name__}: {error}")
    if not graph:
        return Answer(found)
    leaves = [y for y in (x, t) if y is not None and y.requires_grad]
    attached = [y for y in found if y.requires_grad]
    incoming = [torch.linspace(0.5, 2.0, y.numel(), dtype=y.dtype).reshape(y.shape) for y in attached]
    return Answer(found, torch.autograd.grad(attached, leaves, incoming))


def difference(got: Answer, expected: Answer) -> str:
    """What is wrong with an answer."""
    if "inplace" in got.refused:
        return ""
    if got.refused or expected.refused:
        return "" if got.refused == expected.refused else f"got {got}, expected {expected}"
    for a, b in zip(got.values + got.gradients, expected.values + expected.gradients, strict=True):
        if a.shape != b.shape or not torch.allclose(a.double(), b.double(), rtol=1e-4, atol=1e-5):
            return f"got {got}, expected {expected}"
    return "" if all(g.isfinite().all() for g in got.gradients) else f"got {got}"


# the engines of each part, with a graph and without
RUNS = {"ways": (("cpu", True), ("cpu", False), ("torch", True)), "others": (("torch", True),), "interpreter": (("triton", True),)}


def chosen(part: str) -> Iterator[tuple[Case, str, str]]:
    """Many options of one loss of each kind, hardly any of the others, and in PyTorch operations: each takes a kernel, and what could go wrong is not the
    formula's."""
    turn, ways = 0, list(map(str, anything.ways()))
    for entry in anything.entries():
        turn += 60
        if str(entry) not in ways:
            yield from few(entry, turn, list(shapes(entry))) if part == "others" else ()
        elif part != "others":
            yield from cases(entry, turn, 60 if part == "ways" else 4)
            yield from few(entry, 0, WIDE) if entry.softmax and part == "ways" else ()


def walk(part: str) -> int:
    """Says each case, runs it, says what is wrong with it; how many answers there were."""
    count = 0
    for case, one, other in chosen(part):
        print(case, one, other, flush=True)
        with losskit.use_engine("torch"):
            expected = answer(case, *(y.double() if y is not None and y.is_floating_point() else y for y in (case.x, case.t)), plain=True)
        x = LAYOUTS[one](case.x, case.dim)
        t = None if case.t is None else LAYOUTS[other](case.t, case.dim if case.t.dim() == case.x.dim() else 0)
        for engine, graph in RUNS[part]:
            try:
                with losskit.use_engine(engine):
                    got = answer(case, x, t, graph, plain=engine == "torch")
            except losskit.EngineError:
                continue
            count += 1
            wrong = difference(got, expected if graph else expected._replace(gradients=()))
            if wrong:
                print("WRONG", engine, case, one, other, wrong, flush=True)
    return count


@pytest.mark.parametrize("part", ["others", *thorough(["ways", "interpreter"])])
def test_every_size_may_be_0_or_1(part):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (str(Path(__file__).parent), os.environ.get("PYTHONPATH"))))}
    strict = () if part == "interpreter" else ("-W", "error")  # NumPy warns of a maximum of nothing, and of both branches of a where
    done = subprocess.run([sys.executable, *strict, __file__, part], env=environment, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"the process died at {lines[-1:]}\n{done.stderr}"
    assert not [line for line in lines if line.startswith("WRONG")]
    assert lines[-1].startswith("done") and int(lines[-1].split()[1]) > 60


if __name__ == "__main__":
    faulthandler.enable()
    torch.set_num_threads(1)
    print("done", walk(sys.argv[1]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3000, 9), (70, 16), (70, 17), (5000, 1), (700, 2), (2, 3000), (40, 5, 7), (65, 1024), (3, 1023)], ids=str)
def test_numbers_shared_along_any_axes_are_gathered_as_they_are(shape, dtype):
    """Of neighbours so few that they are written too often, of a last axis that repeats within a block or does not, with gaps in memory and without."""
    torch.manual_seed(0)
    x, t = torch.randn(shape).to(dtype), torch.randn(shape).to(dtype)
    real = torch.float64 if dtype is torch.float64 else torch.float32
    for shared in product((False, True), repeat=len(shape)):
        small = [1 if one else size for one, size in zip(shared, shape, strict=True)]
        gaps = torch.rand([2 * size for size in small]).to(dtype)[(slice(None, None, 2),) * len(small)]
        for weight in (torch.rand(small).to(dtype), gaps):
            expected = (x.to(real) - t.to(real)).abs() * weight.to(real)
            with losskit.use_engine("cpu"):
                assert torch.equal(losskit.l1_loss(x, t, sample_weight=weight, reduction="none"), expected)
                turned = losskit.l1_loss(x.transpose(0, -1), t.transpose(0, -1), sample_weight=weight.transpose(0, -1), reduction="none")
            assert torch.equal(turned, expected.transpose(0, -1))
