"""A user's program, as `make types` checks it: results of losses are tensors, parts have names. It is never run."""

from typing import assert_type

import torch
from torch import Tensor

import losskit
from losskit.contract.passes import ByProducts
from losskit.losses.segmentation.dice_ce import DiceCEParts


def program(x: Tensor, t: Tensor, labels: Tensor) -> None:
    """What mypy says of each line is asserted."""
    assert_type(losskit.focal_loss(x, t, gamma=1.5), Tensor)
    assert_type(losskit.FocalLoss(gamma=1.5)(x, t), Tensor)
    assert_type(losskit.FocalLoss().gamma, float | Tensor)
    assert_type(losskit.CrossEntropyLoss(weight=[1.0, 2.0])(x, labels, mask=labels > 0), Tensor)
    assert_type(losskit.cross_entropy(x, labels), Tensor)
    assert_type(losskit.cross_entropy(x, labels, return_parts=True), tuple[Tensor, ByProducts])
    loss, parts = losskit.CrossEntropyLoss(return_parts=True)(x, labels)
    assert_type(loss, Tensor)
    assert_type(parts.accuracy, Tensor | None)
    assert_type(losskit.DiceCELoss(task="multiclass", return_parts=True)(x, labels), tuple[Tensor, DiceCEParts])
    assert_type(losskit.LinearCrossEntropyLoss(8, 100)(x, labels), Tensor)
    assert_type(losskit.TripletMarginLoss()(x, x, x), Tensor)
    assert_type(losskit.BCEWithLogitsLoss().weight, Tensor | None)
    assert_type(losskit.create("focal", gamma=1.5), torch.nn.Module)
    settled: losskit.CrossEntropyLoss = losskit.CrossEntropyLoss()
    assert_type(settled(x, labels), Tensor)
    losskit.focal_loss(x, t, gama=1.5)  # type: ignore[call-arg]
    losskit.FocalLoss(reduction="avg")  # type: ignore[arg-type]
    losskit.mse_loss(x, t, torch.ones(3))  # type: ignore[call-arg]
