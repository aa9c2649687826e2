"""Bad input to losses of overlap: each error's type and message names the argument and shows the fix; nothing is changed."""

import math
from typing import Any

import pytest
import torch

import losskit
from losskit import LOSSES

NAN = math.nan
X, T = torch.linspace(-2, 2, 24).reshape(2, 3, 4), torch.tensor([[0, 1, 2, 0], [1, 1, 2, 0]])
P, HOT = X.softmax(1), torch.nn.functional.one_hot(T, 3).movedim(-1, 1).float()
B, BT = X[:, 0], HOT[:, 0]
MANY, ONE, ALL = {"task": "multiclass"}, {"task": "binary"}, {"task": "multilabel"}
dice = losskit.dice_loss

BAD: list[tuple[Any, tuple[Any, Any], dict[str, Any], type[Exception], str]] = [
    # the task
    (dice, (X, T), {}, TypeError, "dice_loss needs task=: one of 'binary', 'multiclass', 'multilabel'"),
    (dice, (X, T), {"task": "multi"}, ValueError, "task must be one of 'binary', 'multiclass', 'multilabel'; got 'multi'"),
    (dice, (X[:, :1], T * 0), MANY, ValueError, r'has one class .* a softmax over one class is 1 everywhere. .* try input.squeeze\(1\) and task="binary"'),
    (dice, (X[:, :2], T), ONE, ValueError, r'"binary" takes one score per position, but .* 2 channels .* try task="multiclass", or input.select\(1, 1\) - input.select\(1, 0\)'),
    (dice, (X, T), ALL, ValueError, r'task="multilabel" needs a number for each class, but target has shape \(2, 4\).* for class labels, try task="multiclass"'),
    (dice, (B, BT), {**ONE, "background": False}, ValueError, "background=False leaves out class 0 .* with task='binary' no channel is the background"),
    (dice, (X, HOT), {**ALL, "background": False}, ValueError, "leave background out"),
    # shapes
    (dice, (X, T[:1]), MANY, ValueError, r"target has shape \(1, 4\), but labels for an input of shape \(2, 3, 4\) with its 3 classes along dim=1 have shape \(2, 4\)"),
    (dice, (X, T[:, None]), MANY, ValueError, r"Try target.squeeze\(1\)"),
    (dice, (X.movedim(1, 2), T), MANY, ValueError, "Try dim=2, if the classes are there"),
    (dice, (B, BT[:1]), ONE, ValueError, r"target has shape \(1, 4\) but input has shape \(2, 4\).*nothing is broadcast. Try target.expand_as\(input\)"),
    (dice, (X[0, 0, 0], T[0, 0]), MANY, ValueError, r"input has no samples: expected \(N, C, ...\), or \(N, ...\) with task='binary'"),
    (dice, (X[0, :, 0], T[0, 0]), MANY, ValueError, r"samples along axis 0 and classes along dim, got shape \(3,\) and dim=1: try input\[None\]"),
    (dice, (X, T), {**MANY, "dim": 0}, ValueError, r"got shape \(2, 3, 4\) and dim=0"),
    (dice, (X, T), {**MANY, "dim": 5}, ValueError, r"dim must be an axis of the input's shape \(2, 3, 4\), got 5"),
    (dice, (X, T), {**MANY, "dim": 1.0}, TypeError, "dim must be an integer, got float: 1.0"),
    (dice, (X[:, :0], HOT[:, :0]), ALL, ValueError, "input has no classes"),
    # not tensors, wrong dtypes
    (dice, ([[1.0]], BT), ONE, TypeError, r"input must be a torch.Tensor, got list: try torch.as_tensor\(input\)"),
    (dice, ([[1.0]], BT), {**ONE, "weight": torch.ones(1)}, TypeError, "input must be a torch.Tensor, got list"),
    (dice, ([[1.0]], BT), {**MANY, "weight": torch.ones(1)}, TypeError, "input must be a torch.Tensor, got list"),
    (dice, (X, [1]), MANY, TypeError, r"target must be a torch.Tensor, got list: try torch.as_tensor\(target, device=input.device\)"),
    (dice, (X.long(), T), MANY, TypeError, r"input must be a floating-point tensor, got torch.int64: try input.float\(\)"),
    (dice, (X, T.float()), MANY, TypeError, r"target must be class labels of an integer dtype, got torch.float32: try target.long\(\)"),
    (dice, (X, HOT.to(torch.complex64)), ALL, TypeError, "target must be a real tensor, got torch.complex64"),
    (dice, (B.to_sparse(), BT), ONE, TypeError, r"input must be a dense tensor, got layout torch.sparse_coo: try input.to_dense\(\)"),
    # values
    (dice, (X, T + 1), MANY, ValueError, r"target must hold labels from 0 to 2 \(the input has 3 classes\) or ignore_index=-100, got 3 at index \(0, 2\)"),
    (dice, (X, torch.where(T == 1, 255, T)), MANY, ValueError, "If 255 marks items to leave out, pass ignore_index=255"),
    (dice, (B, BT * 2), ONE, ValueError, r"target must lie in \[0, 1\] .* got 2.0 at index .*: targets are probabilities or 0/1 labels"),
    (dice, (B, torch.full((2, 4), 156, dtype=torch.uint8)), ONE, ValueError, r"target must lie in \[0, 1\] .* got 156"),  # no -100 in disguise
    (dice, (B, torch.full((2, 4), -1, dtype=torch.int8)), {**ONE, "ignore_index": 255}, ValueError, "got -1 at index"),
    (dice, (X, -HOT), ALL, ValueError, r"target must lie in \[0, 1\] .* got -1.0"),
    (dice, (X, P * 3), MANY, ValueError, r"target must lie in \[0, 1\]"),
    (dice, (X, T), {**MANY, "from_logits": False}, ValueError, r"input must lie in \[0, 1\] .* got -2.0 at index \(0, 0, 0\): for logits, leave from_logits=True"),
    # how it is summed up
    (dice, (X, T), {**MANY, "over": "batches"}, ValueError, "over must be one of 'sample', 'batch'; got 'batches'"),
    (dice, (X, T), {**MANY, "average": "mean"}, ValueError, "average must be one of 'macro', 'micro', 'weighted', .*; got 'mean'"),
    (dice, (X, T), {**MANY, "empty": "one"}, ValueError, "empty must be one of 'smooth', 'skip', 'zero', 'mass'; got 'one'"),
    (dice, (X, T), {**MANY, "power": 3}, ValueError, "power must be 1 or 2, got 3"),
    (dice, (X, T), {**MANY, "power": True}, ValueError, "power must be 1 or 2, got True"),
    (dice, (X, T), {**MANY, "background": 0}, TypeError, "background must be True or False, got int: 0"),
    (dice, (X, T), {**MANY, "from_logits": "yes"}, TypeError, "from_logits must be True or False, got str: 'yes'"),
    (dice, (X, T), {**MANY, "smooth": -1}, ValueError, "smooth must be >= 0, got -1"),
    (dice, (X, T), {**MANY, "smooth": (NAN, 1)}, ValueError, "smooth must not be NaN"),
    (dice, (X, T), {**MANY, "smooth": (1, 2, 3)}, ValueError, r"smooth must be a number or \(numerator, denominator\), got \(1, 2, 3\)"),
    (dice, (X, T), {**MANY, "smooth": "1"}, TypeError, "smooth must be a number, got str"),
    (dice, (X, T), {**MANY, "ignore_index": None}, TypeError, "ignore_index must be an integer, got NoneType"),
    (dice, (X, T), {**MANY, "process_group": "world"}, TypeError, "process_group must be a torch.distributed.ProcessGroup, got str: .* try torch.distributed.group.WORLD"),
    # weights, masks, normalizers
    (dice, (X, T), {**MANY, "weight": "123"}, TypeError, "weight must be a tensor or a list of numbers, got str: '123'"),
    (dice, (X, T), {**MANY, "weight": torch.ones(2)}, ValueError, r"weight has shape \(2,\), expected one number for each of the 3 classes: \(3,\)"),
    (dice, (B, BT), {**ONE, "weight": torch.ones(2)}, ValueError, "expected one number for each of the 1 classes"),
    (dice, (X, T), {**MANY, "weight": torch.tensor([1, NAN, 1])}, ValueError, "weight must be finite, got nan for class 1. To leave a class out, give it weight 0"),
    (dice, (X, T), {**MANY, "weight": torch.ones(3, requires_grad=True)}, ValueError, r"weight must not require a gradient.*try weight.detach\(\)"),
    (dice, (X, T), {**MANY, "mask": torch.ones(2, 4)}, TypeError, r"mask must be a bool tensor \(True = counts\), got torch.float32: try mask.bool\(\)"),
    (dice, (X, T), {**MANY, "mask": [True]}, TypeError, "mask must be a torch.Tensor, got list"),
    (dice, (X, T), {**MANY, "mask": torch.ones(2, dtype=torch.bool)}, ValueError, r"does not broadcast to the target's shape \(2, 4\).*try mask.reshape\(-1, 1\)"),
    (dice, (X, HOT), {**MANY, "mask": torch.ones(2, 3, 4, dtype=torch.bool)}, ValueError, r"mask has shape \(2, 3, 4\), which does not broadcast to the target's"),
    (dice, (X, T), {**MANY, "average": "none", "normalizer": 3.0}, ValueError, 'normalizer replaces the denominator of an average, but average is "none": divide'),
    (dice, (X, T), {**MANY, "normalizer": -3.0}, ValueError, "normalizer must be >= 0, got -3.0"),
    (dice, (X, T), {**MANY, "sample_weight": torch.ones(2)}, TypeError, r"has no argument 'sample_weight' \(there is no loss per item: mask= leaves items out\)"),
]  # fmt: skip
OWN = [
    ("tversky_loss", (B, BT), {**ONE, "alpha": -0.1}, ValueError, "alpha must be >= 0, got -0.1"),
    ("tversky_loss", (B, BT), {**ONE, "beta": NAN}, ValueError, "beta must not be NaN"),
    ("focal_tversky_loss", (B, BT), {**ONE, "gamma": 0.0}, ValueError, "gamma must be > 0, got 0.0"),
    ("generalized_dice_loss", (B, BT), {**ONE, "volume_weight": "cube"}, ValueError, "volume_weight must be one of 'square', 'simple', 'uniform'; got 'cube'"),
    ("dice_ce_loss", (X, T), {**MANY, "average": "none"}, ValueError, 'average="none" gives one overlap loss per class, .* use the two losses apart'),
    ("dice_ce_loss", (X, P / 2), MANY, ValueError, r"target must hold probabilities along dim=1: the row at index \(0, 0\) sums to 0.5"),
    ("dice_ce_loss", (X, T), {**MANY, "ce_weight": -1}, ValueError, "ce_weight must be >= 0, got -1"),
    ("dice_focal_loss", (B, BT), {**ONE, "alpha": torch.ones(1)}, TypeError, 'alpha must be a number for task="binary", got Tensor'),
    ("dice_focal_loss", (B, BT), {**ONE, "gamma": -2.0}, ValueError, "gamma must be >= 0, got -2.0"),
    ("dice_focal_loss", ([1.0], BT), {**MANY, "alpha": 0.5}, TypeError, "input must be a torch.Tensor, got list"),
]
BAD += [(LOSSES[name].function, *rest) for name, *rest in OWN]  # type: ignore[misc]


def copied(x: Any) -> Any:
    return x.clone() if isinstance(x, torch.Tensor) else x


@pytest.mark.parametrize(("loss", "tensors", "arguments", "error", "message"), BAD, ids=[f"{b[0].__name__}-{i}" for i, b in enumerate(BAD)])
def test_error(loss: Any, tensors: Any, arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    """In the torch engine: the checks are the contract's, and the laws ask every engine for those of values."""
    x, t = (copied(z) for z in tensors)
    with losskit.use_engine("torch"), pytest.raises(error, match=message):
        loss(x, t, **arguments)
    for now, then in zip((x, t), tensors, strict=True):
        assert torch.equal(*(z.to_dense() for z in (now, then))) if isinstance(now, torch.Tensor) else now == then


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.of("overlap").items() if "task" in loss.required])
def test_every_loss_checks_its_tensors(name: str) -> None:
    """Whatever else a loss does with its arguments first."""
    function = LOSSES[name].function
    with losskit.use_engine("torch"):
        for x, t, task, message in (
            ([1.0], T, "multiclass", "input must be a torch.Tensor"),
            (X, None, "multiclass", "target must be a torch.Tensor"),
            (X.int(), T, "multiclass", "input must be a floating-point tensor"),
            (X, T + 1, "multiclass", "target must hold labels from 0 to 2"),
            (B, BT + 1, "binary", r"target must lie in \[0, 1\]"),
            (X, T, "other", "task must be one of"),
        ):
            with pytest.raises((TypeError, ValueError), match=message):
                function(x, t, task=task)


def test_what_is_left_out_may_be_anything() -> None:
    """Neither a mask nor an ignored label is looked under; a weight of 0 keeps its class from the mean."""
    with losskit.use_engine("torch"):
        bad = torch.where(T == 1, 77, T)
        assert torch.equal(dice(X, bad, task="multiclass", mask=T != 1), dice(X, T, task="multiclass", mask=T != 1))
        assert dice(X, torch.where(T == 1, 255, T).to(torch.uint8), task="multiclass", ignore_index=255).isfinite()
        zeros = torch.zeros(2, 4, dtype=torch.uint8)  # 256 is no number of theirs: it is not read as 0
        assert torch.equal(dice(B, zeros, task="binary", ignore_index=256), dice(B, zeros.float(), task="binary"))
        far = torch.where(HOT == 1, 5.0, HOT)
        mask = HOT != 1
        assert dice(X, far, task="multilabel", mask=mask).isfinite()
