"""The formulas in JavaScript, run by Node, beside the torch engine in float64: every loss and every setting of the patterns that the interactive page has."""

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

import losskit
from losskit import LOSSES, Loss
from losskit.contract.scores import loss_of_sums
from losskit.engines.language import PRIMITIVES, FormulaError, derivatives, weighted, where
from losskit.engines.torch import boxes as torch_boxes
from losskit.engines.torch import distributions as torch_distributions
from losskit.engines.torch import elementwise as torch_elementwise
from losskit.engines.torch import overlap as torch_overlap
from losskit.engines.torch import rows as torch_rows
from losskit.testing import boxes, inputs, overlap, rows
from losskit.testing.inputs import domain
from losskit.testing.subject import Subject

DOCS = Path(__file__).parent.parent / "docs"
sys.path.insert(0, str(DOCS / "_ext"))
import javascript  # noqa: E402
import passes  # noqa: E402

node = pytest.mark.skipif(shutil.which("node") is None, reason="Node")
SUPPORTED = (
    "elementwise",
    "rows",
    "overlap",
    "boxes",
    "operations",
)  # not "ranked", which sorts, "windows", which are pictures, and "vectors": they have no formula of numbers


class Case(NamedTuple):
    """A loss with settings on one batch."""

    loss: Loss
    settings: Mapping[str, Any]
    x: Tensor
    t: Tensor
    kind: str = ""

    def __str__(self) -> str:
        return f"{self.loss.name}({', '.join(f'{k}={v!r}' for k, v in self.settings.items())}) {self.kind}"


def batches_of(loss: Loss) -> Iterator[Case]:
    """Every setting on ordinary numbers and on those of the whole range."""
    for settings in loss.arguments + loss.rows:
        if boxes.is_boxes(loss):
            box = boxes.BoxSubject(loss.function, loss, settings, torch.float64)
            ordinary, crossed = box.batch((60,)), [b.double()[::7] for b in boxes.combinations((0.0, 1.0, 2.5, 4.0), (0.0, 1.5, 2.0, 3.0))]
            yield from (Case(loss, settings, *pair, kind) for kind, pair in (("", ordinary), ("crossed", crossed), ("extreme", boxes.extreme(torch.float64))))
        elif loss.pattern in ("overlap", "operations"):
            tasks = [(settings, False)] if "task" in settings else overlap.variants(loss, settings)
            for chosen, soft in tasks:
                s = overlap.OverlapSubject(loss.function, loss, chosen, torch.float64, soft=soft)
                pairs = [s.batch((2, 7)), *(overlap.extreme(s) if loss.pattern == "overlap" else [])]
                if loss.pattern == "operations":  # distances have the shape of the input
                    pairs = [(x, torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))) for x, _ in pairs]
                yield from (Case(loss, chosen, x, t, kind) for kind, (x, t) in zip((f"soft={soft}", f"soft={soft} extreme"), pairs, strict=False))
        elif rows.is_rows(loss, settings):
            row = rows.RowSubject(loss.function, loss, settings, torch.float64)
            yield from (Case(loss, settings, *pair, kind) for kind, pair in (("", row.batch((20,))), *(("extreme", p) for p in rows.extreme(row))))
            if loss.name == "cross_entropy" and settings.get("from_logits", True):
                yield Case(loss, settings, *rows.RowSubject(loss.function, loss, settings, torch.float64, soft=True).batch((20,)), "soft")
        else:
            yield Case(loss, settings, *Subject(loss.function, loss, settings, torch.float64).batch((30,)))
            yield Case(loss, settings, *inputs.pairs(loss, settings, torch.float64), "extreme")


def observed(case: Case) -> list[passes.Pass]:
    """What the public function asks of its engine."""
    settings = inputs.as_arguments(case.settings, torch.float64)
    if "reduction" in case.loss.settings:
        settings["reduction"] = "none"
    return passes.passes_of(case.loss.function, *((case.x,) if case.loss.target == "none" else (case.x, case.t)), **settings)


def flat(x: Tensor) -> str:
    """float64 numbers in base64."""
    return base64.b64encode(x.detach().double().contiguous().numpy().tobytes()).decode()


class Asked(NamedTuple):
    """What Node is given, and what the torch engine says."""

    given: dict[str, Any]
    expected: list[Tensor]


def asked(one: passes.Pass, made: javascript.Formulas) -> Asked:
    """One pass, for Node, and its answer by the torch engine."""
    given: dict[str, Any] = {"call": passes.described(one, made.name)}
    return ASK[one.pattern](one.call, one, given)


def ask_elements(call: Any, one: passes.Pass, given: dict[str, Any]) -> Asked:
    shape = one.operands[0].shape
    operands = tuple(y.detach().double().expand(shape).contiguous() for y in one.operands)
    given["operands"] = [flat(y) for y in operands]
    if call.factors:
        given["factor"] = flat(torch_elementwise.combined(call.factors, torch.float64).expand(shape))
    wants = tuple(k < derivatives(call.formula) for k in range(len(operands)))
    found = torch_elementwise.gradients(call, operands, torch.ones(shape, dtype=torch.float64), wants)
    return Asked(given, [torch_elementwise.losses(call, *operands), *(torch.full(shape, torch.nan) if g is None else g for g in found)])


def ask_rows(call: Any, one: passes.Pass, given: dict[str, Any]) -> Asked:
    x, t, *numbers = one.operands
    module = torch_rows if one.pattern == "rows" else torch_distributions
    soft = one.pattern == "distributions" and call.kind == "distribution"
    given |= {"width": x.shape[call.dim], "operands": [flat(x.movedim(call.dim, -1)), flat(t.movedim(call.dim, -1) if soft else t)]}
    value = module.losses(call, x, t, *numbers)
    found = module.gradients(call, one.operands, torch.ones_like(value), (True, soft, *(False for _ in numbers)))
    return Asked(given, [value, *(g.movedim(call.dim, -1) for g in found if g is not None)])


def ask_boxes(call: Any, one: passes.Pass, given: dict[str, Any]) -> Asked:
    x, t = one.operands
    given |= {"width": x.shape[-1], "operands": [flat(x), flat(t)]}
    value = torch_boxes.losses(call, x, t)
    return Asked(given, [value, *torch_boxes.gradients(call, (x, t), torch.ones_like(value), (True, True))])


def ask_overlap(call: Any, one: passes.Pass, given: dict[str, Any]) -> Asked:
    x, t = (z.detach().double() if z.is_floating_point() else z for z in one.operands)
    x = x.requires_grad_()
    t = t.requires_grad_(call.kind == "number")
    leaves = (x, t) if call.kind == "number" else (x,)
    value = loss_of_sums(one.how, torch_overlap.sums(call, x, t), False).value
    grads = torch.autograd.grad(value, leaves)
    swapped = [z.movedim(call.dim, 1) if z.dim() == x.dim() else z for z in (x, t)]
    given |= {"width": x.numel() // (x.shape[0] * x.shape[call.dim]), "classes": x.shape[call.dim], "operands": [flat(z) for z in swapped]}
    return Asked(given, [value.detach()[None], *(g.movedim(call.dim, 1) for g in grads)])


ASK = {"elementwise": ask_elements, "rows": ask_rows, "distributions": ask_rows, "boxes": ask_boxes, "overlap": ask_overlap}


def in_node(given: list[dict[str, Any]], made: javascript.Formulas) -> list[Any]:
    """What Node computes of the cases: lists of arrays, or the text of an error."""
    with TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "formulas.js").write_text(javascript.script({name: f for f, name in made.names.items()}), "utf-8")
        (place / "cases.js").write_text(f"module.exports = {json.dumps(given)};", "utf-8")
        command = ["node", str(Path(__file__).parent / "run_formulas.js"), place / "formulas.js", DOCS / "touch" / "patterns.js", place / "cases.js"]
        subprocess.run([*map(str, command), str(place / "results.json")], check=True, timeout=300)
        results = json.loads((place / "results.json").read_text("utf-8"))
    return [r if isinstance(r, str) else [np.frombuffer(base64.b64decode(a), np.float64) for a in r] for r in results]


# what was measured on the registry's batches (Node 20, V8 11): 2.7e-15 of ordinary numbers, 1.2e-14 over the whole range. Sums of overlap of all but perfect
# predictions are what is left of differences: 7.7e-11 there, and the audit kit allows 1e-10 of float64 (OverlapSubject.exactness). So is the gradient m - t of
# a mean m = exp(x) beside its target: 1.3e-11
ORDINARY, EXTREME, LEFT_OF_DIFFERENCES = 1e-14, 5e-14, 1e-10
# terms of both signs, of a size near 1, which cancel where the target is the prediction: what is left is a rounding of the terms, another on each machine
CANCEL = ("kl_divergence", "js_divergence", "focal_loss", "evidential_nll_loss")


def error(got: Any, expected: Tensor, whole: bool, batch: bool, floor: float) -> float:
    """The largest relative error; `whole`: relative to the item's largest number, `batch`: to that of all items. `floor`: what counts as no error at all."""
    a, b = torch.from_numpy(got.copy()).reshape(expected.shape), expected.detach().double()
    size = torch.where(b.isfinite(), b.abs(), 0.0)
    if b.dim() and b.numel() and batch:
        size = size.max().expand_as(b)
    elif b.dim() and whole:
        size = size.amax(-1, keepdim=True).expand_as(b)
    off = torch.where((a == b) | (a.isnan() & b.isnan()), 0.0, ((a - b).abs() - floor).clamp(min=0.0) / (size + 1e-290))
    return float(off.nan_to_num(torch.inf, torch.inf).max()) if off.numel() else 0.0


@cache
def answers() -> dict[str, list[tuple[Case, passes.Pass, list[Tensor], Any]]]:
    """For each loss of a supported pattern: cases, passes, what the torch engine says of them, what Node says. One run of Node for all."""
    made = javascript.Formulas()
    todo = [(case, one, asked(one, made)) for loss in LOSSES.values() if loss.pattern in SUPPORTED for case in batches_of(loss) for one in observed(case)]
    found = in_node([question.given for _, _, question in todo], made)
    by_loss: dict[str, list[tuple[Case, passes.Pass, list[Tensor], Any]]] = {}
    for (case, one, question), got in zip(todo, found, strict=True):
        by_loss.setdefault(case.loss.name, []).append((case, one, question.expected, got))
    return by_loss


def worst_of(case: Case, one: passes.Pass, expected: list[Tensor], got: Any) -> tuple[float, float]:
    """The largest error of a case, and what is allowed."""
    assert not isinstance(got, str), f"{case}: {got}"
    assert len(got) == len(expected), f"{case}: {len(got)} results, expected {len(expected)}"
    extreme = case.kind.endswith("extreme")
    summed, mean = extreme and one.pattern == "overlap", extreme and domain(case.loss, case.settings) == "log-mean"
    floor = 1e-15 if mean or (extreme and case.loss.name in CANCEL) else 0.0
    errors = [error(g, e, k > 0 and one.pattern != "elementwise", k > 0 and summed, floor) for k, (g, e) in enumerate(zip(got, expected, strict=True))]
    return max(errors), LEFT_OF_DIFFERENCES if summed or mean else EXTREME if extreme else ORDINARY


@node
@pytest.mark.parametrize("name", [loss.name for loss in LOSSES.values() if loss.pattern in SUPPORTED])
def test_value_and_gradients_are_those_of_the_torch_engine(name: str) -> None:
    found = answers().get(name, [])
    reached = {repr(case.settings) for case, *_ in found}
    settings = LOSSES[name].arguments + LOSSES[name].rows
    assert all(any(repr(s)[1:-1] in r for r in reached) for s in settings), f"{name} makes no pass that is seen"
    for case, one, expected, got in found:
        worst, allowed = worst_of(case, one, expected, got)
        assert worst <= allowed, f"{case}, {one.pattern}: error {worst:.1e}, allowed {allowed:.0e}"


@node
def test_a_wrong_sign_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    case = next(batches_of(LOSSES["huber_loss"]))
    (one,) = observed(case)
    made = javascript.Formulas()
    question = asked(one, made)
    right = javascript.script
    monkeypatch.setattr(javascript, "script", lambda formulas: right(formulas).replace("sign(r)", "-sign(r)"))
    worst, _ = worst_of(case, one, question.expected, in_node([question.given], made)[0])
    assert worst > 1.0


def test_every_pattern_is_decided_on() -> None:
    from losskit.contract.patterns import PATTERNS

    assert set(PATTERNS) - set(SUPPORTED) == {"ranked", "windows", "vectors", "linear"}


EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, 1e-320, -1e-320, 1e-7, 1.0 + 5e-7, -5e-7, 1.1, -0.3, 3.0, -3.0, 700.0, 720.0, -750.0, 1e300, -1e300]
SMALL = {"sqrt": 0.0, "exp_neg": 0.0, "log1p_unit": 0.0, "reciprocal": 0.0, "one_over": 1e-37, "log_floored": 0.0, "log1p": -1.0}  # where the domain begins


@node
def test_the_table_of_names_is_that_of_the_language() -> None:
    table = javascript.TABLE.read_text("utf-8")
    names = sorted(set(PRIMITIVES) - {"where"})
    assert sorted(line.partition("(")[0].removeprefix("function ") for line in table.splitlines() if line.startswith("function")) == names
    two = {"minimum", "maximum", "exp_product", "expm1_product", "atan2"}
    calls = {
        name: [(a, b) for a in EDGES for b in (0.0, 0.7, -1.5)] if name in two else [(a,) for a in EDGES if a >= SMALL.get(name, -np.inf)] for name in names
    }
    calls["atan2"] = [(a, b) for a in EDGES for b in EDGES if a >= 0 and b >= 0]
    written = ", ".join(f"{name}({', '.join(map(repr, given))})" for name in names for given in calls[name])
    program = f"{table}\nconsole.log(JSON.stringify([{written}].map(String)))"
    found = iter(json.loads(subprocess.run(["node", "-e", program], capture_output=True, check=True, text=True, timeout=60).stdout))
    for name in names:
        for given in calls[name]:
            got, expected = float(next(found).replace("Infinity", "inf")), PRIMITIVES[name](*given)
            assert got == pytest.approx(expected, rel=4e-16, abs=0.0, nan_ok=True), f"{name}{given}: {got!r}, in Python {expected!r}"


def helper(a):
    new = a * 2.0
    return new, -a


def first(x, t):
    a, _ = helper(x)
    a = a - (t - x) - (1.0 - t)
    return where((a > 0.0) & (t != x), a, -a * (x + t) / 2.0**-3), a


def test_what_is_written() -> None:
    made = javascript.script({"one": first, "two": weighted(first)})
    assert made.count("function test_javascript_helper(") == 1
    assert "return [(a > 0.0 && t !== x ? a : -a * (x + t) / Math.pow(2.0, -3)), a];" in made
    assert "const new_ = a * 2.0;" in made and "return [new_, -a];" in made
    assert "a = a - (t - x) - (1.0 - t);" in made and "let a;" in made
    assert "'two': test_javascript_first_weighted," in made


def looped(x, t):
    for _ in range(3):
        x = x + t
    return x, x


def named(x, t):
    return maximum(x, b=t), x  # noqa: F821


def outside(x, t):
    return x + len(t), x


@pytest.mark.parametrize("formula", [looped, named, outside])
def test_what_is_refused(formula: Any) -> None:
    with pytest.raises(FormulaError, match=formula.__name__):
        javascript.script({"one": formula})


@node
def test_distances_are_those_of_the_library() -> None:
    labels = (torch.rand(6, 5, 8, generator=torch.Generator().manual_seed(0)) < 0.4).long()
    labels[4], labels[5] = 0, 1
    masks = labels.flatten(1).tolist()
    program = f"require({str(DOCS / 'touch' / 'patterns.js')!r}); console.log(JSON.stringify({masks}.map((m) => losskit.patterns.distance(m, 8))))"
    found = json.loads(subprocess.run(["node", "-e", program], capture_output=True, check=True, text=True, timeout=60).stdout)
    expected = losskit.distance_map(labels, task="binary", dtype=torch.float64)
    torch.testing.assert_close(torch.tensor(found, dtype=torch.float64).reshape(labels.shape), expected, rtol=1e-15, atol=0.0)
