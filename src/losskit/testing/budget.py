"""The error budget: the worst relative error of value and gradient over the whole range of inputs, ours beside torch's and torchvision's.

`python -m losskit.testing.budget` prints it as a Markdown table. An error is relative to the exact result wherever that is a normal number of the dtype;
for soft targets that of the gradient is relative to the summed sizes of its two terms, for the gradient itself passes through 0 (`oracles.Exact`; of rows of
class scores, `rows.ExactRow`; of overlap, `overlap_oracle.ExactOverlap`, whose losses and gradients are differences of sums; of boxes, `boxes.judged`; of vectors and pictures, the functions `errors` of their modules). A second table shows what confident rows are left with.
`inf` stands for an infinity, a NaN or a wrong 0.
"""

import argparse
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor

from losskit.contract.registry import LABELS, LOSSES, Loss
from losskit.engines.dispatch import EngineError, EngineName, use_engine
from losskit.testing import boxes, inputs, oracles, overlap, vectors, windows
from losskit.testing import rows as class_rows
from losskit.testing.boxes import BoxSubject
from losskit.testing.linear import LinearSubject
from losskit.testing.row_oracle import exact_rows
from losskit.testing.rows import RowSubject


class Row(NamedTuple):
    """One implementation of a loss with one set of arguments: the worst errors and the inputs they came from."""

    loss: str
    settings: str
    dtype: str
    who: str
    value: float
    gradient: float
    allowed: float | None
    value_at: str
    gradient_at: str


def peers(loss: Loss, settings: Mapping[str, Any]) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """Other libraries' versions that compute the same thing under these settings, unreduced."""
    found: dict[str, Callable[[Tensor, Tensor], Tensor]] = {}
    given = inputs.as_arguments(settings)
    if loss.torch:
        function = getattr(torch.nn.functional, loss.torch)
        if set(given) <= set(inspect.signature(function).parameters):
            labels = {operand.name for operand in loss.operands if operand.range == LABELS}  # torch takes them as tensors alone
            found["torch"] = lambda x, t: function(
                x, t, reduction="none", **{name: torch.full_like(t, value) if name in labels else value for name, value in given.items()}
            )
    if loss.name == "focal_loss" and settings.get("from_logits", True) and settings.get("gamma", 2.0) > 0:
        from losskit.bench.sides import torchvision_focal

        if torchvision_focal() is None:  # not installed
            return found
        from torchvision.ops import sigmoid_focal_loss

        alpha = settings.get("alpha")
        found["torchvision"] = lambda x, t: sigmoid_focal_loss(x, t, alpha=-1 if alpha is None else alpha, gamma=settings.get("gamma", 2.0), reduction="none")
    return found


def measure(function: Callable[[Tensor, Tensor], Tensor], exact: list[oracles.Exact], x: Tensor, t: Tensor) -> tuple[oracles.Worst, oracles.Worst]:
    """The worst errors of value and gradient."""
    a = x.clone().requires_grad_()
    value = function(a, t)
    (grad,) = torch.autograd.grad(value, a, torch.ones_like(value))
    return (
        oracles.worst_error(value, [e.value for e in exact], [e.scale_value for e in exact]),
        oracles.worst_error(grad, [e.grad_input for e in exact], [e.scale_input for e in exact]),
    )


def rows(
    engines: tuple[EngineName, ...] = ("cpu", "torch"), dtypes: tuple[torch.dtype, ...] = (torch.float32,), losses: tuple[str, ...] = (), count: int = 400
) -> Iterator[Row]:
    """The budget, row by row."""
    for name, loss in LOSSES.of("elementwise").items():
        if losses and name not in losses:
            continue
        for settings in loss.arguments:
            for dtype in dtypes:
                x, t = inputs.pairs(loss, settings, dtype, count)
                exact = oracles.exact(loss, settings, x, t)
                shown = ", ".join(f"{k}={v}" for k, v in settings.items())
                ours = partial(loss.function, reduction="none", **inputs.as_arguments(settings))
                runs: list[tuple[str, EngineName | None, Callable[[Tensor, Tensor], Tensor]]] = [(f"losskit, {engine}", engine, ours) for engine in engines]
                runs += [(who, None, function) for who, function in peers(loss, settings).items()]
                for who, engine, function in runs:
                    if engine is None and loss.target == "unit":  # peers differ in what soft targets mean; hard ones all agree on
                        hard = [i for i, target in enumerate(t.tolist()) if target in (0, 1)]
                        x, t, exact = x[hard], t[hard], [exact[i] for i in hard]
                    with warnings.catch_warnings(), use_engine(engine or "torch"):
                        warnings.simplefilter("ignore")
                        value, grad = measure(function, exact, x, t)
                    places = [f"({x[w.place].item():.6g}, {t[w.place].item():.6g})" for w in (value, grad)]
                    yield Row(name, shown, str(dtype).removeprefix("torch."), who, value.error, grad.error, loss.tolerance if engine else None, *places)


def row_peers(loss: Loss, settings: Mapping[str, Any]) -> dict[str, Callable[..., Tensor]]:
    """As `peers`, of losses of rows."""
    if not loss.torch or set(settings) - {"weight", "label_smoothing"}:
        return {}
    return {"torch": getattr(torch.nn.functional, loss.torch)}


def of_rows(
    engines: tuple[EngineName, ...] = ("cpu", "torch"), dtypes: tuple[torch.dtype, ...] = (torch.float32,), losses: tuple[str, ...] = ()
) -> Iterator[Row]:
    """The budget of losses of rows of class scores, also of those that are a product; what has no fused pass runs in the torch engine."""
    for loss, settings in LOSSES.cases("rows") + LOSSES.cases("linear"):
        if losses and loss.name not in losses:
            continue
        for dtype in dtypes:
            runs: list[tuple[str, EngineName | None, Callable[..., Tensor]]] = [(f"losskit, {engine}", engine, loss.function) for engine in engines]
            runs += [(who, None, function) for who, function in row_peers(loss, settings).items()]
            for who, engine, function in runs:
                s = (LinearSubject if loss.pattern == "linear" else RowSubject)(function, loss, settings, dtype)
                try:
                    with use_engine(engine or "torch"):
                        found = [e for x, t in class_rows.extreme(s) for e in class_rows.errors(s, x, t)]
                except EngineError:
                    continue
                worst = {kind: max((e for e in found if e.what.endswith(kind)), key=lambda e: e.worst.error) for kind in ("value", "gradient")}
                value, grad = worst["value"], worst["gradient"]
                shown = ", ".join(f"{k}={v}" for k, v in settings.items())
                yield Row(
                    loss.name,
                    shown,
                    str(dtype).removeprefix("torch."),
                    who,
                    value.worst.error,
                    grad.worst.error,
                    loss.tolerance if engine else None,
                    value.row,
                    grad.row,
                )


def of_overlap(
    engines: tuple[EngineName, ...] = ("cpu", "torch"), dtypes: tuple[torch.dtype, ...] = (torch.float32,), losses: tuple[str, ...] = ()
) -> Iterator[Row]:
    """The budget of losses of overlap, of labels and of 0/1 numbers; no peer means the same by all of its settings."""
    for loss, chosen in LOSSES.cases("overlap"):
        if losses and loss.name not in losses:
            continue
        for settings in ({"task": "multiclass", **chosen}, {"task": "multilabel", **chosen}):
            for dtype in dtypes:
                for engine in engines:
                    s = overlap.OverlapSubject(loss.function, loss, settings, dtype, engine)
                    try:
                        with use_engine(engine):
                            found = [e for x, t in overlap.extreme(s) for e in overlap.errors(s, x, t)]
                    except EngineError:
                        continue
                    value, grad = (next(e for e in found if e.what == kind) for kind in overlap.KINDS)
                    errors = value.worst.error, grad.worst.error
                    shown = ", ".join(f"{k}={v}" for k, v in settings.items())
                    yield Row(loss.name, shown, str(dtype).removeprefix("torch."), f"losskit, {engine}", *errors, s.exactness, value.row, grad.row)


def box_peers(loss: Loss, settings: Mapping[str, Any]) -> dict[str, Callable[..., Tensor]]:
    """As `peers`, of losses of boxes."""
    name = {"giou_loss": "generalized_box_iou_loss", "diou_loss": "distance_box_iou_loss", "ciou_loss": "complete_box_iou_loss"}.get(loss.name)
    from losskit.bench.sides import torchvision_focal

    if name is None or settings.get("alpha_gradient") or torchvision_focal() is None:  # not installed
        return {}
    import torchvision.ops

    return {"torchvision": getattr(torchvision.ops, name)}


def of_boxes(
    engines: tuple[EngineName, ...] = ("cpu", "torch"), dtypes: tuple[torch.dtype, ...] = (torch.float32,), losses: tuple[str, ...] = (), each: int = 20
) -> Iterator[Row]:
    """The budget of losses of boxes, `each` pairs of every kind of `boxes.extreme`; the gradient is that to both boxes."""
    for loss, settings in LOSSES.cases("boxes"):
        if losses and loss.name not in losses:
            continue
        for dtype in dtypes:
            x, t = boxes.extreme(dtype, each)
            runs: list[tuple[str, EngineName | None, Callable[..., Tensor]]] = [(f"losskit, {engine}", engine, loss.function) for engine in engines]
            runs += [(who, None, function) for who, function in box_peers(loss, settings).items()]
            for who, engine, function in runs:
                with use_engine(engine or "torch"):
                    value, *grads = boxes.errors(BoxSubject(function, loss, settings, dtype), x, t)
                grad = max(grads, key=lambda e: e.worst.error)
                shown = ", ".join(f"{k}={v}" for k, v in settings.items())
                errors, allowed = (value.worst.error, grad.worst.error), loss.tolerance if engine else None
                yield Row(loss.name, shown, str(dtype).removeprefix("torch."), who, *errors, allowed, value.row, grad.row)


def of_vectors_and_windows(dtypes: tuple[torch.dtype, ...] = (torch.float32,), losses: tuple[str, ...] = ()) -> Iterator[Row]:
    """The budget of losses of embeddings and of pictures, most of which run in PyTorch operations; the gradient is that to all of their tensors."""
    for name, loss in (LOSSES.of("vectors") | LOSSES.of("windows")).items():
        if losses and name not in losses:
            continue
        own: tuple[EngineName, ...] = ("cpu", "torch") if loss.compares in ("own", "alike") else ("torch",)
        runs: list[tuple[str, EngineName | None, Callable[..., Tensor]]] = [(f"losskit, {engine}", engine, loss.function) for engine in own]
        if loss.torch:
            runs.append(("torch", None, getattr(torch.nn.functional, loss.torch)))
        for settings in loss.arguments:
            for dtype in dtypes:
                for who, engine, function in runs:
                    with use_engine(engine or "torch"):
                        if loss.pattern == "vectors":
                            s = vectors.subject_kind(loss)(function, loss, settings, dtype)
                            value, *grads = vectors.errors(s, vectors.extreme(s))
                        else:
                            pictures = windows.WindowSubject(function, loss, settings, dtype)
                            value, *grads = windows.errors(pictures, *windows.extreme(pictures))
                    grad = max(grads, key=lambda e: e.worst.error)
                    shown = ", ".join(f"{k}={v}" for k, v in settings.items())
                    errors, allowed = (value.worst.error, grad.worst.error), loss.tolerance if engine else None
                    yield Row(name, shown, str(dtype).removeprefix("torch."), who, *errors, allowed, value.row, grad.row)


GAPS = (5.0, 10.0, 15.0, 20.0, 40.0, 80.0)


def confident() -> Iterator[str]:
    """The lines of a Markdown table: cross-entropy of rows whose label lies ever further above nine others."""
    yield "| the label above 9 others by | exact loss | losskit | torch | exact gradient of the label | losskit | torch |"
    yield "|---|---|---|---|---|---|---|"
    for gap in GAPS:
        x, t = torch.zeros(1, 10), torch.tensor([0])
        x[0, 0] = gap
        (exact,) = exact_rows(LOSSES["cross_entropy"], {}, x, t)
        cells = []
        for function in (LOSSES["cross_entropy"].function, torch.nn.functional.cross_entropy):
            a = x.clone().requires_grad_()
            value = function(a, t)
            cells.append((value.item(), torch.autograd.grad(value, a)[0][0, 0].item()))
        (ours, slope), (theirs, their_slope) = cells
        yield f"| {gap:g} | {float(exact.value):.7g} | {ours:.7g} | {theirs:.7g} | {float(exact.gradient[0]):.7g} | {slope:.7g} | {their_slope:.7g} |"


def shown(error: float) -> str:
    """An error to two digits; 0 for what is left of the difference quotient's own."""
    return f"{error:.1e}" if error > 1e-20 else "0"


def markdown(table: Iterator[Row] | list[Row]) -> Iterator[str]:
    """The lines of a Markdown table."""
    yield "| loss | settings | dtype | who | value | gradient | worst at (x, t) |"
    yield "|---|---|---|---|---|---|---|"
    for r in table:
        worst = (r.value_at if r.value >= r.gradient else r.gradient_at) if max(r.value, r.gradient) > 1e-6 else ""
        yield f"| {r.loss} | {r.settings} | {r.dtype} | {r.who} | {shown(r.value)} | {shown(r.gradient)} | {worst} |"


def by_dtype(table: list[Row]) -> Iterator[str]:
    """The lines of a Markdown table with the dtypes side by side: value and gradient of each."""
    dtypes = list(dict.fromkeys(r.dtype for r in table))
    yield f"| loss | settings | who | {' | '.join(f'{dtype}: value | gradient' for dtype in dtypes)} |"
    yield "|---" * (3 + 2 * len(dtypes)) + "|"
    lines: dict[tuple[str, str, str], dict[str, Row]] = {}
    for r in table:
        lines.setdefault((r.loss, r.settings, r.who), {})[r.dtype] = r
    for names, found in lines.items():
        yield f"| {' | '.join(names)} | {' | '.join(f'{shown(found[d].value)} | {shown(found[d].gradient)}' for d in dtypes)} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m losskit.testing.budget", description="worst relative errors of value and gradient, as Markdown")
    parser.add_argument("--losses", nargs="+", default=[], metavar="LOSS", help="names out of losskit.LOSSES; all by default")
    parser.add_argument("--dtype", action="append", choices=["float32", "float64", "float16", "bfloat16"], help="several times if need be; half of boxes only")
    parser.add_argument("--engine", action="append", choices=["cpu", "torch", "triton"], help="may be given several times; cpu and torch by default")
    options = parser.parse_args()
    unknown = [name for name in options.losses if name not in LOSSES]
    if unknown:
        parser.error(f"no such loss: {', '.join(unknown)}; there are {', '.join(LOSSES)}")
    engines, losses = tuple(options.engine or ("cpu", "torch")), tuple(options.losses)
    dtypes = tuple(getattr(torch, name) for name in options.dtype or ["float32"])
    chosen = engines, tuple(dtype for dtype in dtypes if dtype.itemsize > 2), losses
    if not losses or any(LOSSES[name].pattern not in ("boxes", "vectors", "windows") for name in losses):
        for line in markdown(chain(rows(*chosen), of_rows(*chosen), of_overlap(*chosen))):
            print(line, flush=True)
    tables = [list(of_boxes(engines, dtypes, losses)), list(of_vectors_and_windows(chosen[1], losses))]
    for table in tables:
        if table:
            print(*by_dtype(table), sep="\n")
    if not options.losses or "cross_entropy" in options.losses:
        print()
        for line in confident():
            print(line)


if __name__ == "__main__":
    main()
