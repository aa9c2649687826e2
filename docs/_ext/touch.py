"""The interactive page: its losses with the settings that can be chosen, taken from the registry by watching the public functions run, and its files."""

import inspect
import itertools
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import javascript
import passes
from losskit import LOSSES

HERE = Path(__file__).parent.parent / "touch"
FILES = tuple(sorted(path.name for path in HERE.iterdir() if path.suffix in (".html", ".css", ".js", ".svg") and path.name != "primitives.js"))
Stops = Mapping[str, Sequence[Any]]  # of each setting, the values that a slider or a list offers; one value: it is given, and not shown

UNITS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.35, 1.5, 2.0, 3.0, 5.0)
FRACTIONS = (0.0, 0.1, 0.2, 0.3, 0.4)
POWERS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0)
LOGS = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)
SMOOTH: Stops = {"smooth": (0.0, 1e-5, 0.1, 1.0, 10.0), "empty": ("smooth", "skip", "zero", "mass"), "power": (1, 2)}
SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)

BOXES: Mapping[str, Stops] = {
    "iou_loss": {"mode": ("linear", "square", "log")},
    "giou_loss": {},
    "diou_loss": {},
    "ciou_loss": {"alpha_gradient": (False, True)},
    "eiou_loss": {},
    "focal_eiou_loss": {"gamma": (0.0, 0.5, 1.0, 2.0)},
    "siou_loss": {"theta": (2.0, 4.0, 6.0)},
    "alpha_iou_loss": {"power": (0.5, 1.0, 2.0, 3.0, 5.0)},
    "wiou_loss": {},
    "mpdiou_loss": {"image_size": ((48, 64),)},
    "nwd_loss": {"constant": (4.0, 12.8, 32.0, 64.0)},
    "inner_iou_loss": {"ratio": (0.5, 0.75, 1.0, 1.25, 1.5)},
}
MASKS: Mapping[str, Stops] = {
    "dice_loss": {"task": ("binary",), **SMOOTH},
    "jaccard_loss": {"task": ("binary",), **SMOOTH},
    "tversky_loss": {"task": ("binary",), "alpha": SHARES, "beta": SHARES, **SMOOTH},
    "focal_tversky_loss": {"task": ("binary",), "gamma": (0.5, 0.75, 1.0, 1.5), **SMOOTH},
    "log_cosh_dice_loss": {"task": ("binary",), **SMOOTH},
    "mcc_loss": {"task": ("binary",), "smooth": (0.0, 1e-5, 0.1, 1.0, 10.0), "empty": ("smooth", "skip", "zero", "mass")},
    "dice_ce_loss": {"task": ("binary",), **SMOOTH},
    "binary_cross_entropy_with_logits": {},
    "focal_loss": {"gamma": POWERS, "alpha": (None, 0.25, 0.5, 0.75)},
    "boundary_loss": {"task": ("binary",)},
}
LOGITS: Mapping[str, Stops] = {
    "cross_entropy": {"label_smoothing": FRACTIONS},
    "focal_loss": {"task": ("multiclass",), "gamma": POWERS, "label_smoothing": FRACTIONS},
    "poly_loss": {"epsilon": (-1.0, 0.0, 1.0, 2.0, 4.0)},
    "generalized_cross_entropy": {"q": (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)},
    "symmetric_cross_entropy": {"alpha": (0.1, 0.5, 1.0), "beta": (0.1, 0.5, 1.0, 2.0)},
}
CALIBRATION: Mapping[str, Stops] = {"focal_loss": {"gamma": POWERS, "alpha": (None, 0.25, 0.5, 0.75)}}
REGRESSION: Mapping[str, Stops] = {
    "huber_loss": {"delta": UNITS},
    "smooth_l1_loss": {"beta": (0.0, *UNITS)},
    "cauchy_loss": {"scale": UNITS},
    "geman_mcclure_loss": {"scale": UNITS},
    "welsch_loss": {"scale": UNITS},
    "charbonnier_loss": {"eps": (1e-3, *UNITS)},
    "barron_loss": {"alpha": (-float("inf"), -4.0, -2.0, -1.0, 0.0, 0.5, 1.0, 1.5, 2.0), "scale": UNITS},
    "balanced_l1_loss": {"alpha": (0.2, 0.5, 1.0), "gamma": (0.75, 1.5, 3.0), "beta": (0.5, 1.0, 2.0)},
    "quantile_loss": {"quantile": (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)},
    "wing_loss": {"omega": (0.5, 1.0, 2.0, 5.0, 10.0), "epsilon": (0.2, 0.5, 1.0, 2.0)},
    "gaussian_nll_loss": {"log_var": LOGS},
    "laplace_nll_loss": {"log_scale": LOGS},
    "beta_nll_loss": {"log_var": LOGS, "beta": (0.0, 0.25, 0.5, 1.0)},
    "kl_normal_loss": {"log_var": LOGS, "target_log_var": LOGS},
}


def regression() -> dict[str, Stops]:
    """Every elementwise loss of regression that the registry has, but those whose input is a logarithm, which has no residual, or whose terms need log-gamma."""
    losses = (loss for loss in LOSSES.of("elementwise").values() if loss.task == "regression" and not {"log_input", "df", "nu"} & set(loss.settings))
    return {loss.name: REGRESSION.get(loss.name, {}) for loss in losses}


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


def written(value: Any) -> str:
    """A setting as Python has it: 1.0 is 1.0, infinity is an expression that needs no import."""
    return f"float('{value}')" if isinstance(value, float) and value in (float("inf"), -float("inf")) else repr(value)


def first(name: str, setting: str, stops: Sequence[Any]) -> Any:
    """What a setting is at first: the function's default, or the registry's example, where a stop stands for it."""
    loss = LOSSES[name]
    for value in (inspect.signature(loss.function).parameters[setting].default, loss.arguments[0].get(setting)):
        if value in stops:
            return value
    return stops[len(stops) // 2]


class Catalogue:
    """Calls of losses under each choice of settings. Calls alike but for their parameters share a shape."""

    def __init__(self) -> None:
        self.made = javascript.Formulas()
        self.shapes: list[str] = []

    def entry(self, name: str, stops: Stops, tensors: tuple[Tensor, ...]) -> dict[str, Any]:
        """One loss: its formula in words, settings, and calls by their values."""
        loss = LOSSES[name]
        calls = {}
        for values in itertools.product(*stops.values()):
            settings = dict(zip(stops, values, strict=True)) | ({"reduction": "none"} if "reduction" in loss.settings else {})
            seen = passes.passes_of(loss.function, *tensors, **settings)
            if len(seen) != 1:
                raise ValueError(f"{name}({settings}) makes {len(seen)} passes, the page runs one")
            calls["|".join(map(written, values))] = self.packed(seen[0])
        defaults = {key: inspect.signature(loss.function).parameters[key].default for key in stops}
        return {
            "formula": loss.formula,
            "settings": [
                {
                    "name": key,
                    "stops": [written(v) for v in values],
                    "first": written(first(name, key, values)),
                    "default": None if defaults[key] is inspect.Parameter.empty else written(defaults[key]),
                }
                for key, values in stops.items()
            ],
            "calls": calls,
        }

    def packed(self, one: passes.Pass) -> list[Any]:
        """A shape's number, the parameters, those of the sums, and operands besides input and target."""
        call = passes.described(one, self.made.name)
        params, how = call.pop("params"), dict(call.get("how", {}))
        of_sums = how.pop("params", [])
        shape = json.dumps(call | ({"how": how} if how else {}), sort_keys=True)
        if shape not in self.shapes:
            self.shapes.append(shape)
        return [self.shapes.index(shape), params, of_sums, [float(o) for o in one.operands[2:]]]


def page_of(name: str) -> str:
    """The loss's own page, within a language's folder of the site."""
    return f"{LOSSES[name].function.__module__.split('.')[-2]}/{name}.html"


def formulas(languages: Sequence[str] = ()) -> str:
    """formulas.js: the formulas, and the catalogue of the page's losses; where it stands beside a site, in which languages that is, and its pages."""
    catalogue = Catalogue()
    views = {view: {name: catalogue.entry(name, stops, tensors) for name, stops in losses().items()} for view, (losses, tensors) in VIEWS.items()}
    shapes = ",\n".join(catalogue.shapes)
    more = f"root.losskit.shapes = [\n{shapes},\n];\n\nroot.losskit.catalogue = {json.dumps(views)};\n\n"
    listed = sorted({name for losses in views.values() for name in losses})
    more += f"root.losskit.site = {json.dumps({'languages': list(languages), 'pages': {name: page_of(name) for name in listed}})};"
    return javascript.script({name: f for f, name in catalogue.made.names.items()}, more)


def build(folder: Path, languages: Sequence[str] = ()) -> None:
    """The page in a folder, ready to be opened from disk; in a site, beside the folders of these languages, to whose pages it then leads."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(HERE / name, folder / name)
    (folder / "formulas.js").write_text(formulas(languages), "utf-8")
