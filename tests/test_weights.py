"""Weights of classes may be tensors or anything that holds numbers in a row; functions and modules take the same."""

import inspect
from collections import UserList
from contextlib import nullcontext
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

import losskit
from losskit.contract.registry import LABELS
from losskit.testing import inputs

WEIGHTED = [
    (loss, name) for loss in losskit.LOSSES.values() for name, p in inspect.signature(loss.function).parameters.items()
    if name in loss.settings and Tensor in get_args(p.annotation) and name not in ("temperature", "label_smoothing")  # no number per class, see `test_row_operands.py`
    and name not in [operand.name for operand in loss.operands if operand.single] and loss.pattern != "linear"  # whose weights are those of `cross_entropy`
]  # fmt: skip
NUMBERS = [0.1, 2.0, 0.7]  # 0.1 and 0.7 are no numbers of float32


def batch(loss, dtype=torch.float32, name=None):
    """An input of three classes along axis 1, a target that fits, and the settings that make class weights possible."""
    torch.manual_seed(3)
    x = torch.randn(4, 3, 5, dtype=dtype)
    settings = {"task": "multilabel" if name == "gamma" else "multiclass"} if "task" in loss.settings else {}  # of classes, gamma is one per item
    if loss.name == "kl_normal_loss" and name != "log_var":  # without which there is no distribution
        settings["log_var"] = 0.5
    if name == "df":  # nor without a scale
        settings["log_scale"] = 0.5
    if loss.name == "evidential_nll_loss":  # nor without all of its parameters
        settings |= {other: 1.5 for other in ("nu", "alpha", "beta") if other != name}
    x = {"log-probability": lambda x: x.log_softmax(1), "probability": torch.sigmoid, "cosine": inputs.cosines}.get(loss.input, lambda x: x)(x)
    if loss.target == "label" or settings.get("task") == "multiclass":
        return x, torch.randint(0, 3, (4, 5)), settings
    return x, torch.rand(4, 3, 5), settings


@pytest.mark.sparse(3)
@pytest.mark.parametrize(("loss", "name"), WEIGHTED, ids=[f"{loss.name}-{name}" for loss, name in WEIGHTED])
def test_every_kind_of_list_is_the_tensor(loss, name):
    with chosen(loss):
        every_kind_of_list_is_the_tensor(loss, name)


def chosen(loss):
    """A list is read before an engine is chosen: but for one loss per pattern no loop is compiled."""
    return nullcontext() if loss.name in ("binary_cross_entropy_with_logits", "cross_entropy", "dice_loss") else losskit.use_engine("torch")


def every_kind_of_list_is_the_tensor(loss, name):
    labels = any(operand.name == name and operand.range == LABELS for operand in loss.operands)
    numbers = [1.0, -1.0, -1.0] if labels else NUMBERS
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        x, t, settings = batch(loss, dtype, name)
        real = torch.float64 if dtype is torch.float64 else torch.float32
        with losskit.use_engine("torch") if dtype is not torch.float32 else nullcontext():
            expected = loss.function(x, t, **settings, **{name: torch.tensor(numbers, dtype=real)})
            for given in (numbers, tuple(numbers), np.array(numbers), UserList(numbers)):
                assert torch.equal(loss.function(x, t, **settings, **{name: given}), expected), type(given)
    module = getattr(losskit, loss.module)
    x, t, settings = batch(loss, name=name)
    for given in (numbers, tuple(numbers), np.array(numbers, np.float32), UserList(numbers)):
        held = module(**settings, **{name: given})
        assert set(dict(held.named_buffers())) == {name}
        assert torch.equal(held(x, t), loss.function(x, t, **settings, **{name: numbers})), type(given)


@pytest.mark.parametrize(("loss", "name"), WEIGHTED, ids=[f"{loss.name}-{name}" for loss, name in WEIGHTED])
def test_what_holds_no_numbers_is_refused(loss, name):
    x, t, settings = batch(loss, name=name)
    for given, error in (("abc", TypeError), (["a", "b", "c"], ValueError), ([1.0, None, 2.0], ValueError), (object(), TypeError)):
        with pytest.raises(error, match=rf"{name} must be (a number, )?a tensor or a list of numbers, got {type(given).__name__}"):
            loss.function(x, t, **settings, **{name: given})
    with pytest.raises(ValueError, match=rf"{name} .*\(2,\)|{name} must hold"):
        loss.function(x, t, **settings, **{name: NUMBERS[:2]})
    given = {name: [1.0, float("nan"), 1.0]}
    if any(operand.predicted and operand.name == name for operand in loss.operands):  # a prediction that is NaN stays in its items, as one of the input does
        with chosen(loss):
            each = loss.function(x, t, **settings, **given, reduction="none")
        assert each[:, 1].isnan().all() and each[:, ::2].isfinite().all()
        return
    with pytest.raises(ValueError, match=f"{name} must be finite, got nan"):
        loss.function(x, t, **settings, **given)


def test_a_list_lands_beside_the_input_whatever_the_defaults_are():
    x, t = torch.randn(4, 3), torch.randint(0, 3, (4,))
    expected = losskit.cross_entropy(x, t, weight=torch.tensor(NUMBERS))
    with torch.device("meta"):
        assert torch.equal(losskit.cross_entropy(x, t, weight=NUMBERS), expected)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(losskit.cross_entropy(x, t, weight=NUMBERS), expected)
    finally:
        torch.set_default_dtype(default)


def test_lists_compile():
    x, t = torch.randn(4, 3), torch.randint(0, 3, (4,))
    compiled = torch.compile(lambda x, t: losskit.cross_entropy(x, t, weight=NUMBERS), fullgraph=True, backend="eager")
    assert torch.allclose(compiled(x, t), losskit.cross_entropy(x, t, weight=NUMBERS))
