"""A vector of C numbers belongs to the class axis, whatever the other sizes are; the message for other lengths gives the reshape that works."""

import itertools
import re

import pytest
import torch
from contexts import CONTEXTS

import losskit
from losskit import LOSSES, use_engine
from losskit.engines.dispatch import EngineName

VECTORS = [(loss, name) for loss in LOSSES.values() for name in ("weight", "pos_weight", "alpha") if "Tensor" in str(loss.function.__annotations__.get(name))]
ELEMENTWISE = [(loss, name) for loss, name in VECTORS if loss.pattern == "elementwise" and name != "alpha"]
NUMBERS = [0.5, 2.0, 0.75]
ALPHA = [0.25, 0.9, 0.0]


@pytest.fixture
def operations():
    """Which numbers belong to which class is settled before an engine is chosen."""
    with use_engine("torch"):
        yield


def batch(shape, axis=1, seed=0):
    draw = torch.Generator().manual_seed(seed)
    x, t = torch.randn(shape, generator=draw), (torch.rand(shape, generator=draw) < 0.4).float()
    return x.movedim(1, axis).contiguous(), t.movedim(1, axis).contiguous()


def found(call, x):
    x = x.detach().clone().requires_grad_()
    value = call(x)
    return value.detach(), torch.autograd.grad(value.sum(), x)[0]


def require_same(got, expected):
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_vectors_are_those_of_the_registry():
    assert {name for _, name in VECTORS} == {"weight", "pos_weight", "alpha"} and len(ELEMENTWISE) == 4


# how a loop reads a number of each class is one matter for all of them
LOOP = next((loss, name) for loss, name in ELEMENTWISE if name == "pos_weight")


@pytest.mark.parametrize(("loss", "name", "engine"), [*((*of, "torch") for of in ELEMENTWISE), (*LOOP, "cpu")], ids=lambda x: getattr(x, "name", x))
def test_elementwise(loss, name, engine):
    """Square pictures with as many columns as classes: the shape that torch takes for columns."""
    for shape in ((3,), (4, 3), (3, 3), (2, 3, 3), (4, 3, 2, 3), (3, 3, 3, 3)):
        x, t = batch(shape if len(shape) > 1 else (1, *shape))
        x, t = (z.reshape(shape) for z in (x, t))
        x = x.sigmoid() if loss.input == "probability" else x
        whole = torch.tensor(NUMBERS).reshape(-1, *(1,) * max(len(shape) - 2, 0)).expand(shape)
        with use_engine(engine):
            for reduction, given in itertools.product(("none", "mean"), (NUMBERS, torch.tensor(NUMBERS))):
                expected = found(lambda x: loss.function(x, t, **{name: whole}, reduction=reduction), x)  # noqa: B023
                require_same(found(lambda x: loss.function(x, t, **{name: given}, reduction=reduction), x), expected)  # noqa: B023
            module = getattr(losskit, loss.module)(**{name: NUMBERS}, reduction="none")
            require_same((module(x, t),), (loss.function(x, t, **{name: whole}, reduction="none"),))
            if len(shape) > 2:  # shapes of as many axes broadcast as in torch
                column = torch.tensor(NUMBERS[: shape[-1]])
                names = {f"binary_cross_entropy{end}": f"binary_cross_entropy{end}" for end in ("", "_with_logits")}
                if name == "weight" or loss.name.endswith("logits"):
                    expected = getattr(torch.nn.functional, names[loss.name])(x, t, **{name: column.reshape(*(1,) * (len(shape) - 1), -1)})
                    assert torch.allclose(loss.function(x, t, **{name: column.reshape(*(1,) * (len(shape) - 1), -1)}), expected)


@pytest.mark.parametrize(("loss", "name"), ELEMENTWISE, ids=lambda x: getattr(x, "name", x))
def test_the_message_gives_the_reshape(loss, name, operations):
    x, t = batch((4, 3, 2, 5))
    x = x.sigmoid()
    for length, place, said in ((4, 0, "per sample"), (2, 2, "for each place along axis 2"), (5, 3, "for each place along axis 3"), (7, None, "")):
        vector = torch.rand(length)
        with pytest.raises(ValueError, match=rf"{name} has shape \({length},\), and a vector holds one number per class: .* has 3 along axis 1") as caught:
            loss.function(x, t, **{name: vector})
        if place is None:
            assert "try" not in str(caught.value)
            continue
        assert said in str(caught.value)
        advice = re.search(rf"try ({name}\.reshape\(.*\))$", str(caught.value))
        assert advice
        shape = [1] * 4
        shape[place] = -1
        got = loss.function(x, t, **{name: eval(advice[1], {name: vector})})
        assert torch.equal(got, loss.function(x, t, **{name: vector.reshape(shape)}))


@pytest.mark.parametrize(
    ("engine", "gamma", "from_logits"), [*(("torch", gamma, logits) for gamma in (0.0, 0.5, 2.0) for logits in (True, False)), ("cpu", 2.0, True)]
)
def test_alpha_of_each_class(engine: EngineName, gamma, from_logits):
    """The same as a call for each class with its own number."""
    for shape, axis in (((5, 3), 1), ((2, 3, 3), 1), ((2, 3, 4), -1), ((2, 3, 2, 3), 1)):
        x, t = batch(shape, axis)
        x = x if from_logits else x.sigmoid()
        settings = {"gamma": gamma, "from_logits": from_logits, "reduction": "none"}

        def apart(x):
            pieces = zip(x.unbind(axis), t.unbind(axis), ALPHA, strict=True)  # noqa: B023
            return torch.stack([losskit.focal_loss(a, b, alpha=alpha, **settings) for a, b, alpha in pieces], axis)  # noqa: B023

        def together(x):
            return losskit.focal_loss(x, t, task="multilabel", alpha=ALPHA, dim=axis, **settings)  # noqa: B023

        with use_engine("torch"):
            expected = found(apart, x)
        with use_engine(engine):
            require_same(found(together, x), expected)
            for reduction in ("mean", "sum"):
                value = losskit.focal_loss(x, t, task="multilabel", alpha=torch.tensor(ALPHA), dim=axis, **settings | {"reduction": reduction})
                torch.testing.assert_close(value, getattr(torch, reduction)(together(x)))
            each = losskit.FocalLoss(task="multilabel", alpha=ALPHA, dim=axis, **settings)
            assert torch.equal(each(x, t), together(x)) and set(dict(each.named_buffers())) == {"alpha"}


def test_alpha_of_each_class_beside_dice(operations):
    x, t = batch((2, 3, 4))
    for from_logits, dim in ((True, 1), (False, 1), (True, -1)):
        a, b = (z.movedim(1, dim) for z in (x if from_logits else x.sigmoid(), t))
        settings = {"task": "multilabel", "alpha": ALPHA, "dim": dim, "from_logits": from_logits}
        _, parts = losskit.dice_focal_loss(a, b, return_parts=True, **settings)
        torch.testing.assert_close(parts.focal, losskit.focal_loss(a, b, **settings))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"task": "binary", "alpha": ALPHA}, TypeError, 'alpha must be a number for task="binary", got list: one number per class needs task="multilabel" or'),
        ({"task": "multilabel", "alpha": ALPHA[:2]}, ValueError, r"alpha has shape \(2,\), expected one number for each of the 3 classes: \(3,\)"),
        ({"task": "multilabel", "alpha": [0.5, 1.5, 0.0]}, ValueError, r"alpha must be >= 0 and <= 1, got \[0.5, 1.5, 0.0\]"),
        ({"task": "multilabel", "alpha": torch.rand(3, requires_grad=True)}, ValueError, r"alpha must not require a gradient.*try alpha.detach\(\)"),
    ],
)
def test_bad_alphas(settings, error, message):
    x, t = batch((2, 3, 4))
    for loss in (losskit.focal_loss, losskit.dice_focal_loss):
        with pytest.raises(error, match=message):
            loss(x, t, **settings)


@pytest.mark.parametrize("context", [c for c in CONTEXTS if c.axis == 1 and any(c.loss is loss for loss, _ in VECTORS)], ids=str)
def test_a_vector_follows_dim(context):
    """With the classes last, and as many of everything: the same loss."""
    tensors = context.tensors()
    for name in [name for loss, name in VECTORS if loss is context.loss]:
        given = {name: NUMBERS if name != "alpha" else ALPHA}
        last = [z.movedim(1, -1) if z.dim() == 3 else z for z in tensors]
        with use_engine("torch"):
            torch.testing.assert_close(context(*last, dim=-1, **given), context(*tensors, **given))
            assert not torch.equal(context(*tensors, **given), context(*tensors))
