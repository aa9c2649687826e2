"""The losses under test, out of the registry."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from losskit import LOSSES, Loss
from losskit.testing.boxes import BoxSubject, is_boxes
from losskit.testing.linear import LinearSubject
from losskit.testing.overlap import OverlapSubject
from losskit.testing.rows import RowSubject, is_rows
from losskit.testing.subject import NotOffered, Subject
from losskit.testing.vectors import subject_kind
from losskit.testing.windows import WindowSubject


class Case(NamedTuple):
    """A loss with one set of arguments."""

    loss: Loss
    settings: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.loss.name}({', '.join(f'{k}={v}' for k, v in self.settings.items())})"


def thorough(rows: Iterable[Any]) -> list[Any]:
    """Rows of a table that show nothing of a new kind: `make test` leaves them out, `make test-all` runs them."""
    return thorough_rows((row,) for row in rows)


def thorough_rows(rows: Iterable[tuple[Any, ...]]) -> list[Any]:
    """The same of a table of several columns."""
    return [pytest.param(*row, marks=pytest.mark.thorough) for row in rows]


def cases(chosen: Callable[[Loss, Mapping[str, Any]], bool] = lambda loss, settings: True) -> list[Case]:
    """Every elementwise loss with every set of arguments that the registry names, or those chosen."""
    return [Case(loss, settings) for loss in LOSSES.of("elementwise").values() for settings in loss.arguments if chosen(loss, settings)]


def one(name: str, **settings: Any) -> Case:
    """One loss with settings of its own; scales without a default as the registry's first example has them."""
    loss = LOSSES[name]
    return Case(loss, {name: loss.arguments[0][name] for name in loss.required if name in loss.arguments[0]} | settings)


def beside(loss: Loss, name: str) -> dict[str, Any]:
    """What must be given beside a setting that is a tensor, and what lets it have a gradient on ordinary numbers."""
    known = {
        "kl_normal_loss": {"log_var": 0.0},
        "evidential_nll_loss": {"nu": 1.0, "alpha": 2.0, "beta": 1.0},
        "student_t_nll_loss": {"log_scale": 0.0} if name == "df" else {},
        "margin_ranking_loss": {"margin": 9.0},
    }
    return {key: value for key, value in known.get(loss.name, {}).items() if key != name}


class Trained(Subject):
    """A loss seen through the one loop that a training step runs: a sum with every gradient. A loss per item is the sum of that item. So all laws of a formula ask
    one compiled loop, where calls of their own would need three.
    """

    def __call__(self, x: Tensor, t: Tensor, /, **extra: Any) -> Tensor:
        x, t = (z.detach().requires_grad_() if z.is_floating_point() and not z.requires_grad else z for z in (x, t))
        if extra.get("reduction") != "none":
            return super().__call__(x, t, **extra)
        shape = self.shape_of(x)
        sums = [super(Trained, self).__call__(a, b, **extra | {"reduction": "sum"}) for a, b in zip(x.reshape(-1, 1), t.reshape(-1, 1), strict=True)]
        return torch.stack(sums).reshape(shape)


CASES = cases()
ENGINES = ("cpu", "torch")
# each kernel costs the CPU engine a second or two to compile: laws about how tensors are walked need only a few formulas, which differ in what they
# read (the residual; logits; a parameter that varies by element) and in whether the sign of the input matters
FEW = [one("smooth_l1_loss", beta=0.5), one("focal_loss", alpha=0.25, gamma=2.0), one("binary_cross_entropy_with_logits", pos_weight=[3.0])]


def subjects_of(loss: Loss) -> list[Subject]:
    """A loss as it is shown, and from probabilities; of labels and of distributions."""
    shown = loss.arguments[0]
    chosen = [shown, *[a for a in loss.arguments[1:] if a.get("from_logits") is False][:1], *loss.rows[:1]]
    if is_boxes(loss):
        return [BoxSubject(loss.function, loss, shown)]
    if loss.pattern == "windows":
        return [WindowSubject(loss.function, loss, shown)]
    if loss.pattern == "linear":
        return [LinearSubject(loss.function, loss, shown)]
    if loss.pattern == "vectors":
        return [subject_kind(loss)(loss.function, loss, shown)]
    if loss.pattern in ("overlap", "ranked", "operations"):
        tasks = ("binary",) if loss.pattern == "operations" else ("binary", "multiclass")
        return [OverlapSubject(loss.function, loss, {**settings, "task": task}) for settings in chosen for task in tasks]
    rows = [RowSubject(loss.function, loss, settings) for settings in chosen if is_rows(loss, settings)]
    soft = [RowSubject(loss.function, loss, shown, soft=True)] if loss.name == "cross_entropy" else []
    return [*(Subject(loss.function, loss, settings) for settings in chosen if not is_rows(loss, settings)), *rows, *soft]


SUBJECTS = [s for loss in LOSSES.values() if loss.pattern != "linear" for s in subjects_of(loss)]  # a product is one of rows again: test_linear_laws.py


def named(s: Subject) -> str:
    """A test's name."""
    kind = getattr(s, "kind", "")
    return f"{s.loss.name}({', '.join(f'{k}={v}' for k, v in s.settings.items())}){f' {kind}' if kind else ''}"


def require(laws: Iterable[str], table: Mapping[str, Any], subject: Subject, cannot_apply: Iterable[str] = ()) -> None:
    """Laws hold of a loss. Some speak of what it does not have; that must be one of the things a loss of ours may lack, word for word."""
    for law in laws:
        try:
            table[law].law(subject)
        except NotOffered as missing:
            assert str(missing) in cannot_apply, f"{law}: {missing}"
        except Exception as error:
            raise AssertionError(f"{law}: {error}") from error
