"""Adapters that need none of the package they are for, beside every loss that they may be given."""

from functools import partial

import pytest
import torch
from contexts import CONTEXTS, Context
from torch import nn

import losskit
from losskit import TopK
from losskit.integrations.keras import KerasLoss
from losskit.integrations.transformers import TrainerLoss

OF_LABELS = [c for c in CONTEXTS if c.kind == "label" and "dim" in c.loss.settings and c.settings.get("from_logits", True)]
OF_NUMBERS = [c for c in CONTEXTS if c.loss.pattern == "elementwise" and c.axis is None and "dim" not in c.settings and len(c.loss.tensors) == 2]


def module(context: Context, **more):
    return getattr(losskit, context.loss.module)(**context.settings, **more)


@pytest.mark.parametrize("context", OF_LABELS, ids=str)
def test_the_trainer_has_the_classes_of_tokens_last(context):
    """Also where there are as many classes as tokens, and nothing but the adapter knows which axis is which: modules, functions, sums."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(3, 5, 5, generator=draw).log_softmax(-1) if context.loss.name == "nll_loss" else torch.rand(3, 5, 5, generator=draw)  # scores and cosines
    t = torch.randint(0, 5, (3, 5), generator=draw)
    with losskit.use_engine("torch"):
        wanted = module(context, dim=-1)(x, t)
        ways = [module(context), module(context, dim=2), module(context, dim=-1), 0.5 * module(context) + 0.5 * module(context)]
        for loss in (*ways, partial(context.loss.function, **context.settings), partial(context.loss.function, **context.settings, dim=-1)):
            for count in (None, 15):
                torch.testing.assert_close(TrainerLoss(loss)({"logits": x}, t, num_items_in_batch=count), wanted)


@pytest.mark.parametrize(
    "loss", [losskit.cross_entropy, nn.CrossEntropyLoss(), nn.CrossEntropyLoss() + losskit.CrossEntropyLoss() * 0.0], ids=["function", "torch", "sum"]
)
def test_the_trainer_knows_functions_and_torch(loss):
    x, t = torch.randn(3, 5, 5), torch.randint(0, 5, (3, 5))
    torch.testing.assert_close(TrainerLoss(loss)({"logits": x}, t), losskit.cross_entropy(x, t, dim=-1))


def test_the_trainer_hands_tokens_to_functions_of_your_own_as_they_are():
    x, t = torch.randn(3, 5, 4), torch.randint(0, 4, (3, 5))
    assert torch.equal(TrainerLoss(lambda scores, labels: losskit.cross_entropy(scores, labels, dim=-1))({"logits": x}, t), losskit.cross_entropy(x, t, dim=-1))


@pytest.mark.parametrize("how", [TopK(0.4), TopK(0.4, per="sample")], ids=str)
def test_the_trainer_divides_the_hardest_by_their_own_number(how):
    """The micro-batch counts by its share of the labels, as with all means of their own; samples are sentences, not tokens."""
    x, t = torch.randn(3, 10, 4), torch.randint(0, 4, (3, 10))
    loss = TrainerLoss(losskit.CrossEntropyLoss(reduction=how))
    wanted = losskit.cross_entropy(x, t, dim=-1, reduction=how)
    torch.testing.assert_close(loss({"logits": x}, t), wanted)
    torch.testing.assert_close(loss({"logits": x}, t, num_items_in_batch=60), wanted / 2)


@pytest.mark.parametrize("context", OF_NUMBERS, ids=str)
def test_keras_is_given_one_loss_for_each_sample(context):
    """Of vectors and pictures, whose numbers have losses of their own: Keras has one weight for each sample, or for each place of it."""
    with losskit.use_engine("torch"):
        x, t = context.tensors()
        for axes in (2, 3) if context.settings.get("task") == "multilabel" else (1, 2, 3):
            given = [each.flatten()[:24].reshape(*(24,) if axes == 1 else (4, 6) if axes == 2 else (2, 3, 4)) for each in (x, t)]
            each = KerasLoss(module(context))(given[1], given[0])
            assert each.shape == given[0].shape[: max(axes - 1, 1)]
            torch.testing.assert_close(each.mean(), module(context)(*given))


def test_keras_calls_sums_as_they_are():
    x, t = torch.randn(2, 5, 6, 3), torch.randint(0, 3, (2, 5, 6))
    loss = losskit.DiceLoss(task="multiclass", dim=-1) + losskit.CrossEntropyLoss(dim=-1, reduction=TopK(0.5))
    assert torch.equal(KerasLoss(loss)(t.float().unsqueeze(-1), x), loss(x, t))
