"""Modules as plain data and by name; and what checkpoints may change of them."""

import json
import math
import warnings

import pytest
import torch
from test_configured import made, needed
from torch.nn import Parameter

import losskit
from losskit.binary import EITHER
from losskit.contract.config import class_of, from_config, modules

KINDS = [*losskit.LOSSES.values(), EITHER]
LOSSES = pytest.mark.parametrize("loss", KINDS, ids=lambda loss: loss.module)
TENSORS = {"weight": [0.5, 2.0, 1.0], "pos_weight": [1.0, 3.0, 0.1]}


def every(loss):
    """Modules of a loss with settings of each kind."""
    for settings in (*loss.arguments, *loss.rows):
        yield made(loss, settings)
    for name in TENSORS.keys() & loss.settings.keys():
        if loss.settings[name] is None and needed(loss).get("task") != "binary":
            for dtype in (torch.float32, torch.float64, torch.bfloat16):
                yield made(loss, {name: torch.tensor(TENSORS[name], dtype=dtype)})


@LOSSES
def test_a_configuration_gives_the_module_back(loss):
    """Through JSON, and with every setting in it."""
    for module in every(loss):
        config = json.loads(json.dumps(module.to_config(), allow_nan=False))
        assert list(config) == ["loss", "version", "settings"] and config["settings"].keys() == module.settings.keys()
        twin = from_config(config)
        assert type(twin) is type(module) and twin.to_config() == module.to_config()
        for name, value in module.settings.items():
            other = getattr(twin, name)
            if isinstance(value, torch.Tensor):
                assert other.dtype is value.dtype and torch.equal(other, value)
            else:
                assert list(other) == list(value) if isinstance(value, (list, tuple)) else other == value


def test_learned_parameters_are_parameters_again():
    module = losskit.BarronLoss(alpha=Parameter(torch.tensor(1.5)), scale=Parameter(torch.tensor([0.5, 2.0])), nll=True)
    twin = from_config(json.loads(json.dumps(module.to_config())))
    assert {name: p.tolist() for name, p in twin.named_parameters()} == {"alpha": 1.5, "scale": [0.5, 2.0]}
    fixed = from_config(losskit.BarronLoss(alpha=torch.tensor(1.5)).to_config())
    assert not list(fixed.parameters()) and fixed.alpha.shape == ()


def test_a_module_that_owns_its_head():
    config = losskit.LinearCrossEntropyLoss(4, 3, bias=True, z_loss=0.1).to_config()
    assert {name: config["settings"][name] for name in ("in_features", "num_classes", "bias", "z_loss")} == {
        "in_features": 4,
        "num_classes": 3,
        "bias": True,
        "z_loss": 0.1,
    }
    assert repr(from_config(config)) == repr(losskit.LinearCrossEntropyLoss(4, 3, bias=True, z_loss=0.1))
    assert from_config(losskit.LinearCrossEntropyLoss().to_config()).linear is None


def test_the_loss_with_state():
    module = losskit.WIoUv3Loss(alpha=2, momentum=0.5)
    module(torch.tensor([[0.0, 0.0, 2.0, 1.0]]), torch.tensor([[0.0, 0.0, 1.0, 1.0]]))
    twin = from_config(module.to_config())
    assert repr(twin) == repr(module) and twin.mean == 1 and set(twin.state_dict()) == {"mean"}
    twin.load_state_dict(module.state_dict())
    assert twin.mean == module.mean != 1


def test_every_name_makes_its_module():
    for loss in KINDS:
        for name in (loss.module, *([loss.name, f"losskit.{loss.name}", loss.module.lower()] if loss is not EITHER else [])):
            assert type(losskit.create(name, **needed(loss))).__name__ == loss.module
    short = {
        "focal": "FocalLoss",
        "ce": "CrossEntropyLoss",
        "dice": "DiceLoss",
        "GIoU": "GIoULoss",
        "kl": "KLDivergence",
        "kl_div": "KLDivergence",
        "l1": "L1Loss",
        "wiou_v3": "WIoUv3Loss",
    }
    for name, module in short.items():
        assert class_of(name, "loss").__name__ == module, name


def test_a_short_name_is_of_one_loss():
    assert [name for name, meant in modules()[1].items() if len(meant) > 1] == ["binarycrossentropy"]
    with pytest.raises(ValueError, match="loss='BinaryCrossEntropy' is short for BCELoss and BinaryCrossEntropyLoss: say which"):
        losskit.create("BinaryCrossEntropy")


def halved(step):
    return 0.5**step


COMPOSED = {
    "arithmetic": lambda: 0.5 * losskit.DiceLoss(task="multiclass", weight=[0.5, 1.0, 2.0]) + losskit.CrossEntropyLoss(reduction=losskit.TopK(0.5, min_kept=2)),
    "nested": lambda: losskit.Sum(
        {"both": (2.0, losskit.Sum({"dice": losskit.DiceLoss(task="multiclass"), "ce": (0.1, losskit.CrossEntropyLoss())})), "ce": losskit.CrossEntropyLoss()}
    ),
    "learned": lambda: losskit.Sum(
        {"dice": (losskit.UncertaintyWeight(0.5, "softmax"), losskit.DiceLoss(task="multiclass")), "ce": losskit.CrossEntropyLoss()}
    ),
    "deep": lambda: losskit.DeepSupervision(0.3 * losskit.DiceLoss(task="multiclass") + losskit.CrossEntropyLoss(), weights=[1.0, 0.5]),
    "heads": lambda: losskit.PerHead({"kind": losskit.CrossEntropyLoss(), "size": (0.1, losskit.L1Loss())}),
    "names": lambda: losskit.Sum({"loss": losskit.MSELoss(), "TopK": (0.5, losskit.L1Loss())}),
    "hardest": lambda: losskit.FocalLoss(reduction=losskit.TopK(threshold=0.7, keep=100, per="sample", reduction="sum")),
}


@pytest.mark.parametrize("name", COMPOSED)
def test_losses_made_of_losses(name):
    module = COMPOSED[name]()
    config = json.loads(json.dumps(module.to_config(), allow_nan=False))
    twin = from_config(config)
    assert repr(twin) == repr(module) and twin.to_config() == config and twin.state_dict().keys() == module.state_dict().keys()
    if name not in ("deep", "heads", "hardest", "names"):
        x, t = torch.randn(2, 3, 4), torch.randint(0, 3, (2, 4))
        assert torch.equal(twin(x, t), module(x, t)) and twin.parts.keys() == module.parts.keys()


def test_functions_cannot_be_written():
    scheduled, restricted = halved * losskit.L1Loss(), losskit.Sum({"l1": losskit.L1Loss()}, where={"l1": lambda x, t: t > 0})
    for loss, told in (
        (scheduled, "the weight in losses of 'l1'"),
        (restricted, "where of 'l1'"),
        (losskit.Sum({"own": torch.nn.MSELoss()}), "MSELoss is no loss of losskit"),
    ):
        with pytest.raises(TypeError, match=told):
            loss.to_config()
    written_by_hand = {
        "loss": "Sum",
        "settings": {"losses": {"dice": {"weight": 0.5, "loss": "dice", "settings": {"task": "binary"}}, "bce": {"loss": "BCEWithLogitsLoss"}}},
    }
    assert repr(from_config(written_by_hand)) == repr(losskit.Sum({"dice": (0.5, losskit.DiceLoss(task="binary")), "bce": losskit.BCEWithLogitsLoss()}))
    with pytest.raises(ValueError, match="has 'gama', which FocalLoss has not"):
        from_config({"loss": "Sum", "settings": {"losses": {"f": {"loss": "focal", "settings": {"gama": 1}}}}})


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ("focal", TypeError, "config must be a mapping, got str: 'focal'"),
        ({}, ValueError, "config has no loss"),
        ({"loss": "focall"}, ValueError, r"config\[\"loss\"\] must be the name of a loss, got 'focall': did you mean"),
        ({"loss": 3}, TypeError, r"config\[\"loss\"\] must be the name of a loss, got int: 3"),
        ({"loss": "focal", "gamma": 1.0}, ValueError, "unknown key 'gamma': 'gamma' is a setting, which stands in"),
        ({"loss": "focal", "setings": {}}, ValueError, "unknown key 'setings': did you mean 'settings'"),
        ({"loss": "focal", "settings": {"gama": 1.0}}, ValueError, "has 'gama', which FocalLoss has not: did you mean 'gamma'"),
        ({"loss": "focal", "settings": [1.0]}, TypeError, "must be a mapping, got list"),
        ({"loss": "focal", "settings": {"gamma": "2"}}, TypeError, "gamma must be a number, a tensor or a list of numbers, got str"),
        ({"loss": "focal", "settings": {"gamma": True}}, TypeError, "gamma must be a number"),
        ({"loss": "focal", "settings": {"reduction": "avg"}}, ValueError, "reduction must be one of"),
        ({"loss": "ce", "settings": {"weight": {"value": [1.0]}}}, ValueError, "weight is a mapping, and so a tensor"),
        ({"loss": "ce", "settings": {"weight": {"values": [1.0, 2.0], "dtype": "double64"}}}, ValueError, "weight has the dtype 'double64'"),
        ({"loss": "ce", "settings": {"weight": {"values": [[1.0], [1.0, 2.0]]}}}, ValueError, "weight must hold numbers, in lists of one length"),
        ({"loss": "ce", "settings": {"weight": {"values": [1.0, 2.0], "learned": "yes"}}}, TypeError, "weight: learned must be true or false"),
        ({"loss": "ce", "settings": {"weight": [1.0, "many"]}}, ValueError, "weight must be a tensor or a list of numbers"),
        ({"loss": "ce", "settings": {"reduction": {"TopK": {"kep": 0.5}}}}, ValueError, "reduction has 'kep', which TopK has not: did you mean 'keep'"),
        ({"loss": "Sum", "settings": {"losses": {"a": {"weight": 2.0}}}}, ValueError, "losses has a part 'a' that is no loss"),
        ({"loss": "Sum", "settings": {"losses": {"a": "l1"}}}, ValueError, "losses has a part 'a' that is no loss"),
        (
            {"loss": "Sum", "settings": {"losses": {"a": {"loss": "l1", "weight": {"UncertaintyWeight": {"variance": 1.0}}}}}},
            ValueError,
            "weight has 'variance', which UncertaintyWeight has not: did you mean 'log_variance'",
        ),
        ({"loss": "ce", "version": 2}, ValueError, "is 2, and this losskit reads versions up to 1: upgrade losskit"),
        ({"loss": "ce", "version": 0}, ValueError, "write 1, or leave it out"),
        ({"loss": "ce", "version": "1"}, TypeError, "must be a whole number, got str"),
    ],
)
def test_bad_configurations(config, error, message):
    with pytest.raises(error, match=message):
        from_config(config)


def test_what_cannot_be_written():
    module = losskit.CrossEntropyLoss(weight=[1.0, 2.0]).to("meta")
    with pytest.raises(ValueError, match="weight is a tensor on meta"):
        module.to_config()
    assert from_config({"loss": "barron", "settings": {"alpha": "-inf"}}).alpha == -math.inf


@LOSSES
def test_settings_of_a_checkpoint_change_nothing(loss):
    """They are no state; a checkpoint that has them, as torch's losses write them, is loaded, and says so where it differs."""
    for module in every(loss):
        held = dict(module.named_buffers())
        assert not module.state_dict() and torch.nn.Sequential(module).load_state_dict({}) is not None
        for name, value in held.items():
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                torch.nn.Sequential(module).load_state_dict({f"0.{name}": value.clone()})
            given = {f"0.{name}": value + 1}
            with pytest.warns(UserWarning, match=f"the checkpoint has 0.{name}=.* a setting of {loss.module}, where the code has"):
                torch.nn.Sequential(module).load_state_dict(given)
            assert torch.equal(getattr(module, name), value) and set(given) == {f"0.{name}"}


def test_a_parameter_is_state():
    learned, fixed = losskit.BarronLoss(alpha=Parameter(torch.tensor(1.5)), nll=True), losskit.BarronLoss(alpha=0.5, nll=True)
    other = losskit.BarronLoss(alpha=Parameter(torch.tensor(0.1)), nll=True)
    other.load_state_dict(learned.state_dict())
    assert other.alpha == 1.5
    with pytest.warns(UserWarning, match="the checkpoint has alpha=1.5, a setting of BarronLoss, where the code has 0.5, which stays"):
        fixed.load_state_dict(learned.state_dict())
    assert fixed.alpha == 0.5


def test_numbers_are_there_again_where_meta_gets_memory():
    """As deferred initialisation makes models: no checkpoint has them."""
    module = losskit.CrossEntropyLoss(weight=[0.2, 1.0, 3.0]).to("meta").to_empty(device="cpu")
    assert module.weight.tolist() == losskit.CrossEntropyLoss(weight=[0.2, 1.0, 3.0]).weight.tolist()
    module.weight.mul_(2.0)  # the numbers that were there last
    assert module.to("meta").to_empty(device="cpu").weight.tolist() == [0.4000000059604645, 2.0, 6.0]
    module.to("meta").weight = torch.empty(4, device="meta")  # and not those of another weight
    assert module.to_empty(device="cpu").weight.shape == (4,)
    module = losskit.CrossEntropyLoss(weight=[0.2, 1.0, 3.0])
    without = losskit.CrossEntropyLoss(weight=torch.empty(3, device="meta"))
    without.load_state_dict({"weight": torch.tensor([0.2, 1.0, 3.0])})
    assert without.weight.tolist() == module.weight.tolist()


def test_modules_of_earlier_versions_and_hooks_that_rename():
    module = losskit.CrossEntropyLoss(weight=[0.2, 1.0, 3.0])
    state = module.__getstate__() if hasattr(module, "__getstate__") else module.__dict__
    old = losskit.CrossEntropyLoss.__new__(losskit.CrossEntropyLoss)
    old.__setstate__({key: value for key, value in dict(state).items() if key != "_numbers"} | {"_non_persistent_buffers_set": set()})
    assert not old.state_dict() and old.load_state_dict({"weight": module.weight}) and old.half().weight.dtype is torch.float16
    whole = torch.nn.Sequential(module)
    whole.register_load_state_dict_pre_hook(lambda m, state, *rest: state.update({"0.weight": state.pop("0.old")}))
    whole.load_state_dict({"0.old": module.weight.clone()})
    half = losskit.CrossEntropyLoss(weight=[0.1, 0.2]).bfloat16()
    half.load_state_dict({"weight": torch.tensor([0.1, 0.2])})  # equal in its own dtype


def test_frozen_parameters_heads_and_dtypes_come_back():
    frozen = from_config(losskit.BarronLoss(alpha=Parameter(torch.tensor(1.0), requires_grad=False)).to_config())
    assert [p.requires_grad for p in frozen.parameters()] == [False]
    head = from_config(json.loads(json.dumps(losskit.LinearCrossEntropyLoss(4, 3, dtype=torch.float64).to_config())))
    assert head.linear.weight.dtype is torch.float64
    with pytest.raises(TypeError, match="TopK in reduction must be a mapping of its settings, got NoneType"):
        from_config({"loss": "l1", "settings": {"reduction": {"TopK": None}}})
    with pytest.raises(ValueError, match=r"weight is learned, and so of a floating-point dtype, got torch\.int64"):
        from_config({"loss": "ce", "settings": {"weight": {"values": [1, 2], "dtype": "int64", "learned": True}}})
