"""Whatever a tensor may be, given as each tensor argument of each loss: the result of the plain tensor, or an error that names an argument."""

import inspect
import math
import re

import numpy
import pytest
import torch
from cases import thorough_rows
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.masked import masked_tensor

import losskit
from losskit.contract import tensors
from losskit.contract.registry import LABELS
from losskit.engines import dispatch
from losskit.engines.call import Call
from losskit.testing.inputs import cosines, within

pytestmark = pytest.mark.filterwarnings(
    "ignore:The given NumPy array is not writable",
    "ignore:The PyTorch API of (MaskedTensors|nested tensors)",
    "ignore:Sparse CSR",
    "ignore:Sparse invariant",
    "ignore:torch.quantize|.*quantiz",
    "ignore:Lazy",
)


class Named(Tensor):
    """A subclass that holds its numbers as plain tensors do."""


def inside(mode, x):
    with mode:
        return x.clone()


def read_only(x):
    array = x.numpy().copy()
    array.flags.writeable = False
    return torch.from_numpy(array)


def strided(x):
    return torch.stack((x, x), -1)[..., 0]


def expanded(x):
    """Not in memory as often as it is seen, where it is the same along an axis."""
    return x[:1].expand_as(x) if x.dim() and torch.equal(x[:1].expand_as(x), x) else x


# a state; it works wherever the plain tensor does, or None: an error that names an argument (or the same result, where it is what is asked for)
WORKS = {
    "made in inference mode": lambda x: inside(torch.inference_mode(), x),
    "made without gradient": lambda x: inside(torch.no_grad(), x),
    "over read-only memory": read_only,
    "strided": strided,
    "expanded": expanded,
    "the imaginary part of a conjugate": lambda x: torch.complex(x, -x).conj().imag if x.is_floating_point() else x,
    "a subclass": lambda x: x.as_subclass(Named),
    "a buffer": lambda x: torch.nn.Buffer(x),
    "a parameter without gradient": lambda x: torch.nn.Parameter(x, requires_grad=False),
    "a view of a conjugated view": lambda x: x.conj().resolve_neg(),
}
REFUSED = {
    "quantised": lambda x: torch.quantize_per_tensor(x.float(), 0.1, 0, torch.qint8),
    "masked": lambda x: masked_tensor(x, torch.ones_like(x, dtype=torch.bool)),
    "nested": lambda x: torch.nested.nested_tensor(list(x.unbind(0)) if x.dim() else [x]),
    "nested and jagged": lambda x: torch.nested.nested_tensor(list(x[None].unbind(0)), layout=torch.jagged),
    "sparse": lambda x: x.to_sparse(),
    "compressed": lambda x: x.to_sparse_csr() if x.dim() == 2 else x.to_sparse(),
    "of MKL-DNN": lambda x: x.float().to_mkldnn(),
    "complex": lambda x: x.to(torch.complex64),
    "8 bits": lambda x: x.to(torch.float8_e4m3fn),
    "on meta": lambda x: x.to("meta"),
    "a list": lambda x: x.tolist(),
    "an array": lambda x: x.numpy(),
    "None": lambda x: None,
    "text": lambda x: "positives?",
}


def settings_of(loss):
    """The settings without a default, class weights among them left to the tests."""
    return {name: loss.arguments[0].get(name, "multiclass") for name in loss.required}


def tensors_of(loss):
    """Every tensor argument of a loss, 4 items of 3 classes, 4 x 3 numbers, or 4 boxes."""
    torch.manual_seed(0)
    settings = settings_of(loss)
    x, t, items = torch.randn(4, 3), torch.rand(4, 3), (4, 3)
    if loss.pattern == "boxes":
        x, items = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(4, 4) + torch.rand(4, 4) / 4, (4,)
        t = x + 0.1
    elif loss.pattern == "windows":
        x, t = torch.rand(4, 3, 11, 12), torch.rand(4, 3, 11, 12)
    elif loss.pattern not in ("elementwise", "vectors"):
        items = (4, 3) if settings.get("task") == "binary" else (4,)
        t = {"label": torch.tensor([0, 2, 1, 0]), "set": t > 0.5, "position": 2 * torch.rand(4)}.get(loss.target, t.softmax(1))
    if loss.input == "probability":
        x = torch.rand(4, 3)
    elif loss.input == "log-probability":
        x = x.log_softmax(1)
    elif loss.input == "cosine":
        x = cosines(x)
    if loss.target == "real" and settings.get("task") == "multiclass" and loss.pattern == "operations":
        t = torch.randn(4, 3)
    if loss.pattern == "vectors":
        items = (4,)
        t = torch.tensor([1.0, -1.0, 1.0, -1.0]) if loss.ranges else torch.tensor([0, 1, 0, 1])
    if loss.pattern == "elementwise":
        x, t = within(loss, x, t)
    given = {loss.tensors[0]: x, "mask": torch.tensor([True, True, False, True]).reshape(-1, *(1,) * (len(items) - 1)).expand(items).clone()}
    if loss.pattern == "windows":  # per picture
        given["mask"] = given["mask"][..., None, None]
    given |= {name: torch.randn(4, 3) for name in loss.tensors[1:]}
    if loss.pattern == "linear":
        given["linear_weight"] = torch.randn(3, 3)
    if loss.target != "none":
        given[loss.tensors[-1]] = t
    parameters = inspect.signature(loss.function).parameters
    if "sample_weight" in parameters:
        given["sample_weight"] = torch.rand(items) + 0.5
    given["normalizer"] = torch.tensor(3.0)
    for operand in loss.operands_of(loss.arguments[0]):
        given[operand.name] = (torch.rand(items) + 0.5).sign() if operand.range == LABELS else torch.rand(items) + 0.5
    return given | {name: torch.tensor([1.0, 0.5, 2.0]) for name in ("weight", "pos_weight") if name in parameters}, settings


def called(loss, given, settings):
    """The loss and its gradient by the first tensor."""
    given = dict(given)
    x = given.pop(loss.tensors[0])
    if isinstance(x, Tensor) and x.is_floating_point() and not (x.is_inference() or type(x) is torch.nn.Buffer) and x.is_leaf:
        x.requires_grad_()
    positional = (x, *(given.pop(name) for name in loss.tensors[1:]))
    value = loss.function(*positional, **settings, **given)
    gradient = torch.autograd.grad(value, x)[0] if isinstance(x, Tensor) and x.requires_grad else None
    return value, gradient


LOSSES = list(losskit.LOSSES.values())


FUSED = ("binary_cross_entropy_with_logits", "cross_entropy", "kl_divergence", "dice_loss", "lovasz_loss", "giou_loss")  # one a kind of pass


@pytest.mark.parametrize(
    ("loss", "engine"),
    [
        *((loss, "torch") for loss in LOSSES if loss.name in FUSED),
        *thorough_rows((loss, "torch") for loss in LOSSES if loss.name not in FUSED),
        *((losskit.LOSSES[name], None) for name in FUSED),
    ],
    ids=lambda x: getattr(x, "name", x or "chosen"),
)
def test_every_state_of_every_tensor(loss, engine):
    given, settings = tensors_of(loss)
    force = losskit.use_engine(engine) if engine else inside_nothing()
    with force:
        value, gradient = called(loss, {name: x.clone() for name, x in given.items()}, settings)
        for name in given:
            for state, change in WORKS.items():
                other, by = called(loss, {key: change(y.clone()) if key == name else y.clone() for key, y in given.items()}, settings)
                torch.testing.assert_close(other.as_subclass(Tensor), value, msg=f"{name} {state}")
                if by is not None:
                    torch.testing.assert_close(by.as_subclass(Tensor), gradient, msg=f"gradient, {name} {state}")
            if engine:
                refused(loss, given, settings, name)


def inside_nothing():
    return torch.enable_grad()


def refused(loss, given, settings, name):
    """States that are no numbers in plain sight."""
    for state, change in REFUSED.items():
        if name in ("weight", "pos_weight", *(operand.name for operand in loss.operands)) and state in ("a list", "an array", "None"):
            continue  # these are taken
        if state == "None" and (name not in loss.tensors or inspect.signature(loss.function).parameters[name].default is None):
            continue  # so is this
        try:
            other = change(given[name].clone())
        except (RuntimeError, ValueError):
            continue  # torch has no such tensor of this kind
        if isinstance(other, (bool, float, int)):
            continue
        try:
            called(loss, {key: other if key == name else y.clone() for key, y in given.items()}, settings)
        except (TypeError, ValueError) as error:
            assert re.match(rf"{name} (must|is on|has)|({'|'.join(given)}) (is on)", str(error)), f"{name} {state}: {error}"
        else:
            raise AssertionError(f"{name} {state} was taken")


def given_to(loss, given, settings):
    """The loss alone."""
    rest = {name: x for name, x in given.items() if name not in loss.tensors}
    return loss.function(*(given[name] for name in loss.tensors), **settings, **rest)


def test_what_is_no_tensor_is_refused_by_name_with_every_flag():
    """A flag may take a way of its own, past the checks: a list of labels met an AttributeError there."""
    seen = set()
    for loss in LOSSES:
        given, settings = tensors_of(loss)
        for flag in inspect.signature(loss.function).parameters.values():
            if not isinstance(flag.default, bool) or flag.name in settings:
                continue
            turned = settings | {flag.name: not flag.default}
            for leave in ((), ("mask", "sample_weight", "normalizer")):
                rest = {name: x for name, x in given.items() if name not in leave}
                if flag.name == "from_logits":
                    rest[loss.tensors[0]] = torch.full((4, 3), 1 / 3)
                elif flag.name == "log_target":
                    rest["target"] = torch.full((4, 3), 1 / 3).log()
                try:
                    with losskit.use_engine("torch"):  # that it goes; what is refused below reaches no engine
                        given_to(loss, rest, turned)
                except (TypeError, ValueError):
                    continue  # this flag does not go with these
                seen.add(flag.name)
                for name in loss.tensors:
                    for other in ("text", [[0.5]]):
                        with pytest.raises((TypeError, ValueError), match=rf"^{name} must be"):
                            given_to(loss, {**rest, name: other}, turned)
                break
    assert {"shift", "return_parts", "log_target", "from_logits"} <= seen


def with_a_nan():
    """Each loss, of tasks with a number for each class too, with a NaN in place 4 of its input, of an item that counts."""
    for loss in LOSSES:
        if loss.name == "nll_loss":  # minus the label's score: linear, and its gradient reads none
            continue
        given, settings = tensors_of(loss)
        x = given[loss.tensors[0]]
        given[loss.tensors[0]] = x.reshape(-1).index_fill(0, torch.tensor(4), math.nan).reshape(x.shape)
        given |= {name: torch.tensor(1.5) for name in ("logit_scale", "logit_bias") if name in given}
        given = {name: x for name, x in given.items() if name not in ("mask", "sample_weight")}  # in the loops that other tests run
        yield loss, given, settings
        if settings.get("task") == "multiclass" and loss.pattern in ("overlap", "ranked"):
            yield loss, given | {"target": torch.eye(4)[:, :3]}, settings | {"task": "multilabel"}


@pytest.mark.parametrize(("engine", "step"), [("torch", 1), (None, 4), *thorough_rows([(None, 1)])])
def test_a_score_that_is_no_number_shows_in_value_and_gradient(engine, step):
    """Not in the value alone: the gradient of a NaN ends at a clamp or an absolute value on its way. In the loops of every fourth loss, and in those of all."""
    for loss, given, settings in [*with_a_nan()][::step]:
        x = given[loss.tensors[0]].requires_grad_()
        for operand in (*loss.tensors[1:], *(each.name for each in loss.operands_of(loss.arguments[0]))):  # as other tests ask for them
            if given[operand].is_floating_point() and loss.pattern in ("elementwise", "boxes"):
                given[operand].requires_grad_()
        with losskit.use_engine(engine) if engine else inside_nothing():
            value = given_to(loss, given, settings)
            (gradient,) = torch.autograd.grad(value, x)
        assert value.isnan() and gradient.view(-1)[4].isnan(), f"{loss.name} {settings}: {value}, {gradient}"
    p = torch.tensor([0.2, math.nan, 0.7]).requires_grad_()
    with losskit.use_engine(engine) if engine else inside_nothing():
        losskit.lovasz_loss(p[None], torch.tensor([[1, 0, 1]]), task="binary", from_logits=False).backward()
    assert p.grad.isnan().tolist() == [False, True, False]


def test_arrays_and_lists_are_taken_as_weights():
    x, t = torch.randn(4, 3), torch.tensor([0, 2, 1, 0])
    expected = losskit.cross_entropy(x, t, weight=torch.tensor([1.0, 0.5, 2.0]))
    for weight in ([1.0, 0.5, 2.0], numpy.array([1.0, 0.5, 2.0])):
        assert losskit.cross_entropy(x, t, weight=weight) == expected


def test_what_is_usual_passes_every_check():
    """`dispatch.usual` answers for all checks at once, so it says yes only where each of them finds nothing."""
    states = {"plain": lambda x: x, "zeros without memory": lambda x: torch._efficientzerotensor(x.shape), **WORKS, **REFUSED}
    found = set()
    for state, change in states.items():
        for place in (0, 1):
            pair = [torch.randn(4, 3), torch.randn(4, 3)]
            pair[place] = change(pair[place])
            if dispatch.usual(*pair):
                found.add(state)
                for x in pair:
                    tensors.check("input", x)
                call = Call(None)
                assert dispatch.choice(pair) == dispatch.ON_CPU, state
                assert tensors.all_lasting(tuple(pair), call) == (tuple(pair), call), state
    assert {"plain", "strided", "a parameter without gradient"} <= found and not found & REFUSED.keys()


def under_a_mode(f, x):
    with FakeTensorMode(allow_non_fake_inputs=True):
        f(x)


def forced(f, x):
    with losskit.use_engine("cpu"):
        f(x)


def asked(f, x):
    def call(x):
        f(x)
        return losskit.mse_loss(x, x)

    losskit.engine_for(call, x)


LOOKS = {
    "vmap": lambda f, x: torch.func.vmap(f)(x),
    "jvp": lambda f, x: torch.func.jvp(f, (x,), (x,)),
    "trace": lambda f, x: torch.jit.trace(f, x, check_trace=False),
    "compile": lambda f, x: torch.compile(f, backend="eager", fullgraph=True)(x),
    "mode": under_a_mode,
    "force": forced,
    "question": asked,
}


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_nothing_is_usual_while_somebody_looks_on(look):
    found = []

    def f(x):
        found.append(dispatch.usual(x, x))
        return x + 1

    look(f, torch.randn(4, 3))
    assert found and not any(found)
