"""The modules: same results as the functions, picklable, saved and moved with their weights, checked at construction."""

import ast
import copy
import inspect
import math
import pickle
import re
from typing import Literal, get_args, get_origin

import pytest
import torch
from cases import CASES, Case
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import losskit
from losskit.contract import stubs
from losskit.contract.registry import USUAL
from losskit.testing import inputs


@pytest.fixture(autouse=True)
def operations():
    """What a module holds, and what it hands to its function, is the same in every engine."""
    with losskit.use_engine("torch"):
        yield


class WithoutMeta(TorchDispatchMode):
    """Where PyTorch takes a hundred times as long for each step."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        assert not any(isinstance(y, torch.Tensor) and y.is_meta for y in tree_leaves(found)), func
        return found


@pytest.mark.parametrize("loss", losskit.LOSSES.values(), ids=losskit.LOSSES)
def test_settings_are_checked_without_shape_inference(loss):
    """A schedule sets one in every step."""
    for settings in (*loss.arguments[:1], *loss.rows[:1]):
        settings = {"task": "multiclass"} | settings if "task" in loss.required else settings
        with WithoutMeta():
            module = getattr(losskit, loss.module)(**settings)
            for name, value in settings.items():
                setattr(module, name, value)


def made(case: Case, **more):
    return getattr(losskit, case.loss.module)(**(dict(case.settings) | more))


@pytest.mark.sparse(3)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_module_is_the_function(case: Case):
    with losskit.use_engine("torch"):
        x, t = inputs.batch(case.loss, case.settings)
        mask, weight = torch.rand(x.shape) < 0.5, torch.rand(7)
        arguments = inputs.as_arguments(case.settings)
        for reduction in ("none", "mean", "sum"):
            module = made(case, reduction=reduction)
            assert torch.equal(module(x, t), case.loss.function(x, t, reduction=reduction, **arguments))
            expected = case.loss.function(x, t, reduction=reduction, mask=mask, sample_weight=weight, **arguments)
            assert torch.equal(module(x, t, mask=mask, sample_weight=weight), expected)
        assert torch.equal(made(case)(x, t, normalizer=3.0), case.loss.function(x, t, normalizer=3.0, **arguments))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_copies_pickles_and_repr(case: Case):
    with losskit.use_engine("torch"):
        x, t = inputs.batch(case.loss, case.settings)
        module = made(case)
        expected = module(x, t)
        for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            assert type(twin) is type(module) and repr(twin) == repr(module)
            assert torch.equal(twin(x, t), expected)
        for name, value in case.settings.items():
            assert f"{name}={value!r}" in repr(module)
        assert repr(module).startswith(f"{case.loss.module}(")


def test_repr_can_be_typed_in_again():
    assert repr(losskit.SmoothL1Loss(beta=0.5)) == "SmoothL1Loss(beta=0.5, reduction='mean')"
    assert "pos_weight=[1.0, 3.0]" in repr(losskit.BCEWithLogitsLoss(pos_weight=[1.0, 3.0]))


def test_weights_are_buffers():
    module = losskit.BCEWithLogitsLoss(pos_weight=[1.0, 3.0], weight=torch.tensor([2.0, 0.5]))
    assert set(dict(module.named_buffers())) == {"pos_weight", "weight"} and not list(module.parameters())
    x, t = torch.randn(4, 2), torch.ones(4, 2)
    assert module.to(torch.float64).pos_weight.dtype is torch.float64
    assert module.to("meta").pos_weight.is_meta
    torch.testing.assert_close(losskit.BCEWithLogitsLoss(pos_weight=[1.0, 3.0])(x, t), torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor([1.0, 3.0]))(x, t))


@pytest.mark.sparse(3)
@pytest.mark.parametrize("loss", losskit.LOSSES.values(), ids=lambda loss: loss.name)
def test_settings_are_attributes(loss):
    needed = {name: loss.arguments[0].get(name, "multiclass") for name in loss.required}
    module = getattr(losskit, loss.module)(**needed)
    assert {name: getattr(module, name) for name in loss.settings} == loss.settings | needed == module.settings
    name, value = ("reduction", "none") if "reduction" in loss.settings else ("over", "batch")
    kind = inspect.signature(loss.function).parameters[name].annotation
    options = get_args(kind) if get_origin(kind) is Literal else get_args(get_args(kind)[0])  # or a TopK
    bad, known = "average" if "batchmean" in options else "batchmean", ", ".join(map(repr, options))
    setattr(module, name, value)
    assert getattr(module, name) == value and f"{name}={value!r}" in repr(module)
    with pytest.raises(ValueError, match=f"{name} must be one of {known}; got '{bad}'"):
        setattr(module, name, bad)
    assert getattr(module, name) == value
    for settings in (*loss.arguments, *loss.rows):
        settings = needed | dict(settings)
        given, changed = getattr(losskit, loss.module)(**settings), getattr(losskit, loss.module)(**needed)
        for name, value in settings.items():
            setattr(changed, name, value)
        assert repr(changed) == repr(given) and changed.state_dict().keys() == given.state_dict().keys()
        for twin in (copy.deepcopy(changed), pickle.loads(pickle.dumps(changed))):
            assert repr(twin) == repr(given)


SUMMED = [loss for loss in losskit.LOSSES.values() if "sample_weight" not in inspect.signature(loss.function).parameters]
TASKS = ("binary", "multiclass", "multilabel")


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("loss", SUMMED, ids=lambda loss: loss.name)
def test_modules_of_losses_of_overlap(loss, task):
    x = torch.randn(2, 3, 4, 5)
    t = torch.randint(0, 3, (2, 4, 5)) if task == "multiclass" else (x > 1).long()
    mask = torch.rand(2, 4, 5) < 0.5 if task == "multiclass" else torch.rand(x.shape) < 0.5
    for settings in loss.arguments:
        settings = dict(settings) | {"task": task}
        if settings.get("from_logits") is False:
            continue
        if task == "binary":
            settings.pop("weight", None)
        module = getattr(losskit, loss.module)(**settings)
        with losskit.use_engine("torch"):
            assert torch.equal(module(x, t, mask=mask), loss.function(x, t, mask=mask, **settings))
            assert torch.equal(module(x, t, normalizer=3.0), loss.function(x, t, normalizer=3.0, **settings))
            with pytest.raises(TypeError, match="takes no sample_weight"):
                module(x, t, sample_weight=torch.ones(2))
    with pytest.raises(TypeError, match=f"{loss.module} needs task=: one of 'binary', 'multiclass', 'multilabel'"):
        getattr(losskit, loss.module)()


@pytest.mark.parametrize("dim", [1, 2, -1, -2, -3])
@pytest.mark.parametrize("task", TASKS)
def test_classes_may_lie_along_any_axis_but_that_of_the_samples(task, dim):
    weight = torch.ones(1 if task == "binary" else 3)
    module = losskit.DiceLoss(task=task, dim=dim, weight=weight, average="none")
    axes = max(dim + 1, 1 - dim, 2)
    x = torch.randn([2] * axes).movedim(0, 0)
    x = torch.cat([x, x, x], dim).narrow(dim, 0, len(weight))
    with losskit.use_engine("torch"):
        assert module(x, x.argmax(dim) if task == "multiclass" else (x > 0)).shape == (2, 1 if task == "binary" else 3)
    if task != "binary":
        with pytest.raises(ValueError, match="samples along axis 0"):
            module.dim = 0
    assert module.dim == dim


def test_class_weights_are_buffers():
    module = losskit.DiceCELoss(task="multiclass", weight=[1.0, 2.0, 0.5])
    assert set(dict(module.named_buffers())) == {"weight"} and "weight=[1.0, 2.0, 0.5]" in repr(module)
    x, t = torch.randn(2, 3, 4), torch.randint(0, 3, (2, 4))
    with losskit.use_engine("torch"):
        loss, parts = losskit.DiceCELoss(task="multiclass", weight=[1.0, 2.0, 0.5], return_parts=True)(x, t)
        assert torch.equal(module(x, t), loss) and parts._fields == ("dice", "ce")
    module.weight = None
    assert not list(module.buffers())
    focal = losskit.DiceFocalLoss(task="multiclass", alpha=[0.5, 2.0])
    assert set(dict(focal.named_buffers())) == {"alpha"}


def test_boundary_module():
    x, d = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    for task in TASKS:
        module = losskit.BoundaryLoss(task=task, reduction="none")
        assert torch.equal(module(x, d), losskit.boundary_loss(x, d, task=task, reduction="none"))
    weight = torch.rand(2, 1)
    module = losskit.BoundaryLoss(task="multiclass", background=False)
    assert torch.equal(module(x, d, sample_weight=weight), losskit.boundary_loss(x, d, task="multiclass", background=False, sample_weight=weight))


def test_a_changed_setting_holds_from_the_next_call_on():
    x, t = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([1.0, 0.0, 1.0])
    module = losskit.FocalLoss(gamma=3)
    assert module.gamma == 3 and module(x, t) == losskit.focal_loss(x, t, gamma=3)
    module.gamma, module.alpha, module.reduction = 1.5, 0.25, "none"
    assert torch.equal(module(x, t), losskit.focal_loss(x, t, gamma=1.5, alpha=0.25, reduction="none"))
    module.training = False  # not a setting: torch's own
    module.note = "kept"
    assert module.note == "kept" and not module.training


def test_weights_can_be_set_anew():
    module = losskit.BCEWithLogitsLoss()
    module.pos_weight = [1, 3]
    assert torch.equal(module.pos_weight, torch.tensor([1.0, 3.0])) and set(dict(module.named_buffers())) == {"pos_weight"}
    with pytest.raises(ValueError, match=r"weight has shape \(3,\) and pos_weight has shape \(2,\)"):
        module.weight = torch.ones(3)
    assert module.weight is None
    module.pos_weight = torch.tensor([2.0, 4.0])
    x, t = torch.randn(4, 2), torch.ones(4, 2)
    assert torch.equal(module(x, t), losskit.binary_cross_entropy_with_logits(x, t, pos_weight=torch.tensor([2.0, 4.0])))
    swapped = torch.func.functional_call(module, {"pos_weight": torch.zeros(2)}, (x, t))
    assert swapped == 0
    module.pos_weight = None
    assert not list(module.buffers()) and torch.equal(module(x, t), losskit.binary_cross_entropy_with_logits(x, t))
    focal = losskit.FocalLoss(task="multiclass", alpha=[0.5, 2.0])
    assert set(dict(focal.named_buffers())) == {"alpha"}
    focal.alpha = 0.5
    assert focal.alpha == 0.5 and not list(focal.buffers()) and "alpha=0.5" in repr(focal)
    focal.alpha = [0.25, 1.0]
    assert focal.alpha.tolist() == [0.25, 1.0]


@pytest.mark.filterwarnings("ignore")  # the compiler's own deprecations
def test_a_changed_setting_reaches_the_compiled_module():
    module = losskit.HuberLoss(delta=0.5)
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    x, t = torch.tensor([3.0, -1.0]), torch.zeros(2)
    assert compiled(x, t) == losskit.huber_loss(x, t, delta=0.5)
    module.delta, module.reduction = 2.0, "sum"
    assert compiled(x, t) == losskit.huber_loss(x, t, delta=2.0, reduction="sum")
    torch.compiler.reset()


def test_repr_of_many_weights_and_of_weights_without_values():
    many = losskit.BCEWithLogitsLoss(pos_weight=torch.arange(1000.0))
    assert "pos_weight=[0.0, 1.0, 2.0, ... 1000 in all]," in repr(many) and len(repr(many)) < 160
    assert "weight=<shape (20, 1000), torch.float32, cpu>" in repr(losskit.BCEWithLogitsLoss(weight=torch.ones(20, 1000)))
    assert "pos_weight=<shape (2,), torch.float32, meta>" in repr(losskit.BCEWithLogitsLoss(pos_weight=[1, 2]).to("meta"))


def test_a_loss_without_a_target_takes_none():
    x = torch.randn(3, 4)
    assert torch.equal(losskit.Entropy()(x), losskit.entropy(x))
    with pytest.raises(TypeError, match=r"Entropy has no target: call module\(input\)"):
        losskit.Entropy()(x, x)


@pytest.mark.parametrize("loss", losskit.LOSSES.values(), ids=lambda loss: loss.name)
def test_stubs_declare_the_attributes(loss):
    tree = ast.parse(stubs.PATH.read_text(encoding="utf-8"))
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == loss.module).body
    assert [node.target.id for node in body if isinstance(node, ast.AnnAssign)] == list(loss.settings)


BAD = [
    ("SmoothL1Loss", {"beta": -1.0}, ValueError, "beta must be >= 0"),
    ("QualityFocalLoss", {"beta": 0.5}, ValueError, "beta must be 0 or at least 1, got 0.5"),
    ("VarifocalLoss", {"alpha": -1.0}, ValueError, "alpha must be >= 0"),
    ("VarifocalLoss", {"iou_weighted": 1}, TypeError, "iou_weighted must be True or False"),
    ("FocalLoss", {"gamma": -1.0}, ValueError, "gamma must be >= 0"),
    ("FocalLoss", {"alpha": 2.0}, ValueError, "alpha must be"),
    ("FocalLoss", {"task": "other"}, ValueError, "task must be one of"),
    ("MSELoss", {"reduction": "average"}, ValueError, "reduction must be one of"),
    ("MSELoss", {"beta": 1.0}, TypeError, "MSELoss has no argument 'beta'; it takes: reduction"),
    ("MSELoss", {"mask": torch.ones(2, dtype=torch.bool)}, TypeError, "give it when calling the module"),
    ("HuberLoss", {"delta": "big"}, TypeError, "delta must be a number"),
    ("BarronLoss", {"alpha": "big"}, TypeError, "alpha must be a number, a tensor or a list of numbers, got str: 'big'"),
    ("BarronLoss", {"alpha": -11.0, "scale": [1.0, 2.0]}, ValueError, "alpha must be >= -10 and <= 4, got -11.0"),
    ("BarronLoss", {"alpha": 2.5, "nll": True}, ValueError, "alpha must be >= 0 and <= 2, got 2.5"),
    ("BarronLoss", {"nll": 1}, TypeError, "nll must be True or False"),
    ("BCEWithLogitsLoss", {"pos_weight": "abc"}, TypeError, "pos_weight must be a tensor or a list of numbers, got str: 'abc'"),
    ("BCEWithLogitsLoss", {"pos_weight": [[1, 2], [3]]}, ValueError, r"pos_weight must be a tensor or a list of numbers, got list: \[\[1, 2\], \[3\]\]"),
    ("BCEWithLogitsLoss", {"pos_weight": [1, 2.0], "weight": [1, 2, 3.0]}, ValueError, r"weight has shape \(3,\) and pos_weight has shape \(2,\):"),
    ("BCEWithLogitsLoss", {"pos_weight": [1, math.nan]}, ValueError, r"pos_weight must be finite, got nan at index \(1,\)"),
    ("BCEWithLogitsLoss", {"weight": torch.tensor([math.inf])}, ValueError, r"weight must be finite, got inf at index \(0,\)"),
    ("CrossEntropyLoss", {"weight": [1, math.nan]}, ValueError, r"weight must be finite, got nan at index \(1,\)"),
    ("FocalLoss", {"task": "multiclass", "alpha": [1, math.nan]}, ValueError, r"alpha must be finite, got nan at index \(1,\)"),
    ("DiceLoss", {"smooth": 1.0}, TypeError, "DiceLoss needs task=: one of"),
    ("BinaryCrossEntropyLoss", {"reduction": "sum"}, TypeError, "BinaryCrossEntropyLoss needs from_logits=: one of True, False"),
    ("BinaryCrossEntropyLoss", {"from_logits": "yes"}, TypeError, "from_logits must be True or False"),
    ("BCELoss", {"from_logits": False}, TypeError, "BCELoss has no argument 'from_logits'"),
    ("DiceLoss", {"task": "softmax"}, ValueError, "task must be one of"),
    ("DiceLoss", {"task": "binary", "smooth": -1.0}, ValueError, "smooth must be >= 0"),
    ("DiceLoss", {"task": "binary", "background": False}, ValueError, "background=False leaves out class 0"),
    ("DiceLoss", {"task": "binary", "weight": [1.0, 2.0]}, ValueError, r"weight has shape \(2,\), expected one number for each of the 1 classes"),
    ("DiceLoss", {"task": "binary", "process_group": "all"}, TypeError, "process_group must be"),
    ("TverskyLoss", {"task": "multiclass", "alpha": -1.0}, ValueError, "alpha must be >= 0"),
    ("DiceCELoss", {"task": "multiclass", "average": "none"}, ValueError, 'average="none"'),
    ("BoundaryLoss", {"task": "multilabel", "background": False}, ValueError, "background=False leaves out class 0"),
    ("FocalLoss", {"alpha": "abc"}, TypeError, "alpha must be a number, a tensor or a list of numbers, got str: 'abc'"),
]


def test_binary_cross_entropy_that_must_be_told():
    x, t = torch.randn(6, 2), (torch.rand(6, 2) < 0.5).float()
    settings = dict(weight=torch.rand(6, 2), pos_weight=[1.0, 3.0], label_smoothing=0.1, reduction="none")
    mask = x > -1
    for from_logits, module, input in ((True, losskit.BCEWithLogitsLoss, x), (False, losskit.BCELoss, x.sigmoid())):
        told = losskit.BinaryCrossEntropyLoss(from_logits=from_logits, **settings)
        with losskit.use_engine("torch"):
            assert torch.equal(told(input, t, mask=mask), module(**settings)(input, t, mask=mask))
        assert f"from_logits={from_logits}" in repr(told)


@pytest.mark.parametrize(("module", "arguments", "error", "message"), BAD, ids=[f"{b[0]}-{next(iter(b[1]))}-{i}" for i, b in enumerate(BAD)])
def test_bad_settings_raise_at_construction(module, arguments, error, message):
    with pytest.raises(error, match=message):
        getattr(losskit, module)(**arguments)


@pytest.mark.parametrize("loss", losskit.LOSSES.values(), ids=lambda loss: loss.name)
def test_signature_and_docstring(loss):
    module = getattr(losskit, loss.module)
    head = ["in_features", "num_classes", "bias", "device", "dtype"] if loss.owned else []
    assert list(inspect.signature(module).parameters) == [*head, *loss.settings]
    assert module.__doc__.startswith(loss.summary)
    forward = list(inspect.signature(module.forward).parameters)[1:]
    predicted = [operand.name for operand in loss.operands if operand.predicted]
    if predicted and loss.tensors in USUAL:  # some of which are given by name
        assert forward == ["input", "target", "predicted", "mask", "sample_weight", "normalizer", "named"]
    else:
        assert forward == [
            *(("input", "target") if loss.tensors in USUAL else (*loss.tensors, *predicted)),
            *loss.beside,
            "mask",
            "sample_weight",
            "normalizer",
        ]


def test_trains_in_a_sequence_of_modules():
    model, loss = torch.nn.Linear(3, 1), losskit.HuberLoss(delta=0.5)
    x = torch.randn(64, 3)
    y = x @ torch.tensor([[1.0], [-2.0], [0.5]])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    first = loss(model(x), y).item()
    for _ in range(100):
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()
    assert loss(model(x), y).item() < first / 100


def test_what_a_call_with_predicted_operands_refuses():
    module, x, v = losskit.GaussianNLLLoss(), torch.zeros(2), torch.ones(2)
    with pytest.raises(TypeError, match="no argument 'variance'; it takes: input, target, var, log_var, std, mask"):
        module(x, x, variance=v)
    with pytest.raises(TypeError, match="given 6 arguments without a name; it takes: input, target, var"):
        module(x, x, v, v, v, v)
    with pytest.raises(TypeError, match="has var twice"):
        module(x, x, v, var=v)


@pytest.mark.parametrize("loss", [loss for loss in losskit.LOSSES.values() if not loss.owned], ids=lambda loss: loss.name)
def test_settings_without_names_are_told_what_to_write(loss):
    """Written as it says, the module is made; where nothing can be written, the names of its settings stand there."""
    make = getattr(losskit, loss.module)
    for placed in (0.25, 7, "multiclass", True, torch.ones(3)):
        with pytest.raises(TypeError, match=f"{loss.module} takes its settings by name") as told:
            make(placed)
        if written := re.search(r"write \w+\((\w+)=.*\)", str(told.value)):
            make(**{written[1]: placed})
        else:
            assert str(told.value).endswith(", ".join(make.names))


@pytest.mark.parametrize("loss", losskit.LOSSES.values(), ids=lambda loss: loss.name)
def test_a_call_tells_what_is_not_one_of_its_arguments(loss):
    """A setting, a word that is none, too many tensors; before it looks at what they hold."""
    module = getattr(losskit, loss.module)(**{name: loss.arguments[0].get(name, "multiclass") for name in loss.required})
    tensors = [torch.zeros(2, 3)] * len(loss.tensors)
    predicted = {operand.name for operand in loss.operands if operand.predicted}
    for name in loss.settings.keys() - predicted:
        with pytest.raises(
            TypeError, match=rf"^{name} is a setting, not an argument of the call: write {loss.module}\(..., {name}=2\), or set module\.{name} before"
        ):
            module(*tensors, **{name: 2})
    with pytest.raises(TypeError, match=rf"^{loss.module}'s call has no argument 'masks' \(did you mean mask=\?\); it takes: {loss.tensors[0]}, "):
        module(*tensors, masks=tensors[0])
    with pytest.raises(TypeError, match=rf"^{loss.module}'s call was given \d+ arguments without a name; it takes: {loss.tensors[0]}, "):
        module(*tensors, *tensors, *tensors, *tensors)
