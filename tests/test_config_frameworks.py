"""Losses in configurations of frameworks, with the real packages: Hydra's `_target_`, LightningCLI's `class_path`, MMEngine's registry, MONAI's bundles."""

import warnings

import pytest
import torch

import losskit

X, T = torch.tensor([[2.0, 0.0, -1.0], [0.5, 1.0, 0.0]]), torch.tensor([0, 2])
WEIGHT = [0.5, 2.0, 1.0]
EXPECTED = losskit.CrossEntropyLoss(weight=WEIGHT, label_smoothing=0.1)


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


def test_mmengine():
    registry = pytest.importorskip("mmengine.registry", reason="trainer")
    losses = registry.Registry("loss")
    losses.register_module(module=losskit.CrossEntropyLoss)
    assert losses.build({"type": "CrossEntropyLoss", "weight": WEIGHT, "label_smoothing": 0.1})(X, T) == EXPECTED(X, T)


def test_monai_bundle():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bundle = pytest.importorskip("monai.bundle", reason="peer")
    parser = bundle.ConfigParser({"loss": {"_target_": "losskit.CrossEntropyLoss", "weight": WEIGHT, "label_smoothing": 0.1}})
    assert parser.get_parsed_content("loss")(X, T) == EXPECTED(X, T)
