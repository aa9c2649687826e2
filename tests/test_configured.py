"""Modules as configurations and other tools see them: signatures with types, lists of any kind, weights that are parameters, scripting."""

import copy
import inspect
import io
import pickle
from collections.abc import Sequence
from typing import Literal, Union, get_args, get_origin, get_type_hints

import pytest
import torch
from cases import beside
from torch import Tensor
from torch.nn import Parameter

import losskit
from losskit.binary import EITHER
from losskit.testing.rows import is_rows

KINDS = [*losskit.LOSSES.values(), EITHER]
LOSSES = pytest.mark.parametrize("loss", KINDS, ids=lambda loss: loss.module)


def needed(loss):
    """The settings without a default."""
    return {name: loss.arguments[0].get(name, {"task": "multiclass", "from_logits": True}.get(name)) for name in loss.required}


def made(loss, settings):
    return getattr(losskit, loss.module)(**(needed(loss) | dict(settings)))


class Listed(Sequence):
    """A configuration's own kind of list, as Hydra's."""

    def __init__(self, *inside):
        self.inside = inside

    def __len__(self):
        return len(self.inside)

    def __getitem__(self, i):
        return self.inside[i]


def listed(value):
    """Lists and tuples become the configuration's own."""
    return Listed(*(listed(each) for each in value)) if isinstance(value, (list, tuple)) else value


def fits(value, kind):
    """Whether a value is of a type, as a parser of configurations looks at it."""
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Literal:
        return value in inside
    if origin is tuple:
        return isinstance(value, (list, tuple)) and len(value) == len(inside) and all(map(fits, value, inside))
    if origin is Sequence:
        return isinstance(value, Sequence) and all(fits(each, inside[0]) or fits(each, kind) for each in value)
    if origin is Union or type(kind) is type(int | str):
        return any(fits(value, each) for each in inside)
    return isinstance(value, (int, float) if kind is float else kind)


@LOSSES
def test_the_constructor_says_what_it_takes(loss):
    """`inspect.signature` of the class and of `__init__`, `get_type_hints` and `help`: names, defaults, and types that the registry's own settings have."""
    module = getattr(losskit, loss.module)
    signature, hints = inspect.signature(module.__init__), get_type_hints(module.__init__)
    own = list(signature.parameters.values())[6 if loss.owned else 1 :]  # a head has five
    assert [p.name for p in own] == list(loss.settings) == [name for name in hints if name in loss.settings]
    assert all(p.kind is p.KEYWORD_ONLY and p.annotation == hints[p.name] for p in own)
    assert {p.name: p.default for p in own} == loss.settings
    assert list(inspect.signature(module).parameters)[5 if loss.owned else 0 :] == list(loss.settings)
    assert inspect.getdoc(module).startswith(loss.summary) and not inspect.isabstract(module)
    for settings in (*loss.arguments, *loss.rows):
        for name, value in settings.items():
            assert fits(value, hints[name]), (name, value, hints[name])
    for name, default in loss.settings.items():
        assert default is inspect.Parameter.empty or fits(default, hints[name])


@LOSSES
def test_lists_of_any_kind(loss):
    """Wherever a list is taken, any other sequence is; what the module holds does not depend on which."""
    for settings in (*loss.arguments, *loss.rows):
        plain, other = made(loss, settings), made(loss, {name: listed(value) for name, value in settings.items()})
        for name, value in plain.settings.items():
            given = getattr(other, name)
            assert (
                torch.equal(given, value) if isinstance(value, Tensor) else list(given) == list(value) if isinstance(value, (list, tuple)) else given == value
            )


def test_lists_of_lists():
    assert torch.equal(losskit.BCEWithLogitsLoss(weight=Listed(Listed(1, 2.0), Listed(3, 4))).weight, torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    x = torch.randn(2, 3)
    for smooth in ((0.0, 1e-5), Listed(0.0, 1e-5)):
        assert losskit.dice_loss(x, x > 0, task="binary", smooth=smooth) == losskit.dice_loss(x, x > 0, task="binary", smooth=[0.0, 1e-5])


def weights_of(loss):
    """The settings that may be tensors, with one for the settings they need."""
    kinds = {name: get_args(p.annotation) for name, p in inspect.signature(loss.function).parameters.items() if name in loss.settings}
    for name in (name for name, inside in kinds.items() if Tensor in inside and name not in ("temperature", "label_smoothing")):  # no numbers per class
        yield (
            name,
            {"task": "multiclass"} if "multiclass" in kinds.get("task", ()) and name != "gamma" else needed(loss) | beside(loss, name),
        )


WEIGHTS = [(loss, name, settings) for loss in KINDS for name, settings in weights_of(loss)]


@pytest.mark.parametrize(("loss", "name", "settings"), WEIGHTS, ids=[f"{loss.module}-{name}" for loss, name, _ in WEIGHTS])
def test_a_parameter_is_registered_where_it_has_a_gradient_and_refused_where_not(loss, name, settings):
    module = getattr(losskit, loss.module)
    weight = Parameter(torch.tensor(1.0) if name in [operand.name for operand in loss.operands if operand.single] else torch.tensor([1.0, 3.0]))
    x, t = torch.rand(4, 2) + (5.0 if loss.input == "real" else 0.0), torch.ones(4, 2)  # an error beyond every threshold
    mask = torch.arange(4) < 3 if loss.compares else torch.tensor([True, False])
    if is_rows(loss, settings) or loss.owned:  # every label is 0; a mean would not depend on its weight
        settings, mask = settings | {"reduction": "sum"}, torch.arange(4) < 3
        x, t = x.log_softmax(1) if loss.input != "cosine" else x, t if loss.name == "multilabel_soft_margin_loss" else torch.zeros(4, dtype=torch.long)
    try:
        held = module(**settings, **{name: weight})
    except ValueError as error:
        assert str(error) == f"{name} must not require a gradient, none is defined for it: try {name}.detach()"
        assert set(dict(module(**settings, **{name: weight.detach()}).named_buffers())) == {name}
        fixed = Parameter(weight.detach(), requires_grad=False)
        with torch.no_grad(), pytest.raises(ValueError, match=f"{name} must not require a gradient"):
            module(**settings, **{name: weight})
        held = module(**settings, **{name: fixed})
        assert dict(held.named_parameters()).keys() == {name}
        return
    assert dict(held.named_parameters()).keys() == {name}
    with losskit.use_engine("torch"):
        tensors = (x, torch.eye(2), t) if loss.owned else (x, t)
        (gradient,) = torch.autograd.grad(held(*tensors, mask=mask), held.parameters())
        expected = loss.function(*tensors, mask=mask, **settings, **{name: weight})
        torch.testing.assert_close(gradient, torch.autograd.grad(expected, weight)[0])
    if gradient.dim():
        assert gradient[0] != 0 and (gradient[1] == 0 or (t.dim() == 2 and len(mask) == 4))
    else:
        assert gradient != 0
    for twin in (copy.deepcopy(held), pickle.loads(pickle.dumps(held))):
        assert dict(twin.named_parameters()).keys() == {name} and repr(twin) == repr(held)
    setattr(held, name, [1.0, 2.0] if gradient.dim() else [2.0])
    assert not list(held.parameters()) and set(dict(held.named_buffers())) == {name}
    setattr(held, name, weight)
    assert dict(held.named_parameters()).keys() == {name} and not list(held.buffers())


@LOSSES
def test_modules_are_saved_copied_and_moved(loss):
    """`torch.save` of the module, `state_dict`, `deepcopy`, `pickle`, `.to(dtype)`: the same settings, the same weights."""
    for settings in (*loss.arguments, *loss.rows):
        module = made(loss, settings)
        saved = io.BytesIO()
        torch.save(module, saved)
        saved.seek(0)
        twins = [copy.deepcopy(module), pickle.loads(pickle.dumps(module)), torch.load(saved, weights_only=False), made(loss, settings)]
        twins[-1].load_state_dict(module.state_dict())
        for twin in twins:
            assert type(twin) is type(module) and repr(twin) == repr(module) and not twin.state_dict()
            assert dict(twin.named_buffers()).keys() == dict(module.named_buffers()).keys()
        assert all(value.dtype is torch.float64 for value in copy.deepcopy(module).to(torch.float64).buffers())
        assert all(value.is_meta for value in copy.deepcopy(module).to("meta").buffers())


PUBLIC = [getattr(losskit, name) for name in losskit.__all__ if inspect.isfunction(getattr(losskit, name))]
UNCOMPUTED = (losskit.like, losskit.engine_for, losskit.use_engine, losskit.validate)  # no tensors, nothing to compile


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*is deprecated:DeprecationWarning", "ignore:.*TorchScript:DeprecationWarning")
def test_scripting_is_refused_with_the_way_out():
    for function in PUBLIC:
        if function not in UNCOMPUTED:
            with pytest.raises(TypeError, match=r"torch.jit.script cannot compile a loss of losskit: try torch.jit.trace, torch.compile or torch.export"):
                torch.jit.script(function)
    for module in [made(loss, loss.arguments[0]) for loss in KINDS] + [losskit.WIoUv3Loss()]:
        for outer in (module, torch.nn.ModuleList([module])):
            with pytest.raises(TypeError, match=r"try torch.jit.trace, torch.compile or torch.export"):
                torch.jit.script(outer)


def calls_a_loss(x: Tensor) -> Tensor:
    return losskit.mse_loss(x, x)


def test_so_is_scripting_of_what_calls_a_loss():
    with pytest.warns(DeprecationWarning), pytest.raises(TypeError, match="cannot compile a loss of losskit"):
        torch.jit.script(calls_a_loss)
