"""Losses in configurations of frameworks, with the real packages: Hydra's `_target_`, LightningCLI's `class_path`, MMEngine's registry, MONAI's bundles."""

import warnings

import pytest
import torch

import losskit

X, T = torch.tensor([[2.0, 0.0, -1.0], [0.5, 1.0, 0.0]]), torch.tensor([0, 2])
WEIGHT = [0.5, 2.0, 1.0]
EXPECTED = losskit.CrossEntropyLoss(weight=WEIGHT, label_smoothing=0.1)
SUM = losskit.Sum(
    {
        "poly": (0.5, losskit.PolyLoss()),
        "ce": losskit.CrossEntropyLoss(reduction=losskit.TopK(0.5)),
        "focal": ((2.0, losskit.UncertaintyWeight(0.3)), losskit.FocalLoss(task="multiclass")),
    }
)


def described(target, settings):
    """The same sum in the form of a framework. YAML and JSON have no tuples."""

    def one(name, **given):
        return {target: f"losskit.{name}"} | ({settings: given} if settings else given)

    learned = one("UncertaintyWeight", log_variance=0.3)
    parts = {"poly": [0.5, one("PolyLoss")], "ce": one("CrossEntropyLoss", reduction=one("TopK", keep=0.5))}
    return one("Sum", losses=parts | {"focal": [[2.0, learned], one("FocalLoss", task="multiclass")]})


def same(found):
    assert repr(found) == repr(SUM) and torch.equal(found(X, T), SUM(X, T))


def test_hydra():
    hydra, omegaconf = pytest.importorskip("hydra.utils", reason="trainer"), pytest.importorskip("omegaconf", reason="trainer")
    config = omegaconf.OmegaConf.create("""
        _target_: losskit.CrossEntropyLoss
        weight: [0.5, 2.0, 1.0]
        label_smoothing: 0.1
    """)
    assert hydra.instantiate(config)(X, T) == EXPECTED(X, T)
    ours = omegaconf.OmegaConf.create({"loss": "ce", "settings": {"weight": WEIGHT, "label_smoothing": 0.1}})
    assert losskit.from_config(ours)(X, T) == EXPECTED(X, T)
    same(hydra.instantiate(omegaconf.OmegaConf.create(described("_target_", None))))
    with pytest.raises(Exception, match=r"'label_smoothin' \(did you mean label_smoothing=\?\)"):
        hydra.instantiate({"_target_": "losskit.CrossEntropyLoss", "label_smoothin": 0.1})


def test_lightning_command_line():
    """LightningCLI is jsonargparse: a parameter of a model that is a loss, by its class path."""
    jsonargparse = pytest.importorskip("jsonargparse", reason="trainer")

    class Model(torch.nn.Module):
        def __init__(self, loss: losskit.LossModule, width: int = 8) -> None:
            super().__init__()
            self.loss, self.width = loss, width

    parser = jsonargparse.ArgumentParser()
    parser.add_class_arguments(Model, "model")
    given = ["--model.loss=losskit.CrossEntropyLoss", "--model.loss.label_smoothing=0.1", "--model.loss.weight=[0.5, 2.0, 1.0]"]
    model = parser.instantiate(parser.parse_args(given)).model
    assert model.loss(X, T) == EXPECTED(X, T)
    config = {"model": {"loss": {"class_path": "losskit.FocalLoss", "init_args": {"gamma": 1.5}}}}
    assert parser.instantiate(parser.parse_object(config)).model.loss.gamma == 1.5


@pytest.fixture
def parsed():
    """A loss by its class path, as LightningCLI makes it."""
    jsonargparse = pytest.importorskip("jsonargparse", reason="trainer")

    class Model(torch.nn.Module):
        def __init__(self, loss: torch.nn.Module) -> None:
            super().__init__()
            self.loss = loss

    parser = jsonargparse.ArgumentParser()
    parser.add_class_arguments(Model, "model")
    return lambda loss: parser.instantiate(parser.parse_object({"model": {"loss": loss}})).model.loss


def test_sums_of_lightning(parsed):
    same(parsed(described("class_path", "init_args")))


@pytest.mark.parametrize("name", [loss.module for loss in losskit.LOSSES.values() if loss.pattern != "linear"])
def test_defaults_of_lightning(name, parsed):
    """It reads what is left out by the types of annotations, and takes the first that fits."""
    loss = next(loss for loss in losskit.LOSSES.values() if loss.module == name)
    needed = {key: loss.arguments[0][key] for key in loss.required if key in loss.arguments[0]} | ({"task": "binary"} if "task" in loss.required else {})
    assert repr(parsed({"class_path": f"losskit.{name}", "init_args": needed})) == repr(getattr(losskit, name)(**needed))


@pytest.mark.parametrize(
    "how",
    [{"keep": 0.5}, {"keep": 3}, {"keep": 1}, {"keep": 1.0}, {"threshold": 1}, {"threshold": 0.3, "min_kept": 0.25}, {"keep": 2, "min_kept": 1.0}],
    ids=str,
)
def test_shares_and_numbers_of_lightning(how, parsed):
    reduction = {"class_path": "losskit.TopK", "init_args": how}
    assert parsed({"class_path": "losskit.MSELoss", "init_args": {"reduction": reduction}}).reduction == losskit.TopK(**how)


def test_mmengine():
    registry = pytest.importorskip("mmengine.registry", reason="trainer")
    losses = registry.Registry("loss")
    losses.register_module(module=losskit.CrossEntropyLoss)
    assert losses.build({"type": "CrossEntropyLoss", "weight": WEIGHT, "label_smoothing": 0.1})(X, T) == EXPECTED(X, T)
    losses.register_module(name="losskit", module=losskit.from_config)
    same(losses.build({"type": "losskit", "config": SUM.to_config()}))


def test_monai_bundle():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bundle = pytest.importorskip("monai.bundle", reason="peer")
    parser = bundle.ConfigParser({"loss": {"_target_": "losskit.CrossEntropyLoss", "weight": WEIGHT, "label_smoothing": 0.1}})
    assert parser.get_parsed_content("loss")(X, T) == EXPECTED(X, T)
    same(bundle.ConfigParser({"loss": described("_target_", None)}).get_parsed_content("loss"))
