"""The interactive page: its losses with the settings that can be chosen, taken from the registry by watching the public functions run, and its files."""

import inspect
import itertools
import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import derived
import javascript
from losskit import LOSSES

HERE = Path(__file__).parent.parent / "touch"
FILES = tuple(sorted(path.name for path in HERE.iterdir() if path.suffix in (".html", ".css", ".js", ".svg") and path.name != "primitives.js"))


class Range(NamedTuple):
    """Numbers from `low` to `high`: a slider stops at both, at multiples of a step, and at those of `apart`; others are typed. Where a loss computes otherwise at
    a number (no gamma, a limit of a family) than beside it, that number stands in `apart`."""

    low: float
    high: float
    step: float
    apart: tuple[float, ...] = ()

    def stops(self) -> list[float]:
        """Where the slider stops."""
        steps = (round(i * self.step, 10) for i in range(math.floor(self.low / self.step), math.ceil(self.high / self.step) + 1))
        return sorted({self.low, self.high, *(v for v in steps if self.low < v < self.high), *self.apart})

    def tried(self) -> tuple[float, ...]:
        """A few numbers, none of which is set apart."""
        wanted = [self.low + share * (self.high - self.low) for share in (0.6180339, 0.27, 0.813)]
        return (*wanted, *(end for end in (self.low, self.high) if end not in self.apart))


Stops = Mapping[str, Range | Sequence[Any]]  # of each setting, numbers, or a list of values; one value: it is given, and not shown

UNIT = Range(0.05, 5.0, 0.05)
FRACTION = Range(0.0, 0.4, 0.01, (0.0,))
POWER = Range(0.0, 5.0, 0.1, (0.0, 2.0))
LOG = Range(-2.0, 2.0, 0.05)
SHARE = Range(0.05, 1.0, 0.05)
LARGER = Range(0.1, 20.0, 0.1)
SMOOTH: Stops = {"smooth": Range(0.0, 10.0, 0.1, (1e-5,)), "empty": ("smooth", "skip", "zero", "mass"), "power": (1, 2)}
MEANS: Stops = {"log_input": (False,)}  # the prediction is the mean itself, so that it can be compared with the target

BOXES: Mapping[str, Stops] = {
    "iou_loss": {"mode": ("linear", "square", "log")},
    "giou_loss": {},
    "diou_loss": {},
    "ciou_loss": {"alpha_gradient": (False, True)},
    "eiou_loss": {},
    "focal_eiou_loss": {"gamma": Range(0.0, 3.0, 0.05, (0.0,))},
    "siou_loss": {"theta": Range(1.0, 8.0, 0.1)},
    "alpha_iou_loss": {"power": Range(0.1, 6.0, 0.1)},
    "wiou_loss": {},
    "mpdiou_loss": {"image_size": ((48, 64),)},
    "nwd_loss": {"constant": Range(1.0, 64.0, 0.2)},
    "inner_iou_loss": {"ratio": Range(0.5, 1.5, 0.05)},
    "probiou_loss": {"mode": ("l1", "l2")},
}
MASKS: Mapping[str, Stops] = {
    "dice_loss": {"task": ("binary",), **SMOOTH},
    "jaccard_loss": {"task": ("binary",), **SMOOTH},
    "tversky_loss": {"task": ("binary",), "alpha": SHARE, "beta": SHARE, **SMOOTH},
    "focal_tversky_loss": {"task": ("binary",), "gamma": Range(0.25, 3.0, 0.05), **SMOOTH},
    "log_cosh_dice_loss": {"task": ("binary",), **SMOOTH},
    "mcc_loss": {"task": ("binary",), "smooth": SMOOTH["smooth"], "empty": SMOOTH["empty"]},
    "dice_ce_loss": {"task": ("binary",), **SMOOTH},
    "binary_cross_entropy_with_logits": {},
    "focal_loss": {"gamma": POWER, "alpha": (None, 0.25, 0.5, 0.75)},
    "boundary_loss": {"task": ("binary",)},
}
LOGITS: Mapping[str, Stops] = {
    "cross_entropy": {"label_smoothing": FRACTION},
    "focal_loss": {"task": ("multiclass",), "gamma": POWER, "label_smoothing": FRACTION},
    "poly_loss": {"epsilon": Range(-1.0, 4.0, 0.1)},
    "generalized_cross_entropy": {"q": Range(0.05, 1.0, 0.05)},
    "symmetric_cross_entropy": {"alpha": Range(0.05, 2.0, 0.05), "beta": Range(0.05, 2.0, 0.05)},
}
CALIBRATION: Mapping[str, Stops] = {"focal_loss": {"gamma": POWER, "alpha": (None, 0.25, 0.5, 0.75)}}
REGRESSION: Mapping[str, Stops] = {
    "huber_loss": {"delta": UNIT},
    "smooth_l1_loss": {"beta": UNIT._replace(low=0.0, apart=(0.0,))},
    "cauchy_loss": {"scale": UNIT},
    "geman_mcclure_loss": {"scale": UNIT},
    "welsch_loss": {"scale": UNIT},
    "charbonnier_loss": {"eps": UNIT._replace(low=0.001)},
    "barron_loss": {"alpha": Range(-4.0, 2.0, 0.05, (-float("inf"), -2.0, 0.0, 2.0)), "scale": UNIT},
    "balanced_l1_loss": {"alpha": Range(0.1, 1.0, 0.05), "gamma": Range(0.5, 3.0, 0.05), "beta": Range(0.1, 3.0, 0.05)},
    "quantile_loss": {"quantile": Range(0.01, 0.99, 0.01)},
    "wing_loss": {"omega": Range(0.1, 10.0, 0.1), "epsilon": Range(0.1, 3.0, 0.1)},
    "gaussian_nll_loss": {"log_var": LOG},
    "laplace_nll_loss": {"log_scale": LOG},
    "student_t_nll_loss": {"log_scale": LOG, "df": Range(0.5, 100.0, 0.5)},
    "beta_nll_loss": {"log_var": LOG, "beta": Range(0.0, 1.0, 0.05)},
    "kl_normal_loss": {"log_var": LOG, "target_log_var": LOG},
    "evidential_nll_loss": {"nu": LARGER, "alpha": LARGER._replace(low=0.5), "beta": LARGER, "coeff": Range(0.0, 2.0, 0.05, (0.0,))},
    "poisson_nll_loss": MEANS,
    "gamma_nll_loss": {"concentration": LARGER, **MEANS},
    "negative_binomial_nll_loss": {"total_count": LARGER, **MEANS},
    "tweedie_loss": {"power": Range(1.05, 1.95, 0.05), **MEANS},
}


def regression() -> dict[str, Stops]:
    """Every loss of regression that the registry has and that compares a number with a number."""
    return {loss.name: REGRESSION.get(loss.name, {}) for loss in LOSSES.of("elementwise").values() if loss.task == "regression"}


def double(values: Any) -> Tensor:
    """A tensor of float64."""
    return torch.tensor(values, dtype=torch.float64)


BOX = double([[0.0, 0.0, 2.0, 2.0]])
VIEWS: Mapping[str, tuple[Callable[[], Mapping[str, Stops]], tuple[Tensor, ...]]] = {
    "boxes": (lambda: BOXES, (BOX, BOX + 1.0)),
    "masks": (lambda: MASKS, (double([[2.0, -1.0]]), double([[1.0, 0.0]]))),
    "logits": (lambda: LOGITS, (double([[2.0, 0.0, 1.0, -1.0]]), torch.tensor([0]))),
    "residual": (regression, (double([5.0]), double([4.0]))),
    "calibration": (lambda: CALIBRATION, (double([1.0]), double([0.5]))),
}
INVITES = {
    "boxes": "drag two boxes",
    "masks": "paint two masks",
    "logits": "move the scores of four classes",
    "residual": "drag a residual, spoil a line",
    "calibration": "see what probability it reports",
}


def written(value: Any) -> str:
    """A setting as Python has it: 1.0 is 1.0, infinity is an expression that needs no import."""
    return f"float('{value}')" if isinstance(value, float) and value in (float("inf"), -float("inf")) else repr(value)


def first(name: str, setting: str, stops: Range | Sequence[Any]) -> Any:
    """What a setting is at first: the function's default, or the registry's example, where it is among the values; else the middle one."""
    loss = LOSSES[name]
    values = stops.stops() if isinstance(stops, Range) else stops
    for value in (inspect.signature(loss.function).parameters[setting].default, loss.arguments[0].get(setting)):
        if value in values or (isinstance(stops, Range) and isinstance(value, float) and stops.low <= value <= stops.high):
            return value
    return values[len(values) // 2]


ANY = "*"  # in the place of a number that no call is kept for


class Catalogue:
    """Calls of losses under each choice of settings, numbers left open. Calls alike but for their numbers share a shape, those with the same numbers a derivation."""

    def __init__(self) -> None:
        self.made = javascript.Formulas()
        self.shapes: list[str] = []
        self.derivations: list[str] = []

    def entry(self, name: str, stops: Stops, tensors: tuple[Tensor, ...]) -> dict[str, Any]:
        """One loss: its formula in words, settings, and calls by their values."""
        loss = LOSSES[name]
        constant = {"reduction": "none"} if "reduction" in loss.settings else {}
        calls = {}
        for values in itertools.product(*((ANY, *given.apart) if isinstance(given, Range) else given for given in stops.values())):
            chosen = dict(zip(stops, values, strict=True))
            free = {key: given.tried() for key, given in stops.items() if isinstance(given, Range) and chosen[key] is ANY}
            fixed = {key: value for key, value in chosen.items() if key not in free} | constant
            shape, derive = derived.derivation(loss.function, tensors, fixed, free, self.made.name)
            key = "|".join(ANY if value is ANY else written(value) for value in values)
            calls[key] = [place(self.shapes, json.dumps(shape, sort_keys=True)), place(self.derivations, derive)]
        return {"formula": loss.formula, "settings": [self.setting(name, key, given) for key, given in stops.items()], "calls": calls}

    def setting(self, name: str, key: str, given: Range | Sequence[Any]) -> dict[str, Any]:
        """What the page shows of a setting."""
        default = inspect.signature(LOSSES[name].function).parameters[key].default
        found = {
            "name": key,
            "stops": [written(v) for v in (given.stops() if isinstance(given, Range) else given)],
            "first": written(first(name, key, given)),
            "default": None if default is inspect.Parameter.empty else written(default),
        }
        return found | ({"low": given.low, "high": given.high, "apart": [written(v) for v in given.apart]} if isinstance(given, Range) else {})


def place(known: list[str], text: str) -> int:
    """Where a text stands in a list, which it joins."""
    if text not in known:
        known.append(text)
    return known.index(text)


def page_of(name: str) -> str:
    """The loss's own page, within a language's folder of the site."""
    return f"{LOSSES[name].function.__module__.split('.')[-2]}/{name}.html"


def addresses(name: str) -> dict[str, str]:
    """The views that show a loss, and what stands behind # in the address of each; a view of one loss need not be told which."""
    shown = {view: losses() for view, (losses, _) in VIEWS.items()}
    return {view: f"view={view}" + (f"&loss={name}" if len(losses) > 1 else "") for view, losses in shown.items() if name in losses}


def invitation(name: str) -> str:
    """A line for a loss's page of the site that leads to the views that show it; nothing where none does."""
    links = [f"[{INVITES[view]}](touch:{address})" for view, address in addresses(name).items()]
    return f"Touch it: {' · '.join(links)}" if links else ""


def formulas(languages: Sequence[str] = ()) -> str:
    """formulas.js: the formulas, and the catalogue of the page's losses; where it stands beside a site, in which languages that is, and its pages."""
    catalogue = Catalogue()
    views = {view: {name: catalogue.entry(name, stops, tensors) for name, stops in losses().items()} for view, (losses, tensors) in VIEWS.items()}
    shapes = ",\n".join(catalogue.shapes)
    derivations = ",\n".join(catalogue.derivations)
    more = f"root.losskit.shapes = [\n{shapes},\n];\n\nroot.losskit.derivations = [\n{derivations},\n];\n\nroot.losskit.catalogue = {json.dumps(views)};\n\n"
    listed = sorted({name for losses in views.values() for name in losses})
    more += f"root.losskit.site = {json.dumps({'languages': list(languages), 'pages': {name: page_of(name) for name in listed}})};"
    return javascript.script({name: f for f, name in catalogue.made.names.items()}, more)


def build(folder: Path, languages: Sequence[str] = ()) -> None:
    """The page in a folder, ready to be opened from disk; in a site, beside the folders of these languages, to whose pages it then leads."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(HERE / name, folder / name)
    (folder / "formulas.js").write_text(formulas(languages), "utf-8")
