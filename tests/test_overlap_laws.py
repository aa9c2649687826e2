"""The laws of overlap over the registry: every loss, every set of arguments, tasks in turn, every engine; and what losses of overlap are to each other."""

import contextlib
import math
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import torch
from cases import Case, one, require, thorough, thorough_rows
from claims import claim

import losskit
from losskit import LOSSES
from losskit.engines.dispatch import EngineError
from losskit.testing import OVERLAP_LAWS, OverlapSubject
from losskit.testing.overlap import variants

# about what is summed up and what becomes of the sums: on every one of them
FORMULA = (
    "textbook",
    "error_budget",
    "target_gradient",
    "empties",
    "averages_agree",
    "accumulation",
    "perfect_soft",
    "infinite_inputs",
    "parts_add_up",
    "values_checked",
)
# about the walk over tensors and the contract around it: on a few
WALK = (
    "mask_deletes",
    "ignore_deletes",
    "nothing_left",
    "incoming_gradient",
    "nan_stays",
    "inputs_unchanged",
    "half_precision",
    "label_dtypes",
    "layouts",
    "class_axis",
    "engines_agree",
    "second_derivative",
    "autocast",
    "shapes_agree",
)
MANY_KERNELS = {"label": ("half_precision", "label_dtypes", "second_derivative"), "number": ("label_dtypes",)}  # one for each dtype
TASKS = ("multiclass", "soft", "multilabel", "binary")


def tasked(case: Case, kind: str) -> tuple[Any, ...]:
    """A loss with a task, and "soft" if its targets are soft."""
    settings, soft = variants(case.loss, case.settings)[TASKS.index(kind)]
    return (Case(case.loss, settings), "soft") if soft else (Case(case.loss, settings),)


CASES = [Case(loss, settings) for loss, settings in LOSSES.cases("overlap")]
EVERY = [tasked(case, TASKS[i % 4]) for i, case in enumerate(CASES)]
FIRST = {loss.name: {**loss.arguments[0]} for loss in LOSSES.of("overlap").values()}  # what `empty` does is a matter of the loss, not of its settings


def is_first(case: Any) -> bool:
    """Whether a case has the settings that its loss is shown with, whatever the task."""
    return {k: v for k, v in case.settings.items() if k != "task"} == {k: v for k, v in FIRST[case.loss.name].items() if k != "task"}


SHOWN = [row for row in EVERY if is_first(row[0])]
DICE = one("dice_loss")
PLAIN = [
    tasked(DICE, "multiclass"),
    tasked(one("dice_loss", smooth=0.0, power=2), "soft"),
    tasked(one("tversky_loss", alpha=0.3, beta=0.7), "multilabel"),
    tasked(DICE, "binary"),
    tasked(one("dice_loss", from_logits=False), "multiclass"),
    *(tasked(one(name), "multiclass") for name in ("generalized_dice_loss", "dice_ce_loss")),
    *(tasked(one(name), "multilabel") for name in ("mcc_loss", "dice_focal_loss")),
]
# a kernel costs the CPU engine seconds to compile (three with a softmax, one with a sigmoid), and knows no formula but that of a second loss
FUSED = [tasked(DICE, "multiclass"), tasked(one("dice_loss", power=2), "binary")]
FUSED_FORMULA = [
    *FUSED,
    *(tasked(one("dice_ce_loss"), "multiclass") for _ in range("dice_ce_loss" in LOSSES)),
    tasked(one("dice_loss", smooth=0.0, power=2), "soft"),
    tasked(one("dice_loss", from_logits=False), "multilabel"),
    *(tasked(one("dice_focal_loss"), "multilabel") for _ in range("dice_focal_loss" in LOSSES)),
]


def build(case: Case, engine: Any, *rest: Any) -> OverlapSubject:
    """A loss to examine; `rest` may hold "soft" and a dtype."""
    dtype = next((r for r in rest if isinstance(r, torch.dtype)), torch.float32)
    return OverlapSubject(case.loss.function, case.loss, case.settings, dtype, engine, soft="soft" in rest)


@pytest.fixture
def subject(request: pytest.FixtureRequest) -> Iterator[OverlapSubject]:
    case, engine, *rest = request.param
    with losskit.use_engine(engine) if engine else contextlib.nullcontext():
        yield build(case, engine, *rest)


CANNOT_APPLY = (  # of a loss of ours nothing else may be missing
    *("the target is a label", "no soft targets, power or probabilities", "distributions have no label to ignore", "no argument return_parts"),
    *("no loss of each sample and class", "the second loss has a mean of its own", "the loss is not 0 there"),
    "probabilities are never infinite, and a second loss may be",
)


def check(laws: Iterable[str], subject: OverlapSubject) -> None:
    require(laws, OVERLAP_LAWS, subject, CANNOT_APPLY)


def under(engine: str | None, cases: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [(case, engine, *rest) for case, *rest in cases]


def test_every_law_is_used() -> None:
    assert set(OVERLAP_LAWS) == {*FORMULA, *WALK, "deterministic", "transforms"}


@pytest.mark.parametrize("subject", [*under("torch", SHOWN), *under("cpu", FUSED_FORMULA[:3]), *thorough(under("cpu", FUSED_FORMULA[3:]))], indirect=True)
def test_formula(subject: OverlapSubject) -> None:
    formula(subject)


@pytest.mark.sparse(4)
@pytest.mark.parametrize("subject", under("torch", [row for row in EVERY if row not in SHOWN]), indirect=True)
def test_formula_of_other_settings(subject: OverlapSubject) -> None:
    formula(subject)


def formula(subject: OverlapSubject) -> None:
    apart = (
        subject.engine == "cpu" and subject.compound and subject.task == "multiclass"
    )  # probabilities, which that law gives, have no fused pass for a compound
    first = subject.engine == "cpu" or is_first(subject)
    check([law for law in FORMULA if law != "empties" or (first and not apart)], subject)


@pytest.mark.sparse(2)
@pytest.mark.parametrize("subject", under("torch", PLAIN), indirect=True)
def test_walk(subject: OverlapSubject) -> None:
    check(WALK, subject)


@pytest.mark.parametrize("subject", [*thorough(under("cpu", FUSED[:1])), *under("cpu", FUSED[1:])], indirect=True)
def test_walk_of_loops(subject: OverlapSubject) -> None:
    check([law for law in WALK if law not in MANY_KERNELS[subject.kind]], subject)


# the torch engine sums with torch.sum, whose last bit depends on the number of threads
@pytest.mark.parametrize("subject", under("cpu", FUSED), indirect=True)
def test_deterministic(subject: OverlapSubject) -> None:
    check(["deterministic"], subject)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.func.jvp's own
@pytest.mark.parametrize("subject", under(None, [*PLAIN[:1], *PLAIN[2:3], *PLAIN[6:7]]), indirect=True)
def test_transforms(subject: OverlapSubject) -> None:
    check(["transforms"], subject)


@pytest.mark.parametrize("subject", [(case, "torch", torch.float64, *rest) for case, *rest in EVERY[::3]], indirect=True)
def test_float64(subject: OverlapSubject) -> None:
    check(["error_budget"], subject)


def value_and_gradient(function: Any, x: torch.Tensor, t: torch.Tensor, **settings: Any) -> tuple[torch.Tensor, torch.Tensor]:
    a = x.clone().requires_grad_()
    value = function(a, t, **settings)
    return value.detach(), torch.autograd.grad(value.sum(), a)[0]


def pair(shape: tuple[int, ...] = (3, 4, 9), seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=draw), torch.randint(0, shape[1], (shape[0], *shape[2:]), generator=draw)


@pytest.fixture(params=["cpu", "torch"])
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    with losskit.use_engine(request.param):
        yield request.param


EQUAL = [
    ("tversky_loss", {"alpha": 0.5, "beta": 0.5, "smooth": 0.5}, "dice_loss", {"smooth": 1.0}),
    ("tversky_loss", {"alpha": 1.0, "beta": 1.0}, "jaccard_loss", {}),
    ("focal_tversky_loss", {"alpha": 0.3, "beta": 0.7, "gamma": 1.0}, "tversky_loss", {"alpha": 0.3, "beta": 0.7}),
    ("generalized_dice_loss", {"volume_weight": "uniform", "smooth": 1.0}, "dice_loss", {"average": "micro"}),
    ("dice_ce_loss", {"ce_weight": 0.0}, "dice_loss", {}),
    ("dice_focal_loss", {"gamma": 0.0}, "dice_ce_loss", {}),
    ("dice_focal_loss", {"gamma": 0.0, "focal_weight": 0.5, "average": "weighted"}, "dice_ce_loss", {"ce_weight": 0.5, "average": "weighted"}),
]


@pytest.mark.parametrize(("name", "settings", "other", "same"), EQUAL)
def test_losses_that_are_other_losses(name: str, settings: dict[str, Any], other: str, same: dict[str, Any], engine: str) -> None:
    for over in ("sample", "batch"):
        got = value_and_gradient(LOSSES[name].function, *pair(), task="multiclass", over=over, **settings)
        expected = value_and_gradient(LOSSES[other].function, *pair(), task="multiclass", over=over, **same)
        for a, b in zip(got, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=2e-6, atol=1e-8)


def test_scores_are_one_minus_the_loss(engine: str) -> None:
    found = [(loss, score) for loss in LOSSES.of("overlap").values() for score in loss.scores]
    assert found
    for loss, score in found:
        for extra in ({}, {"average": "none"}, {"empty": "mass", "over": "batch"}, {"empty": "skip", "average": "micro", "background": False}):
            a, b = (value_and_gradient(f, *pair(), task="multiclass", smooth=0.0, **extra) for f in (score, loss.function))
            torch.testing.assert_close(a[0], 1 - b[0], rtol=1e-6, atol=1e-7)
            torch.testing.assert_close(a[1], -b[1], rtol=1e-6, atol=1e-9)
            torch.testing.assert_close(value_and_gradient(score, *pair(), task="multiclass", **extra)[0], a[0])  # its own default is no smoothing


def test_jaccard_from_dice() -> None:
    x, t = pair()
    every = {"task": "multiclass", "average": "none"}
    dice, jaccard = losskit.dice_score(x, t, **every), losskit.jaccard_score(x, t, **every)
    torch.testing.assert_close(jaccard, dice / (2 - dice))


def test_the_second_loss_is_cross_entropy_to_the_last_digit(engine: str) -> None:
    x, t = pair()
    x[0].scatter_add_(0, t[:1], torch.full((1, 9), 25.0))  # sure items keep their digits
    weight = torch.tensor([1.0, 0.5, 0.0, 3.0])
    for w in (None, weight):
        got = value_and_gradient(losskit.dice_ce_loss, x, t, task="multiclass", dice_weight=0.0, weight=w)
        expected = value_and_gradient(losskit.cross_entropy, x, t, weight=w)
        torch.testing.assert_close(got[0], expected[0], rtol=2e-6, atol=0)
        torch.testing.assert_close(got[1], expected[1], rtol=1e-5, atol=1e-12)
    target = (x[:, :1] > 0.3).float()
    got = value_and_gradient(losskit.dice_ce_loss, x[:, :1], target, task="binary", dice_weight=0.0)
    expected = value_and_gradient(losskit.binary_cross_entropy_with_logits, x[:, :1], target)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-6, atol=1e-9)


S, P, N = 1.0, 0.5 * 4, 4  # smoothing; what was predicted of a class without target, on four items
TABLE = {  # value and gradient by each probability: prediction empty, and not
    "smooth": ((0.0, 1 / S), (P / (P + S), S / (P + S) ** 2)),
    "skip": ((0.0, 0.0), (0.0, 0.0)),
    "zero": ((0.0, 0.0), (0.0, 0.0)),
    "mass": ((0.0, 1 / N), (P / N, 1 / N)),
}


@pytest.mark.parametrize("empty", TABLE)
@claim("dice_loss", "A class whose target is empty costs, depending on `empty`")
def test_table_of_empty_targets(empty: str, engine: str) -> None:
    """The table in the docstring of `dice_loss`, number by number, and how many classes the mean counts."""
    t = torch.tensor([[0.0] * 4, [1.0, 0.0, 1.0, 0.0]])[None]
    there = 1 - (2 * 1.0 + S) / (2.0 + 2.0 + S)  # of the class with a target, predicted 0.5 everywhere
    for p, (value, slope) in zip((0.0, 0.5), TABLE[empty], strict=True):
        x = torch.stack((torch.full((4,), p), torch.full((4,), 0.5)))[None].requires_grad_()
        each = losskit.dice_loss(x, t, task="multilabel", from_logits=False, empty=empty, average="none")
        torch.testing.assert_close(each, torch.tensor([[value, there]]))
        (grad,) = torch.autograd.grad(each.sum(), x)
        torch.testing.assert_close(grad[0, 0], torch.full((4,), slope))
        mean = losskit.dice_loss(x, t, task="multilabel", from_logits=False, empty=empty)
        torch.testing.assert_close(mean, torch.tensor(there if empty == "skip" else (value + there) / 2))
        (grad,) = torch.autograd.grad(mean, x)
        torch.testing.assert_close(grad[0, 0], torch.full((4,), slope / 2))
    nothing = losskit.dice_loss(torch.zeros(1, 4), torch.zeros(1, 4), task="binary", from_logits=False, empty=empty, smooth=0.0)
    assert nothing.item() == 0.0


COMPILED: list[tuple[str, str, dict[str, Any]]] = [
    ("dice_loss", "multiclass", {"average": "none", "ignore_index": 1}),
    ("tversky_loss", "multilabel", {"alpha": 0.3, "beta": 0.7, "average": "weighted", "over": "batch", "empty": "mass"}),
    *(("dice_ce_loss", "multiclass", {"weight": torch.tensor([1.0, 2.0, 0.5, 0.0])}) for _ in range("dice_ce_loss" in LOSSES)),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "task", "extra"), [*COMPILED[-1:], *thorough_rows(COMPILED[:-1])])
def test_compiled_whole(name: str, task: str, extra: dict[str, Any]) -> None:
    """One graph, of one of them the backward too; the code that is made from it is torch's affair."""
    x, t = pair()
    if task != "multiclass":
        t = torch.nn.functional.one_hot(t, 4).movedim(-1, 1).float()
    mask = torch.arange(9) % 4 > 0
    function = LOSSES[name].function

    def step(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return function(x, t, task=task, mask=mask, **extra)

    torch._dynamo.reset()
    got = value_and_gradient(torch.compile(step, fullgraph=True, backend="aot_eager" if task == "multilabel" else "eager"), x, t)
    with losskit.use_engine("torch"):
        expected = value_and_gradient(step, x, t)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_sums_of_many_items_lose_nothing() -> None:
    """Past 2^24 a float32 sum of ones stands still, and past 65504 there is no float16."""
    p = torch.ones(1, 1 << 24, dtype=torch.float16)
    p[:, 1 << 23 :] = 0.5
    value = losskit.dice_score(p, torch.ones(1, 1, dtype=torch.bool).expand_as(p), task="binary", from_logits=False)
    assert math.isclose(value.item(), 2 * 0.75 / (0.75 + 1), rel_tol=1e-6)


def test_a_peer_is_told_with_a_counterexample() -> None:
    """The composite that everybody writes once, examined."""

    def common(input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        p = input.softmax(1)
        t = torch.nn.functional.one_hot(target, input.shape[1]).movedim(-1, 1)
        sums = [z.reshape(*p.shape[:2], -1).sum(2) for z in (p * t, p + t)]
        return (1 - (2 * sums[0] + 1) / (sums[1] + 1)).mean()

    result = losskit.testing.audit(common, like="dice_loss", show=False, task="multiclass")
    for law in ("textbook", "layouts", "incoming_gradient", "second_derivative"):
        assert result.verdict(law) == "holds", law
    for law in ("nothing_left", "half_precision", "label_dtypes"):
        assert result.verdict(law) == "fails", law
    for law in ("mask_deletes", "ignore_deletes", "empties", "averages_agree", "class_axis", "perfect_soft"):
        assert result.verdict(law) == "not offered", law
    with pytest.raises(TypeError, match=r"dice_loss needs task=: audit\(..., like='dice_loss', task=...\)"):
        losskit.testing.audit(common, like="dice_loss", show=False)


def test_a_forced_engine_runs_or_raises() -> None:
    x, t = pair()
    with losskit.use_engine("cpu"), pytest.raises(EngineError):
        losskit.dice_loss(x.to("meta"), t.to("meta"), task="multiclass")
