"""What the Triton engine's kernels may cost, by their machine code for sm_90: `python tests/gpu_budget.py` renews the table, gpu_budget.json, and what docs/gpu.md
predicts from it; with names of cases it compiles those and prints them.

A case is a forward and a backward pass on tensors of a shape that stands for many. Its kernels are compiled, not run. What a number costs is counted where a thread
spends its time, in the innermost loops: instructions, and the bytes loaded there, which tell how many numbers those are for; in a kernel without loops, all
instructions of all threads.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
TABLE, PAGE = Path(__file__).with_suffix(".json"), ROOT / "docs/gpu.md"
ROOM = 1.05  # what another compiler may change
ADDING = ("add_up", "count_up")  # the sums of programs, which are few
PATTERNS = ("elementwise", "rows", "distributions", "overlap", "ranked", "boxes", "pairs")


class Case(NamedTuple):
    """Passes to compile, over `count` numbers or what else is `one`; of that `read` bytes are loaded in each loop, and `written` of a gradient's are stored.

    Of the loops only the first `loops` are for what is in whole blocks. Where they do not load what is counted, `steps` tells how many a program does at once.
    """

    forward: Callable[[], Any]
    backward: Callable[[], Any]
    count: int
    read: float
    written: float
    one: str = "number"
    loops: int | None = None
    steps: Mapping[str, int] | None = None


class Row(NamedTuple):
    """A kernel of a case: instructions `each`, in how many loops over what it reads, and the widths in bytes of the accesses there."""

    each: float
    passes: int
    registers: int
    spilled: int
    loads: Sequence[int]
    stores: Sequence[int]


def elementwise() -> Iterator[tuple[str, Case]]:
    """Input and target are read, a gradient is written."""
    import torch

    from losskit.engines.call import Call
    from losskit.engines.triton import elementwise as engine
    from losskit.losses.classification import binary_cross_entropy_with_logits, focal
    from losskit.losses.regression import smooth_l1

    n = 1 << 16
    wants = (True, False)
    formulas = {
        "smooth L1": Call(smooth_l1.formula, (1.0, 0.5)),
        "binary cross-entropy": Call(binary_cross_entropy_with_logits.plain),
        "focal, gamma 2": Call(focal.from_logits_squared, (0.25, 0.75, 2.0)),
        "focal, gamma 0.5": Call(focal.from_logits_formula, (0.25, 0.75, 0.5)),
    }
    for name, call in formulas.items():
        for dtype in (torch.float32, torch.bfloat16):
            for odd in (0, 3) if name == "smooth L1" else (0,):
                x = torch.zeros(n + odd, dtype=dtype)
                passes = passed(engine, call, (x, x), wants, x)
                yield f"{name}, {'odd, ' if odd else ''}{str(dtype)[6:]}", Case(*passes, x.numel(), 2 * x.itemsize, x.itemsize, loops=1)


def passed(engine: Any, call: Any, operands: tuple[Any, ...], wants: tuple[bool, ...], x: Any) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """A mean with the input's gradient, and its backward."""
    import torch

    given = torch.empty_like(x), *(None,) * (len(operands) - 1)
    one = torch.ones(())
    return lambda: engine.run(call, operands, scale=0.5, wants=wants), lambda: engine.rescaled(given, one, call, operands, 0.5, wants)


def rows() -> Iterator[tuple[str, Case]]:
    """Of each class a score is read and a gradient written; before it, of each item the label."""
    import torch

    from losskit.engines.call import Rows
    from losskit.engines.triton import rows as engine
    from losskit.losses.classification.cross_entropy import formula

    sizes = {
        torch.float32: (2, 10, 100, 1000, 4096, 131072),
        torch.bfloat16: (10, 100, 1000, 50257, 131072),
    }
    shapes = [(dtype, (max(1 << 17, classes) // classes, classes)) for dtype in sizes for classes in sizes[dtype]]
    shapes += [(dtype, (2, 14, 64, 64)) for dtype in sizes]
    scores, many = torch.zeros(1, 10), torch.zeros(1 << 20, dtype=torch.int64)
    yield "labels that count, int64", Case(lambda: engine.census(Rows(formula), scores, many, False), lambda: None, many.numel(), many.itemsize, 0, "label")
    for dtype, shape in shapes:
        labels = torch.uint8 if shape[1] < 256 else torch.int64  # several threads may load one label: of few bytes, that they are not taken for scores
        x, t = torch.zeros(shape, dtype=dtype), torch.zeros((shape[0], *shape[2:]), dtype=labels)
        name = f"cross-entropy, {f'image of {shape[1]}' if len(shape) > 2 else shape[1]} classes, {str(dtype)[6:]}"
        yield name, Case(*passed(engine, Rows(formula), (x, t), (True, False), x), x.numel(), x.itemsize + t.itemsize / shape[1], x.itemsize)


def distributions() -> Iterator[tuple[str, Case]]:
    """Of each class a score and a probability are read, and a gradient is written."""
    import torch

    from losskit.engines.call import Distributions
    from losskit.engines.triton import distributions as engine
    from losskit.losses.classification.kl_divergence import formula

    for dtype, classes in ((torch.float32, 10), (torch.float32, 1000), (torch.bfloat16, 1000), (torch.bfloat16, 131072)):
        x = torch.zeros(max(1 << 17, classes) // classes, classes, dtype=dtype)
        yield (
            f"KL divergence, {classes} classes, {str(dtype)[6:]}",
            Case(*passed(engine, Distributions(formula, (1.0,)), (x, x), (True, False), x), x.numel(), 2 * x.itemsize, x.itemsize),
        )


def overlap() -> Iterator[tuple[str, Case]]:
    """The sums are the forward, the gradient the backward; what makes the loss of the sums stands apart."""
    import torch

    from losskit.contract.scores import Scoring
    from losskit.engines.call import SUM_NAMES, Overlap
    from losskit.engines.triton import overlap as engine
    from losskit.engines.triton import scores
    from losskit.losses.classification import cross_entropy
    from losskit.losses.segmentation import tversky

    def case(call: Overlap, x: Any, t: Any, of_target: float) -> Case:
        by, one = torch.ones((), dtype=torch.float64), torch.ones(())
        return Case(lambda: engine.sums(call, x, t), lambda: engine.gradients(call, x, t, by, True, False, one), x.numel(), x.itemsize + of_target, x.itemsize)

    labels = torch.zeros(2, 64, 64, dtype=torch.uint8)
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.zeros(2, 14, 64, 64, dtype=dtype)
        yield f"dice, 14 classes, {str(dtype)[6:]}", case(Overlap("softmax", "label"), x, labels, 1 / 14)
        yield f"dice of sigmoids, {str(dtype)[6:]}", case(Overlap("sigmoid", "number"), x[:, :1].contiguous(), x[:, :1].contiguous(), dtype.itemsize)
    x = torch.zeros(2, 14, 64, 64)
    yield "dice and cross-entropy, 14 classes, float32", case(Overlap("softmax", "label", cross_entropy.formula), x, labels, 1 / 14)
    how, sums = Scoring(tversky.formula, (0.5, 0.5, 1.0, 1.0)), torch.zeros(2, 14, len(SUM_NAMES), dtype=torch.float64)
    steps = {"scoring": scores.TILE}
    yield "loss of dice's sums, float64", Case(lambda: engine.score(how, sums, True, x.dtype), lambda: None, 28, 0, 0, "class", steps=steps)


def ranked() -> Iterator[tuple[str, Case]]:
    """Scores are read and errors written, sorted ones read and slopes written; then scores and slopes are read, and a gradient is written."""
    import torch

    from losskit.engines.call import Ranked
    from losskit.engines.triton import ranked as engine

    call, x, t, by = Ranked("softmax", "label"), torch.zeros(2, 14, 64, 64), torch.zeros(2, 64, 64, dtype=torch.uint8), torch.ones(1, 14)
    steps = {"errors": engine.BLOCK, "tally": engine.SORTED, "slopes": engine.SORTED, "gradients": engine.BLOCK}
    lovasz = Case(lambda: engine.run(call, x, t), lambda: engine.gradient(call, x, t, x, by), x.numel(), 0, 0, steps=steps)
    yield "lovasz, 14 classes, float32", lovasz


def boxes() -> Iterator[tuple[str, Case]]:
    """Of each pair both boxes are read, and the gradient of one is written."""
    import torch

    from losskit.engines.axes import written_out
    from losskit.engines.call import Boxes
    from losskit.engines.triton import boxes as engine
    from losskit.losses.detection import ciou, giou

    for name, loss, numbers, dtype in (
        ("GIoU", giou, 4, torch.float32),
        ("GIoU", giou, 4, torch.bfloat16),
        ("CIoU", ciou, 4, torch.float32),
        ("CIoU", ciou, 4, torch.bfloat16),
        ("GIoU in space", giou, 6, torch.float32),
    ):
        formula = written_out(loss.formula, numbers // 2)
        call = Boxes(formula, (1.0,) * (formula.__code__.co_argcount - 4 * numbers // 2))
        x = torch.zeros(1 << 14, numbers, dtype=dtype)
        yield (
            f"{name}, {str(dtype)[6:]}",
            Case(*passed(engine, call, (x, x), (True, False), x), len(x), 2 * numbers * x.itemsize, numbers * x.itemsize, "pair", 1),
        )


def pairs() -> Iterator[tuple[str, Case]]:
    """The matrix is written; in the backward it is read, once for each side."""
    import torch

    from losskit.engines.axes import written_out
    from losskit.engines.call import Boxes
    from losskit.engines.triton import pairs as engine
    from losskit.pairwise import FORMULAS

    a, b, came = torch.zeros(3000, 4), torch.zeros(112, 4), torch.ones(3000, 112)
    steps = dict.fromkeys(("matrix", "gradients", "largest"), engine.TILE)
    giou, iou = (Boxes(written_out(FORMULAS[kind], 2)) for kind in ("giou", "iou"))

    def backward() -> None:
        engine.run(giou, (a, b), incoming=came, wants=(True, True))

    yield "GIoU of all pairs, float32", Case(lambda: engine.run(giou, (a, b)), backward, came.numel(), 4, 4, "pair", steps=steps)
    yield "best match by IoU, float32", Case(lambda: engine.best(iou, a, b), lambda: None, came.numel(), 0, 0, "pair", steps=steps)


def kernels() -> list[Any]:
    """All that the engine may launch."""
    from triton import JITFunction

    import losskit.engines.triton as engine

    modules = [import_module(f"{engine.__name__}.{module.name}") for module in iter_modules(engine.__path__)]
    return list({id(f): f for module in modules for f in vars(module).values() if isinstance(f, JITFunction)}.values())


def row(code: Any, case: Case) -> Row:
    """What stands in the table."""
    busy = code.busy[: case.loops]
    loads, stores = (sorted(set().union(*(s.widths(access) for s in busy))) for access in ("LDG", "STG"))
    passes = [s for s in busy if s.bytes("LDG")]
    every = sum(len(s.instructions) for s in busy) * 32 * code.warps
    if not code.loops:
        each = every * code.programs / case.count
    elif case.steps:
        each = every / case.steps[code.name]
    else:
        each = sum(len(s.instructions) * case.read / s.bytes("LDG") for s in passes)
    return Row(round(each, 1), len(passes), code.registers, code.spilled, loads, stores)


def compiled(case: Case) -> dict[str, Any]:
    """The rows of a case's kernels, and how many are launched."""
    from kernels import caught
    from machine_code import read

    with caught(kernels(), "sm_90") as built:
        case.forward()
        forward = len(built)
        case.backward()
    found: dict[str, Any] = {"launches": [forward, len(built) - forward], "one": case.one, "bytes": [round(case.read, 2), case.written]}
    found["kernels"] = [{"kernel": code.name, **row(code, case)._asdict()} for code in map(read, built) if code.name not in ADDING]
    return found


def cases(patterns: Sequence[str] = PATTERNS) -> dict[str, Case]:
    """Every case by its name."""
    return {name: case for pattern in patterns for name, case in globals()[pattern]()}


def known() -> dict[str, Any]:
    """The table as it stands in the repository."""
    found: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    return found


def dearer(name: str, was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What a case costs more than the table says."""
    found = [f"{name}: {what} launches {n}, was {w}" for what, n, w in zip(("forward", "backward"), now["launches"], was["launches"], strict=True) if n > w]
    if [k["kernel"] for k in now["kernels"]] != [k["kernel"] for k in was["kernels"]]:
        return [*found, f"{name}: other kernels"]
    for k, w in zip(now["kernels"], was["kernels"], strict=True):
        for what in ("each", "registers", "spilled", "passes"):
            if k[what] > w[what] * ROOM:
                found.append(f"{name}, {k['kernel']}: {what} {k[what]}, was {w[what]}")
        for what in ("loads", "stores"):
            if min(k[what], default=16) < min(w[what], default=16):
                found.append(f"{name}, {k['kernel']}: {what} of {k[what]} bytes, was {w[what]}")
    return found


# name -> bytes a second of a copy, multiprocessors, clock in GHz: what such GPUs were seen to do under load
GPUS = {"H100": (3.0e12, 132, 1.755), "H200": (4.3e12, 132, 1.755)}
ISSUED = 128 * 0.8  # instructions of a thread that a multiprocessor issues in a clock; four fifths of what it could


def share(kernel: Mapping[str, Any], read: float, written: float, gpu: str) -> float:
    """The share of a copy's bandwidth: the time for the bytes that must move over the longer of that for those that do and that for the instructions."""
    bandwidth, processors, clock = GPUS[gpu]
    a_clock = bandwidth / (processors * clock * 1e9)
    written = written if kernel["stores"] else 0.0
    least = (read + written) / a_clock
    return least / max((read * kernel["passes"] + written) / a_clock, kernel["each"] / ISSUED)


def predicted(table: Mapping[str, Any]) -> str:
    """The table for docs/gpu.md."""
    lines = [
        "| case | dtype | of each | direction | kernel | instructions | registers | " + " | ".join(GPUS) + " |",
        "|---|---|---|---|---|---|---|" + "---|" * len(GPUS),
    ]
    for name, case in table["cases"].items():
        forward = len(case["kernels"]) - case["launches"][1]
        for number, k in enumerate(case["kernels"]):
            shares = [f"{min(share(k, *case['bytes'], gpu), 1):.0%}".replace("%", " %") if sum(case["bytes"]) else "" for gpu in GPUS]
            what, _, dtype = name.rpartition(", ")
            lines.append(
                f"| {what} | {dtype} | {case['one']} | {'backward' if number >= forward else 'forward'} | `{k['kernel']}` | {k['each']:.0f} | {k['registers']} | {' | '.join(shares)} |"
            )
    return "\n".join(lines)


def main(names: Sequence[str]) -> None:
    """Prints what cases cost; without names, writes it down for all."""
    import triton

    found = {name: compiled(case) for name, case in cases().items() if not names or name in names}
    if names:
        print(json.dumps(found))
        return
    lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(case)}" for name, case in found.items())
    TABLE.write_text(f'{{\n  "triton": "{triton.__version__}",\n  "cases": {{\n{lines}\n  }}\n}}\n', encoding="utf-8")
    before, heading, _ = PAGE.read_text(encoding="utf-8").partition("| case |")
    assert heading, PAGE
    PAGE.write_text(before + predicted(known()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
