"""A softmax over one class is 1 whatever the score, and a loss of it constant: refused everywhere, and the advice works when followed literally."""

import re

import pytest
import torch

import losskit
from losskit import LOSSES
from losskit.testing.inputs import cosines

SCORE = torch.tensor([0.3, -1.2, 2.0])
CHANCE = torch.tensor([0.9, 0.2, 0.5])
INPUTS = {"logit": SCORE, "cosine": cosines(SCORE), "probability": SCORE.sigmoid(), "log-probability": SCORE.sigmoid().log()}
TARGETS = {"label": torch.tensor([1, 0, 1]), "distribution": CHANCE[:, None], "log-distribution": CHANCE.log()[:, None], "real": CHANCE[:, None]}
SOFT = ("cross_entropy", "dice_loss", "dice_ce_loss", "dice_focal_loss")  # which take distributions beside labels
SOFTMAX = [loss for loss in LOSSES.values() if (loss.pattern == "rows" and not loss.multilabel) or "task" in loss.settings]


def kinds(loss):
    """Every kind of input and target: (settings, input, target)."""
    task = {"task": "multiclass"} if "task" in loss.settings else {}
    for target in ["label" if loss.target == "unit" else loss.target, *(["distribution"] if loss.name in SOFT else [])]:
        yield task, loss.input, target
        if "from_logits" in loss.settings:
            yield task | {"from_logits": False}, "probability", target
        if "log_input" in loss.settings:
            yield task | {"from_logits": False, "log_input": True}, "log-probability", target
        if "log_target" in loss.settings:
            yield task | {"log_target": True}, loss.input, "log-distribution"


@pytest.fixture
def operations():
    """The shape is refused before an engine is chosen, and the advice is about shapes."""
    with losskit.use_engine("torch"):
        yield


CASES = [(loss, *kind) for loss in SOFTMAX for kind in kinds(loss) if loss.target != "position"]


def refusal(loss, tensors, settings):
    """The message, for a batch and for an empty one: the shape decides."""
    for rows in (0, 3):
        with pytest.raises(ValueError, match=rf"one class along axis 1: its shape is \({rows}, 1\), and a softmax over one class is 1 everywhere") as caught:
            loss.function(*(x[:rows] for x in tensors), **settings)
    return str(caught.value)


@pytest.mark.parametrize(("loss", "settings", "form", "kind"), CASES, ids=["-".join((c[0].name, c[2], c[3])) for c in CASES])
def test_refused_and_the_advice_works(loss, settings, form, kind, operations):
    input = INPUTS[form][:, None].clone().requires_grad_()
    target = TARGETS.get(kind)
    advice = refusal(loss, (input,) if target is None else (input, target), settings).partition("try ")[2]
    names = {"input": input, "target": target, "torch": torch} | {name: getattr(losskit, name) for name in losskit.__all__}
    if advice.startswith("binary_cross_entropy"):
        value = eval(advice, names)
        expected = (INPUTS[form].sigmoid() - (target if kind == "label" else CHANCE)) / 3
        torch.testing.assert_close(torch.autograd.grad(value, input)[0][:, 0], expected)
        return
    if advice.endswith('task="binary"'):
        settings = settings | {"task": "binary"} | ({"over": "batch"} if "over" in loss.settings else {})  # one item has no correlation
        given = [eval(advice.partition(" and")[0], names) if "input" in advice else input, target]
    else:  # an expression for each of the tensors
        given = [eval(piece, names) for piece in re.findall(r"torch\.cat\(\(.*?, 1\)", advice)]
        given += [target] if kind == "label" else []
    slope = torch.autograd.grad(loss.function(*given, **settings), input)[0]
    assert slope.isfinite().all() and bool((slope != 0).any())


def test_one_bin():
    assert refusal(LOSSES["distribution_focal_loss"], (SCORE[:, None], CHANCE), {}).endswith("A position lies between two bins: try more of them")


@pytest.mark.parametrize("loss", SOFTMAX, ids=lambda loss: loss.name)
def test_one_class_weight(loss):
    """Known at the constructor, where there is no input yet."""
    task = {"task": "multiclass"} if "task" in loss.settings else {}
    for name in {"weight", "alpha"} & loss.settings.keys():
        if name == "weight" or loss.name in ("focal_loss", "dice_focal_loss"):
            with pytest.raises(ValueError, match=rf"{name} has shape \(1,\), a number for each class, but a softmax over one class"):
                getattr(losskit, loss.module)(**task, **{name: [2.0]})
