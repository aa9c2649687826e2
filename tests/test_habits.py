"""Arguments as torch and other libraries have them are met with what to write here; and what the message says to write works."""

import inspect
import re

import pytest
import torch
import torch.nn.functional as F

import losskit
from losskit.contract import habits
from losskit.contract.registry import TENSOR_ARGUMENTS
from losskit.testing.rows import is_rows

X, Y, T, BOXES = torch.randn(4, 3), torch.rand(4, 3), torch.tensor([0, 1, 2, 0]), torch.tensor([[0.0, 0.0, 1.0, 2.0], [1.0, 1.0, 2.0, 3.0]])
CALLS = [
    (lambda: losskit.mse_loss(X, Y, size_average=False), r"mse_loss\(\) has no argument 'size_average' \(torch, too, has replaced it: write reduction='sum'\)"),
    (lambda: losskit.mse_loss(X, Y, reduce=False), r"write reduction='none'\)"),
    (
        lambda: losskit.MSELoss(size_average=True),
        r"MSELoss has no argument 'size_average' \(torch, too, has replaced it: write reduction='mean'\); it takes: reduction",
    ),
    (lambda: losskit.mse_loss(X, Y, "sum"), r"write mse_loss\(input, target, reduction='sum'\)"),
    (lambda: losskit.cross_entropy(X, T, torch.ones(3)), r"write cross_entropy\(input, target, weight=\.\.\.\)"),
    (lambda: losskit.cross_entropy(X, T, None, None, 2), r"write cross_entropy\(input, target, ignore_index=2\)"),
    (lambda: losskit.huber_loss(X, Y, "none", 2.0), r"write huber_loss\(input, target, reduction='none', delta=2\.0\)"),
    (lambda: losskit.CrossEntropyLoss(torch.ones(3)), r"write CrossEntropyLoss\(weight=\.\.\.\)"),
    (lambda: losskit.mse_loss(X, Y, weight=torch.ones(4, 3)), r"'weight' \(here it is sample_weight=\)"),
    (lambda: losskit.MSELoss(weight=[1.0, 2.0]), r"'weight' \(here it is sample_weight=, give it when calling the module\)"),
    (lambda: losskit.MSELoss(mask=None), r"'mask' \(give it when calling the module\)"),
    (lambda: losskit.focal_loss(X, Y, gama=2.0), r"'gama' \(did you mean gamma=\?\)"),
    (lambda: losskit.FocalLoss(gama=2.0), r"'gama' \(did you mean gamma=\?\)"),
    (lambda: losskit.cross_entropy(X, T, label_smooth=0.1), r"did you mean label_smoothing=\?"),
    (lambda: losskit.dice_loss(X, T), r"dice_loss needs task=: one of 'binary', 'multiclass', 'multilabel'"),
    (lambda: losskit.nwd_loss(BOXES, BOXES), r"nwd_loss needs constant=: a scale of your data, for example constant="),
    (lambda: losskit.DiceLoss(include_background=False, task="binary"), r"'include_background' \(here it is background=\)"),
    (lambda: losskit.DiceLoss(to_onehot_y=True, softmax=True), r"'to_onehot_y' \(labels are taken as they are: leave it out\), 'softmax' \(inputs are logits"),
    (lambda: losskit.giou_loss(BOXES, BOXES, eps=1e-7), r"'eps' \(none is needed"),
    (lambda: losskit.FocalLoss(loss_weight=2.0), r"'loss_weight' \(multiply the loss by it\)"),
    (lambda: losskit.FocalLoss(avg_factor=2.0), r"'avg_factor' \(here it is normalizer=, give it when calling the module\)"),
    (lambda: losskit.mse_loss(X, Y, something=1), r"mse_loss\(\) has no argument 'something'; it takes: mask, sample_weight, normalizer, reduction"),
]
CALLS = [(call, TypeError, message) for call, message in CALLS] + [
    (lambda: losskit.mse_loss(X, Y, reduction="Mean"), ValueError, "did you mean 'mean'"),
    (lambda: losskit.mse_loss(X, Y, reduction="elementwise_mean"), ValueError, "did you mean 'mean'"),
    (lambda: losskit.mse_loss(X, Y, reduction=None), ValueError, "got None: did you mean 'none'"),
    (lambda: losskit.mse_loss(X, Y, reduction="x"), ValueError, "got 'x'$"),
    (lambda: losskit.focal_loss(X, T), ValueError, 'as class labels have beside scores of shape .4, 3., but task="binary"|try task="multiclass"'),
    (lambda: losskit.cross_entropy(T, X), TypeError, "if they are swapped, exchange them"),
]


@pytest.mark.parametrize(("call", "error", "message"), CALLS)
def test_habits_are_met(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert caught.value.__suppress_context__ or caught.value.__context__ is None  # one message, not two


@pytest.mark.parametrize("loss", losskit.LOSSES.values(), ids=lambda loss: loss.name)
def test_every_loss_says_what_it_takes(loss):
    """Of function and module: a name that no loss has, one setting with a slip, and tensors of a module's call."""
    module, tensors = getattr(losskit, loss.module), [torch.zeros(2, 2)] * len(loss.tensors)
    with pytest.raises(TypeError, match=rf"^{loss.name}\(\) has no argument 'anything'; it takes: .*(reduction|normalizer)"):
        loss.function(*tensors, anything=1)
    with pytest.raises(TypeError, match=rf"^{loss.module} has no argument 'anything'; it takes: {', '.join(loss.settings)}$"):
        module(anything=1)
    for name in loss.settings:
        slip = name[:-1] + "_" + name[-1]
        if len(name) > 4:
            with pytest.raises(TypeError, match=rf"'{slip}' \(did you mean {name}=\?\)"):
                loss.function(*tensors, **{slip: 1})
    for name in TENSOR_ARGUMENTS:
        if name in inspect.signature(loss.function).parameters:
            with pytest.raises(TypeError, match=f"'{name}' .give it when calling the module"):
                module(**{name: None})


@pytest.mark.parametrize("loss", [loss for loss in losskit.LOSSES.values() if loss.torch and hasattr(F, loss.torch)], ids=lambda loss: loss.name)
def test_torchs_order_is_known(loss):
    """torch's own positional call is answered with a call that runs, or with the list of names."""
    theirs = list(inspect.signature(getattr(F, loss.torch)).parameters)[len(loss.tensors) :]
    tensors = [torch.zeros(2, 2)] * len(loss.tensors)
    with pytest.raises(TypeError, match=rf"^{loss.name} takes its settings by name") as caught:
        loss.function(*tensors, *[None] * len(theirs[:-1]), "mean")
    assert re.search(r": write |, and has ", str(caught.value))


def test_an_error_inside_is_left_alone():
    """A TypeError of the loss is no misfit, and neither is one of somebody else's code below it."""
    with pytest.raises(TypeError, match="input must be a floating-point tensor"):
        losskit.mse_loss(T, T)
    assert habits.misfit(losskit.mse_loss, (X, Y), {}) is None and not is_rows(losskit.LOSSES["mse_loss"], {})


def test_advice_computes_nothing_that_shows():
    """It is tried before it is given: in nobody's memory, and for `engine_for` and under a forced engine all the same."""
    x = torch.randn(4, 3, requires_grad=True) * 1
    before, version = x.detach().clone(), x._version
    with pytest.raises(TypeError, match="takes its settings by name"):
        losskit.cross_entropy(x, T, torch.ones(3), inplace=True)
    assert torch.equal(x.detach(), before) and x._version == version
    with pytest.raises(TypeError, match="takes its settings by name"):
        losskit.engine_for(losskit.mse_loss, X, Y, "sum")
    with losskit.use_engine("triton"), pytest.raises(TypeError, match="takes its settings by name"):
        losskit.mse_loss(X, Y, "sum")


def test_advice_means_what_was_meant():
    """No argument of another meaning: a weight per item is no shape of a loss, and not every input is logits."""
    for loss, given, told in (
        ("barron_loss", {"weight": torch.ones(4, 3)}, "here it is sample_weight="),
        ("varifocal_loss", {"weight": torch.ones(4, 3)}, "here it is sample_weight="),
        ("cross_entropy", {"epsilon": 0.1}, "here it is label_smoothing="),
    ):
        with pytest.raises(TypeError, match=told):
            getattr(losskit, loss)(X, Y, **given)
    with pytest.raises(TypeError, match="'softmax'; it takes"):
        losskit.nll_loss(X, T, softmax=True)
