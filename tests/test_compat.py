"""`losskit.like`: our losses with another library's settings are that library's, value and gradient.

The numbers in `peer_records.py` were recorded from MONAI 1.6.1, segmentation_models.pytorch 0.6.0 and kornia 0.9.0 by this file, run as a program where
all three are installed: `python tests/test_compat.py`. So the comparison needs none of them; where one is installed, it is asked itself, too, on many more
batches. nnU-Net cannot be installed beside current versions of what it needs: its loss is written out here as its source has it (nnU-Net 2,
`MemoryEfficientSoftDiceLoss`, `DC_and_CE_loss` and `DC_and_BCE_loss`, with the settings its trainer gives them).
"""

import copy
import importlib.util
import pickle
import pprint
import sys
import types
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, get_args

import pytest
import torch
import torch.nn.functional as F
from claims import claim

import losskit
from losskit import LOSSES
from losskit.bench.sides import torchvision_focal
from losskit.compat import PRESETS, TASKS

CLOSE = 1e-5
PACKAGES = {"monai": "monai.losses", "smp": "segmentation_models_pytorch.losses", "kornia": "kornia.losses"}


class Variant(NamedTuple):
    """One loss of a library: what is set there, and what we set besides `like`."""

    library: str
    loss: str
    task: str
    theirs: Mapping[str, Any] = MappingProxyType({})
    ours: Mapping[str, Any] = MappingProxyType({})

    def __str__(self) -> str:
        return "-".join([self.library, self.loss, self.task, *(f"{k}={v}" for k, v in self.theirs.items())])


VARIANTS = [
    *(Variant("monai", "dice", task) for task in TASKS),
    Variant("monai", "dice", "multiclass", {"batch": True, "include_background": False}, {"over": "batch", "background": False}),
    Variant("monai", "dice", "multiclass", {"squared_pred": True, "ignore_index": 2}, {"power": 2, "ignore_index": 2}),
    *(Variant("monai", "jaccard", task) for task in TASKS),
    Variant("monai", "tversky", "multiclass", {"alpha": 0.3, "beta": 0.7}, {"alpha": 0.3, "beta": 0.7}),
    Variant("monai", "tversky", "multilabel"),
    *(Variant("monai", "generalized_dice", task) for task in TASKS),
    Variant("monai", "generalized_dice", "multiclass", {"w_type": "simple", "batch": True}, {"volume_weight": "simple", "over": "batch"}),
    *(Variant("monai", "generalized_dice", task, {"w_type": "uniform"}, {"volume_weight": "uniform"}) for task in TASKS),
    Variant("monai", "generalized_dice", "multiclass", {"w_type": "uniform", "include_background": False}, {"volume_weight": "uniform", "background": False}),
    Variant("monai", "dice_ce", "multiclass"),
    Variant("monai", "dice_ce", "multiclass", {"lambda_ce": 2.0, "include_background": False}, {"ce_weight": 2.0, "background": False}),
    Variant("monai", "dice_ce", "binary"),
    Variant("monai", "dice_focal", "binary", {"alpha": 0.25}, {"alpha": 0.25}),
    Variant("monai", "dice_focal", "multilabel", {"lambda_focal": 3.0, "gamma": 1.5}, {"focal_weight": 3.0, "gamma": 1.5}),
    *(Variant("smp", "dice", task) for task in TASKS),
    Variant("smp", "dice", "multiclass", {"ignore_index": 2, "smooth": 1.0}, {"ignore_index": 2, "smooth": 2.0}),
    *(Variant("smp", "jaccard", task) for task in TASKS),
    Variant("smp", "tversky", "multiclass", {"alpha": 0.3, "beta": 0.7}, {"alpha": 0.3, "beta": 0.7}),
    Variant("smp", "focal_tversky", "binary"),
    Variant("smp", "focal_tversky", "binary", {"gamma": 1.5, "alpha": 0.7, "beta": 0.3}, {"gamma": 1.5, "alpha": 0.7, "beta": 0.3}),
    Variant("smp", "lovasz", "binary"),
    Variant("smp", "lovasz", "multiclass"),
    Variant("kornia", "dice", "multiclass"),
    Variant("kornia", "dice", "multiclass", {"ignore_index": 2}, {"ignore_index": 2}),
    Variant("kornia", "dice", "multiclass", {"average": "macro"}, {"average": "nested", "empty": "skip"}),
    Variant("kornia", "tversky", "multiclass", {"alpha": 0.3, "beta": 0.7}, {"alpha": 0.3, "beta": 0.7}),
    Variant("kornia", "lovasz", "binary"),
    Variant("kornia", "lovasz", "multiclass"),
]


def batch(task, x, labels):
    """Logits (N, C, H, W) and class labels as input and target of a task; labels equal to 2 are a second question of their own in "multilabel"."""
    if task == "multiclass":
        return x, labels
    hot = F.one_hot(labels, x.shape[1]).movedim(-1, 1)
    return (x, hot) if task == "multilabel" else (x[:, 1:2], hot[:, 1:2])


def named_batches():
    """The two that are recorded: an ordinary one, and one whose first sample has one class and whose second is right and sure of it."""
    x = torch.tensor(
        [[[0.3, -1.2, 0.8, 2.1], [1.4, 0.2, -0.7, -0.4], [-0.9, 1.1, 0.5, 0.6]], [[-1.5, 0.7, 0.1, 1.9], [2.2, -0.3, 1.3, -2.0], [0.4, 0.9, -1.1, 0.2]]]
    ).reshape(2, 3, 2, 2)
    labels = torch.tensor([[0, 2, 1, 0], [1, 1, 2, 0]]).reshape(2, 2, 2)
    sure = torch.tensor([[0, 0, 0, 0], [0, 1, 1, 0]]).reshape(2, 2, 2)
    edge = torch.cat([x[:1], 40.0 * F.one_hot(sure[1:], 3).movedim(-1, 1) - 20.0])
    return {"ordinary": (x, labels), "edges": (edge, sure)}


def random_batches():
    """Many more: random ones; without some of the classes, in a sample or at all; sure and right, sure and wrong; one sample."""
    draw = torch.Generator().manual_seed(0)
    for n, classes in ((2, 4), (3, 3), (1, 5)):
        for scale in (0.3, 3.0, 30.0):
            x = scale * torch.randn(n, classes, 4, 5, generator=draw)
            labels = torch.randint(0, classes, (n, 4, 5), generator=draw)
            lacking = labels.clone()
            lacking[0] = labels[0] % 2
            yield from ((x, labels), (x, lacking), (x, labels * 0), (x, labels * 0 + 1))
            for found, truth in ((labels, labels), (lacking, (lacking + 1) % 2)):  # not all alike: whose error is the largest would be anyone's guess
                yield 40.0 * F.one_hot(found, classes).movedim(-1, 1) - 20.0 + torch.randn(x.shape, generator=draw), truth


def package(library):
    """The module with a library's losses, or a skipped test; torchvision's operators and segmentation_models' own models are not needed for them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torchvision_focal()
        name = PACKAGES[library].partition(".")[0]
        if library == "smp" and name not in sys.modules and (found := importlib.util.find_spec(name)) is not None:
            sys.modules[name] = bare = types.ModuleType(name)
            bare.__path__ = list(found.submodule_search_locations)
        return pytest.importorskip(PACKAGES[library], reason="peer")


def peer(variant):
    """The other library's loss, of our input and target."""
    losses, (library, loss, task, given, _) = package(variant.library), variant
    if library == "monai":
        names = {"dice": "DiceLoss", "jaccard": "DiceLoss", "tversky": "TverskyLoss", "generalized_dice": "GeneralizedDiceLoss"}
        names |= {"dice_ce": "DiceCELoss", "dice_focal": "DiceFocalLoss"}
        options = {"softmax": True, "to_onehot_y": True} if task == "multiclass" else {"sigmoid": True}
        module = getattr(losses, names[loss])(**options, **({"jaccard": True} if loss == "jaccard" else {}), **given)
        return lambda x, t: module(x, t[:, None] if task == "multiclass" else t.float())
    if library == "smp":
        names = {"dice": "DiceLoss", "jaccard": "JaccardLoss", "lovasz": "LovaszLoss"}
        module = getattr(losses, names.get(loss, "TverskyLoss"))(task, **given)
        return lambda x, t: module(x, t if task != "binary" or loss != "lovasz" else t.float())
    if loss == "lovasz":
        return (lambda x, t: losses.lovasz_hinge_loss(x, t[:, 0])) if task == "binary" else losses.lovasz_softmax_loss
    function = getattr(losses, f"{loss}_loss")
    return lambda x, t: function(x, t, **given)


def ours(variant):
    """Our loss with its settings."""
    function = losskit.LOSSES[f"{variant.loss}_loss"].function
    settings = losskit.like(variant.library, variant.loss, variant.task) | dict(variant.ours)
    return lambda x, t: function(x, t, **settings)


def value_and_gradient(loss, x, t):
    x = x.clone().requires_grad_()
    value = loss(x, t)
    return value.detach(), torch.autograd.grad(value, x)[0]


def require_same(loss, x, t, value, gradient):
    found = value_and_gradient(loss, x, t)
    torch.testing.assert_close(found[0], value, rtol=CLOSE, atol=CLOSE)
    torch.testing.assert_close(found[1], gradient, rtol=CLOSE, atol=CLOSE * gradient.abs().max().item() + 1e-8)  # theirs end where sigmoid(20) is 1
    assert found[1].isfinite().all()


@pytest.mark.sparse(2)
@pytest.mark.parametrize("engine", ["cpu", "torch"])
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_recorded(variant, engine):
    from peer_records import RECORDS

    with losskit.use_engine(engine):
        for name, (x, labels) in named_batches().items():
            value, gradient = RECORDS[str(variant)][name]
            x, t = batch(variant.task, x, labels)
            require_same(ours(variant), x, t, torch.tensor(value), torch.tensor(gradient).reshape(x.shape))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_the_library_itself(variant):
    theirs = peer(variant)
    for x, labels in random_batches():
        if "ignore_index" in variant.theirs and bool((labels == 2).flatten(1).all(1).any()):
            continue
        x, t = batch(variant.task, x, labels)
        with losskit.use_engine("torch"):
            require_same(ours(variant), x, t, *value_and_gradient(theirs, x, t))


def nnunet(task, over, dice_weight=1.0, ce_weight=0.0):
    """nnU-Net's loss: softmax and labels without background, or sigmoids of regions."""

    def loss(x, t):
        p, y = (torch.softmax(x, 1), F.one_hot(t, x.shape[1]).movedim(-1, 1)) if task == "multiclass" else (torch.sigmoid(x), t)
        if task == "multiclass":
            p, y = p[:, 1:], y[:, 1:]
        sums = [v.sum((2, 3)) for v in (p * y, p, y)]
        intersect, predicted, truth = (v.sum(0) for v in sums) if over == "batch" else sums
        dc = (2 * intersect + 1e-5) / torch.clip(truth + predicted + 1e-5, 1e-8)
        ce = F.cross_entropy(x, t) if task == "multiclass" else F.binary_cross_entropy_with_logits(x, t.float())
        return ce_weight * ce - dice_weight * dc.mean()

    return loss


@pytest.mark.parametrize("over", ["sample", "batch"])
@pytest.mark.parametrize("task", TASKS)
@claim("like", "nnU-Net's Dice is minus the coefficient")
@claim("like", "It trains labels without background")
def test_nnunet(task, over):
    for x, labels in (*named_batches().values(), *random_batches()):
        x, t = batch(task, x, labels)
        with losskit.use_engine("torch"):
            for name, more, weights in (("dice", {}, (1.0, 0.0)), ("dice_ce", {}, (1.0, 1.0)), ("dice_ce", {"dice_weight": 0.5, "ce_weight": 2.0}, (0.5, 2.0))):
                settings = losskit.like("nnunet", name, task) | {"over": over} | more
                value, gradient = value_and_gradient(nnunet(task, over, *weights), x, t)
                require_same(lambda x, t: losskit.LOSSES[f"{name}_loss"].function(x, t, **settings), x, t, value + weights[0], gradient)  # noqa: B023


def test_every_preset_is_compared():
    compared = {(v.library, v.loss) for v in VARIANTS} | {("nnunet", "dice"), ("nnunet", "dice_ce")}
    assert compared == {(library, loss) for library, losses in PRESETS.items() for loss in losses}
    for library, losses in PRESETS.items():
        for name, preset in losses.items():
            assert all(set(cases) == set(get_args(LOSSES[f"{name}_loss"].function.__annotations__[given])) for given, cases in preset.follows.items())
            assert f'"{name}"' in losskit.like.__doc__ and set(preset.settings) <= set(losskit.LOSSES[f"{name}_loss"].settings)
            assert bool(preset.otherwise) == (preset.tasks != TASKS), (library, name)


@claim("like", "What goes with a setting in that library follows it")
def test_what_goes_with_a_setting_follows_it():
    plain = losskit.like("monai", "generalized_dice", "binary")
    uniform = plain | {"volume_weight": "uniform"}
    assert uniform == {"smooth": 1e-5, "empty": "smooth", "task": "binary", "volume_weight": "uniform"} and plain["empty"] == "zero"
    assert (uniform | {"volume_weight": "simple"})["empty"] == "zero" and (uniform | {"over": "batch"})["empty"] == "smooth"
    assert (plain | {"volume_weight": "uniform", "empty": "mass"})["empty"] == "mass"
    plain |= {"volume_weight": "uniform"}
    assert plain == uniform == copy.deepcopy(uniform) == pickle.loads(pickle.dumps(uniform)) and repr(plain) == repr(dict(uniform))
    assigned, updated = (losskit.like("monai", "generalized_dice", "binary") for _ in range(2))
    assigned["volume_weight"] = "uniform"
    updated.update(volume_weight="uniform")
    assert assigned == updated == uniform
    assigned["empty"] = "mass"  # one's own choice, which copies keep
    for made in (assigned, copy.copy(assigned), copy.deepcopy(assigned), pickle.loads(pickle.dumps(assigned))):
        assert made["empty"] == "mass" and (made | {"volume_weight": "simple"})["empty"] == "zero"


def test_what_like_returns():
    assert losskit.like("monai") == losskit.like("monai", "dice_loss") == {"smooth": 1e-5}
    settings = losskit.like("nnunet", "dice_ce", "multiclass")
    assert settings == {"smooth": 1e-5, "background": False, "task": "multiclass"}
    settings["smooth"] = 2.0  # a dictionary of one's own
    assert losskit.like("nnunet", "dice_ce", "multilabel") == {"smooth": 1e-5, "task": "multilabel"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("keras",), "library must be one of 'monai', 'nnunet', 'smp', 'kornia'; got 'keras'"),
        (("kornia", "dice_ce"), "loss must be one of 'dice', 'tversky', 'lovasz'; got 'dice_ce'"),
        (("monai", "dice", "softmax"), "task must be one of"),
        (("monai", "dice_ce", "multilabel"), "even with sigmoid=True. There it is for 'binary', 'multiclass'"),
        (("monai", "dice_focal", "multiclass"), "focal loss of sigmoids"),
        (("smp", "focal_tversky", "multiclass"), "the mean over the classes"),
        (("kornia", "dice", "binary"), "softmax inside"),
    ],
)
def test_what_like_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        losskit.like(*arguments)


def record():
    """Writes peer_records.py."""
    found = {}
    for variant in VARIANTS:
        found[str(variant)] = {}
        for name, (x, labels) in named_batches().items():
            value, gradient = value_and_gradient(peer(variant), *batch(variant.task, x, labels))
            found[str(variant)][name] = (float(f"{value.item():.8g}"), [float(f"{g:.6g}") for g in gradient.flatten().tolist()])
    text = pprint.pformat(found, width=160, compact=True, sort_dicts=False)
    head = '"""Value and gradient of other libraries\' losses on the batches of `named_batches`; written by test_compat.py, see there."""\n\n# fmt: off\n'
    (Path(__file__).parent / "peer_records.py").write_text(f"{head}RECORDS = {text}\n")


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        record()
