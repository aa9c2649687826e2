"""The settings with which our overlap losses equal those of other libraries, so that you can switch without tuning again."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from losskit.contract import checks
from losskit.contract.overlap import Task

TASKS: tuple[Task, ...] = ("binary", "multiclass", "multilabel")


class Preset(NamedTuple):
    """One loss of a library in our terms: the tasks for which it is the same, and why not for others."""

    settings: Mapping[str, Any]
    tasks: tuple[Task, ...] = TASKS
    otherwise: str = ""
    follows: Mapping[str, Mapping[str, Mapping[str, Any]]] = {}  # of a setting and its value: other settings that go with it


class Settings(dict[str, Any]):
    """Settings of another library's loss. `|` and assignment add your own; those that go with one of them there follow it, unless you set them, too.

    `{**settings, ...}` is Python's own dictionary, in which nothing follows.
    """

    def __init__(self, given: Mapping[str, Any], follows: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
        super().__init__(given)
        self.follows = follows

    def __or__(self, other: Mapping[str, Any]) -> "Settings":  # type: ignore[override]
        result = Settings(self, self.follows)
        result.update(other)
        return result

    def __ior__(self, other: Mapping[str, Any]) -> "Settings":  # type: ignore[override]
        self.update(other)
        return self

    def __setitem__(self, name: str, value: Any) -> None:
        self.update({name: value})

    def update(self, *given: Any, **named: Any) -> None:
        """Sets several at once: a setting that is given overrides one that would follow."""
        other, found = dict(*given, **named), dict[str, Any]()
        for name, cases in self.follows.items():
            found |= cases.get(other[name], {}) if name in other else {}
        super().update(found | other)

    def __reduce__(self) -> Any:
        """Copies are made whole: set one after the other, what follows would overwrite what was chosen."""
        return Settings, (dict(self), self.follows)


MONAI = {"smooth": 1e-5}
NNUNET = {"smooth": 1e-5, "background": False}
SMP = {"smooth": 0.0, "over": "batch", "empty": "zero"}
# by volume, nothing in the target weighs nothing, and neither do false alarms; without, all weigh 1
NOTHING_THERE = {"square": {"empty": "zero"}, "simple": {"empty": "zero"}, "uniform": {"empty": "smooth"}}
KORNIA_ONLY: tuple[Task, ...] = ("multiclass",)
SOFTMAX_ONLY = "kornia takes the softmax inside, of class labels"
PRESETS: dict[str, dict[str, Preset]] = {
    "monai": {
        "dice": Preset(MONAI),
        "jaccard": Preset({"smooth": 0.5e-5}),
        "tversky": Preset(MONAI),
        "generalized_dice": Preset(MONAI | {"empty": "zero"}, follows={"volume_weight": NOTHING_THERE}),
        "dice_ce": Preset(
            MONAI, ("binary", "multiclass"), "MONAI's DiceCELoss takes the cross-entropy of a softmax over several channels even with sigmoid=True"
        ),
        "dice_focal": Preset(MONAI, ("binary", "multilabel"), "MONAI's DiceFocalLoss takes the focal loss of sigmoids even with softmax=True"),
    },
    "nnunet": {"dice": Preset(NNUNET), "dice_ce": Preset(NNUNET)},
    "smp": {
        "dice": Preset(SMP),
        "jaccard": Preset(SMP),
        "tversky": Preset(SMP),
        "focal_tversky": Preset(
            SMP | {"alpha": 0.5, "beta": 0.5, "gamma": 1.0},
            ("binary",),
            "segmentation_models_pytorch raises the mean over the classes to the power gamma, not each class",
        ),
        "lovasz": Preset({"over": "batch"}, ("binary", "multiclass"), "segmentation_models_pytorch sorts the errors of all channels as one"),
    },
    "kornia": {
        "dice": Preset({"smooth": (0.0, 1e-8), "average": "micro"}, KORNIA_ONLY, SOFTMAX_ONLY),
        "tversky": Preset({"smooth": (0.0, 1e-8), "average": "nested", "empty": "skip"}, KORNIA_ONLY, SOFTMAX_ONLY),
        "lovasz": Preset({"classes": "all"}, ("binary", "multiclass"), "kornia has a hinge of one channel and a softmax"),
    },
}


def like(library: str, loss: str = "dice", task: Task | None = None) -> Settings:
    """The settings that make a loss of ours that of another library, value and gradient, with that library's defaults.

    Checked against MONAI 1.6.1, segmentation_models.pytorch 0.6.0 and kornia 0.9.0 themselves, and against nnU-Net 2 as published. They are the libraries'
    defaults; what you set there, set here: `like("monai") | {"power": 2}` is `squared_pred=True`, `{"over": "batch"}` is `batch=True` (nnU-Net: `batch_dice`,
    which its plans choose), `{"background": False}` is `include_background=False`.

    Args:
        library: "monai", "nnunet", "smp" (segmentation_models.pytorch) or "kornia".
        loss: the name of our function without `_loss`:

            | loss | monai | nnunet | smp | kornia |
            |---|---|---|---|---|
            | "dice" | `DiceLoss` | `MemoryEfficientSoftDiceLoss` | `DiceLoss` | `DiceLoss` |
            | "jaccard" | `DiceLoss(jaccard=True)` | | `JaccardLoss` | |
            | "tversky" | `TverskyLoss` | | `TverskyLoss` | `TverskyLoss` |
            | "focal_tversky" | | | `TverskyLoss(gamma=...)`, "binary" | |
            | "generalized_dice" | `GeneralizedDiceLoss` | | | |
            | "dice_ce" | `DiceCELoss`, not "multilabel" | `DC_and_CE_loss`, `DC_and_BCE_loss` | | |
            | "dice_focal" | `DiceFocalLoss`, not "multiclass" | | | |
            | "lovasz" | | | `LovaszLoss`, not "multilabel" | `LovaszHingeLoss`, `LovaszSoftmaxLoss` |
        task: the task of the loss; then it is among the settings. Some libraries' losses are ours for some tasks only.

    Returns:
        A dictionary of keyword arguments. What goes with a setting in that library follows it through `|`, `update` and assignment, not through
        `{**settings, ...}`: `like("monai", "generalized_dice") | {"volume_weight": "uniform"}` has another `empty`.

    Raises:
        ValueError: `library`, `loss` or `task` is unknown, or that loss of that library is none of ours; the message says why.

    What differs, and cannot be set:
        nnU-Net's Dice is minus the coefficient: its loss is ours minus 1 (minus `dice_weight`); the gradient is the same. It trains labels without background,
        as here; regions (sigmoids), task="multilabel" or "binary", with all of them. With ignored items, its cross-entropy of regions divides by positions.
        Class weights: MONAI multiplies each class's Dice loss, and does not divide by the weights; for one channel it takes them as `pos_weight`.
        MONAI's `ignore_index` of "multilabel" is a class, whose positions are left out; ours is the number that marks what is left out. smp's `smooth` is half
        of ours in Dice.
        A sample of which every item is ignored is no sample here; in kornia its loss is 1, in nnU-Net and MONAI 0, and it is counted.
        Soft targets: smp's intersection is the sum of min(p, t), as is MONAI's `soft_label=True`; ours that of p t. Ours and MONAI's with power 2 agree.
        kornia's average="macro" is `{"average": "nested", "empty": "skip"}`. smp's log_loss and `classes` have no counterpart; gamma below 1 of a loss of 0 has
        gradient 0 here.

    Example:
        >>> import losskit
        >>> losskit.like("monai", "dice", "multiclass")
        {'smooth': 1e-05, 'task': 'multiclass'}
        >>> losskit.DiceLoss(**losskit.like("smp", task="binary"))
        DiceLoss(task='binary', smooth=0.0, power=1, from_logits=True, over='batch', average='macro', background=True, empty='zero', weight=None, \
ignore_index=-100, dim=1, process_group=None)
    """
    checks.one_of("library", library, list(PRESETS))
    known = PRESETS[library]
    checks.one_of("loss", loss.removesuffix("_loss"), list(known))
    preset = known[loss.removesuffix("_loss")]
    settings = Settings(preset.settings, preset.follows)
    if task is None:
        return settings
    checks.one_of("task", task, TASKS)
    if task not in preset.tasks:
        raise ValueError(
            f"{library!r} has no {loss!r} loss that is ours with task={task!r}: {preset.otherwise}. There it is for {', '.join(map(repr, preset.tasks))}"
        )
    if task != "multiclass":
        settings.pop("background", None)
    return settings | {"task": task}
