"""The laws of boxes over the registry: every loss, every set of arguments, every engine; and a peer's loss examined."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import torch
from cases import Case, one, require, thorough
from torch import Tensor

import losskit
from losskit import LOSSES
from losskit.testing import BOX_LAWS, BoxSubject, audit

# about the formula: on every one of them, in both engines
FORMULA = ("error_budget", "identical_boxes", "total", "nan_stays")
# ... and where the CPU engine, which runs the same formula, has nothing of its own to add
ALIKE = ("disorder_costs", "back_to_order", "target_in_order", "moved_and_scaled", "mirrored_and_turned", "exchanged", "second_derivative")
# about the walk over boxes and the contract around it, which know no formula: a kernel takes a second to compile
WALK = (
    "textbook",
    "formats_agree",
    "reductions_agree",
    "incoming_gradient",
    "mask_deletes",
    "mask_beside_weights",
    "weighted_mean",
    "accumulation",
    "nothing_left",
    "inputs_unchanged",
    "half_precision",
    "layouts",
    "engines_agree",
    "autocast",
    "shapes_agree",
    "weights_finite",
)
CASES = [Case(loss, settings) for loss, settings in LOSSES.cases("boxes")]
GIOU = one("giou_loss")


@pytest.fixture
def subject(request: pytest.FixtureRequest) -> Iterator[BoxSubject]:
    case, engine, *rest = request.param
    with losskit.use_engine(engine) if engine else contextlib.nullcontext():
        yield BoxSubject(case.loss.function, case.loss, case.settings, rest[0] if rest else torch.float32, engine)


def check(laws: Iterable[str], subject: BoxSubject) -> None:
    require(laws, BOX_LAWS, subject)  # every law speaks of every one of them


def test_every_law_is_used() -> None:
    assert set(BOX_LAWS) == {*FORMULA, *ALIKE, *WALK, "deterministic", "transforms"}


FIRST = [case for case in CASES if case.settings is case.loss.arguments[0]]
OTHERS = [case for case in CASES if case not in FIRST]


@pytest.mark.parametrize(
    "subject", [*((case, "torch") for case in FIRST), *((case, "cpu") for case in FIRST), *thorough((case, "cpu") for case in OTHERS)], indirect=True
)
def test_formula(subject: BoxSubject) -> None:
    check(FORMULA, subject)


@pytest.mark.sparse(4)
@pytest.mark.parametrize("subject", [(case, "torch") for case in OTHERS], indirect=True)
def test_formula_of_other_settings(subject: BoxSubject) -> None:
    check(FORMULA, subject)


@pytest.mark.sparse(4)
@pytest.mark.parametrize("subject", [*((case, "torch") for case in FIRST), *thorough((case, "torch") for case in OTHERS)], indirect=True)
def test_alike(subject: BoxSubject) -> None:
    check(ALIKE, subject)


@pytest.mark.parametrize("subject", [(GIOU, "torch"), (GIOU, "cpu"), *thorough([(one("focal_eiou_loss"), "torch"), (one("nwd_loss"), "torch")])], indirect=True)
def test_walk(subject: BoxSubject) -> None:
    check(WALK, subject)


# the torch engine sums with torch.sum, whose last bit depends on the number of threads
@pytest.mark.parametrize("subject", [(GIOU, "cpu")], indirect=True)
def test_deterministic(subject: BoxSubject) -> None:
    check(["deterministic"], subject)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.func.jvp's own
@pytest.mark.parametrize("subject", [(GIOU, None), (one("ciou_loss", alpha_gradient=True), None)], indirect=True)
def test_transforms(subject: BoxSubject) -> None:
    check(["transforms"], subject)


# on the CPU what formulas call in float64 is the C library's: a square root and an exponential, an angle
WIDE = [(one(name), engine, torch.float64) for name in ("nwd_loss", "ciou_loss") for engine in ("torch", "cpu")]


@pytest.mark.parametrize("subject", [WIDE[0], *thorough(WIDE[1:])], indirect=True)
def test_float64(subject: BoxSubject) -> None:
    check(["error_budget"], subject)


def published(input: Tensor, target: Tensor, reduction: str = "none", eps: float = 1e-7) -> Tensor:
    """GIoU as torchvision's `generalized_box_iou_loss` computes it."""
    (x1, y1, x2, y2), (u1, v1, u2, v2) = (z.to(torch.promote_types(z.dtype, torch.float32)).unbind(-1) for z in (input, target))
    xk1, yk1, xk2, yk2 = torch.max(x1, u1), torch.max(y1, v1), torch.min(x2, u2), torch.min(y2, v2)
    both = torch.zeros_like(x1)
    meets = (yk2 > yk1) & (xk2 > xk1)
    both[meets] = (xk2[meets] - xk1[meets]) * (yk2[meets] - yk1[meets])
    union = (x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - both
    hull = (torch.max(x2, u2) - torch.min(x1, u1)) * (torch.max(y2, v2) - torch.min(y1, v1))
    loss = 1 - (both / (union + eps) - (hull - union) / (hull + eps))
    return {"none": lambda: loss, "mean": lambda: loss.mean() if loss.numel() else 0.0 * loss.sum(), "sum": loss.sum}[reduction]()


def careful(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """GIoU of one's own that holds: in float64 and in units of the enclosing box; a target in order, an input that is not at its middle, for a price."""
    if input.shape != target.shape or input.shape[-1] != 4:
        raise ValueError(f"got shapes {tuple(input.shape)} and {tuple(target.shape)}")
    a, b = (z.double().unflatten(-1, (2, 2)).unbind(-2) for z in (input, target))  # first and second corner
    wrong = (a[0] - a[1]).clamp(min=0)
    a = [torch.where(wrong > 0, (a[0] + a[1]) / 2, end) for end in a]
    b = torch.minimum(*b), torch.maximum(*b)
    inner = (torch.minimum(a[1], b[1]) - torch.maximum(a[0], b[0])).clamp(min=0)
    hull = torch.maximum(a[1], b[1]) - torch.minimum(a[0], b[0])
    hull = torch.where(hull <= 1e-37, torch.inf, hull)
    both, size, aim = ((side / hull).prod(-1) for side in (inner, a[1] - a[0], b[1] - b[0]))
    union = size + aim - both
    some = ~(union <= 1e-30)  # a NaN stays
    iou = torch.where(some, both / torch.where(some, union, 1.0), (input == target).all(-1).double())
    space = wrong + b[1] - b[0]
    price = (wrong / torch.where(space > 1e-37, space, torch.inf)).sum(-1)
    loss = (1 - iou + torch.where(hull.isfinite().all(-1), 1 - union, 0.0) + price).to(torch.promote_types(input.dtype, torch.float32))
    return loss if reduction == "none" else loss.sum() / (loss.numel() or 1 if reduction == "mean" else 1)


def told(function: Any, verdict: str) -> dict[str, str]:
    """The findings of an audit as GIoU: what they say, or the counterexample."""
    return {f.law: f.detail for f in audit(function, like="giou_loss", show=False).findings if f.verdict == verdict}


ABSENT = {"formats_agree", "mask_deletes", "mask_beside_weights", "weighted_mean", "weights_finite", "accumulation", "engines_agree"}


def test_a_peer_is_told_with_a_counterexample() -> None:
    wrong = told(published, "fails")
    assert set(wrong) == {
        *("error_budget", "identical_boxes", "moved_and_scaled"),  # an epsilon is large where boxes are small
        *("total", "disorder_costs", "back_to_order", "target_in_order"),  # corners out of order are rewarded
        *("transforms", "shapes_agree"),
    }
    assert set(told(published, "not offered")) == ABSENT
    assert (
        wrong["identical_boxes"].startswith("the loss of identical boxes: 0.000999")
        and "[0.0, 0.0, 0.009999999776482582, 0.009999999776482582]" in wrong["identical_boxes"]
    )
    assert wrong["total"].startswith("the loss: -")
    assert "value of boxes scaled by 9.53674e-07" in wrong["moved_and_scaled"]
    assert "a target of shape (1, 4) for an input of (5, 4) was accepted" in wrong["shapes_agree"]


def test_ones_own_loss_passes() -> None:
    assert told(careful, "fails") == {}
    assert set(told(careful, "not offered")) == ABSENT


def test_a_wrong_gradient_is_found() -> None:
    """The right value, and a target that is a constant to half of it."""

    def half(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
        return (careful(input, target, reduction) + careful(input, target.detach(), reduction)) / 2

    wrong = told(half, "fails")
    assert {"textbook", "error_budget", "exchanged"} <= set(wrong) and "gradient to the target" in wrong["textbook"]
