"""Hugging Face's Trainer, and TRL's `SFTTrainer`: a loss as `compute_loss_func`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

import losskit
from losskit.contract.module import LossModule
from losskit.contract.topk import TopK

ABSENT = -100  # the label that the Trainer does not count


@dataclass(frozen=True)
class TrainerLoss:
    """A loss as the Trainer calls it: `Trainer(..., compute_loss_func=TrainerLoss(losskit.CrossEntropyLoss()))`.

    The Trainer counts the labels of a step that are not -100, over all its micro-batches and, with `average_tokens_across_devices=True` (the default), over all
    devices. Losses that are a mean of items are divided by that count, so the gradient is that of one large batch. Others, such as Dice, sums of losses and the hardest
    items alone (`TopK`), are means of their own; each micro-batch counts by its share of the labels, which is the mean over all samples if each has as many labels.

    Args:
        loss: a module, or a function, that is called with logits and labels, and has reduction="mean". A module is moved to the model's device. Label smoothing,
            class weights and all else are its settings: with `compute_loss_func` the Trainer does not read `label_smoothing_factor`.
        shift: True for causal models: the label of a token is the next one. As the Trainer does, scores stay whole and labels move.

    Edge cases:
        Labels that do not count must be -100, whatever the loss's `ignore_index`: the Trainer counts all others. Class weights multiply, and the sum is divided by
        the count of labels. Scores of tokens, (N, L, C), have their classes last: losses of losskit and torch with dim=1 read them so, functions of your own get them as they are.
        Pictures' scores (N, C, h, w) are made as
        large as their labels, bilinearly, as the models do. Scores (N, 1) beside labels (N,) lose their last axis.
        The Trainer knows causal models by names that end in ForCausalLM. For others, such as GPT2LMHeadModel, it counts the first label of each row as well, and the
        loss is smaller by that much: set `model.loss_type = "ForCausalLM"` before the Trainer is made.
        With `average_tokens_across_devices=False` each device divides by its own count, and the gradient is the mean of these means.
    """

    loss: Callable[..., Tensor]
    shift: bool = False

    def __call__(self, outputs: Any, labels: Tensor | None, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        """The loss of a model's outputs, of which the scores are "logits", or the first."""
        logits: Tensor = outputs["logits"] if isinstance(outputs, Mapping) else outputs[0]
        if labels is None:
            raise ValueError("labels is None, and a loss needs them: name the column of the data set 'labels'")
        if self.shift:
            labels = F.pad(labels, (0, 1), value=ABSENT)[..., 1:]
        if logits.dim() == 4 and labels.dim() == 3 and logits.shape[2:] != labels.shape[1:]:
            logits = F.interpolate(logits, size=labels.shape[1:], mode="bilinear", align_corners=False)
        elif logits.shape == (*labels.shape, 1):
            logits = logits.squeeze(-1)
        labels, total = labels.to(logits.device), num_items_in_batch
        if isinstance(total, Tensor):
            total = total.sum().to(logits.device)  # with DataParallel it is one count for each device
        if isinstance(self.loss, nn.Module):
            self.loss.to(logits.device)  # its class weights
        if logits.dim() == 3 and logits.shape[:-1] == labels.shape and class_axes(self.loss) == {1}:
            logits = logits.movedim(-1, 1)  # scores of tokens have their classes last
        if not isinstance(self.loss, LossModule) or self.loss.loss.facts.summed or isinstance(self.loss.settings.get("reduction"), TopK):
            value: Tensor = self.loss(logits, labels)
            if total is None:
                return value
            return value * (labels != ABSENT).sum() / (total.clamp(min=1) if isinstance(total, Tensor) else max(total, 1))
        return self.loss(logits, labels, normalizer=total)  # type: ignore[no-any-return]


def class_axes(loss: Callable[..., Tensor]) -> set[int]:
    """Where a loss looks for classes, as far as it is known: of modules of losskit and torch, of sums of them, and of functions of losskit."""
    if isinstance(loss, nn.Module):
        parts = [part for part in loss.modules() if isinstance(part, (LossModule, nn.CrossEntropyLoss, nn.NLLLoss))]
        return {part.settings["dim"] if isinstance(part, LossModule) else 1 for part in parts if not isinstance(part, LossModule) or "dim" in part.settings}
    function, given = (loss.func, loss.keywords) if isinstance(loss, partial) else (loss, {})
    known = next((each for each in losskit.LOSSES.values() if each.function is function), None)
    return {given.get("dim", known.settings["dim"])} if known is not None and "dim" in known.settings else set()
