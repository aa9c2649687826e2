"""Parameters of losses as tensors: those of numbers where they hold one, and gradients to them that are right."""

import inspect
import math
from functools import cache
from typing import get_args

import mpmath
import pytest
import torch
from cases import ENGINES, beside, thorough

import losskit
from losskit.contract.registry import LABELS, LOSSES

CASES = [
    ("huber_loss", "delta", (0.3, 1.0, 5.0), {}),
    ("smooth_l1_loss", "beta", (0.3, 1.0, 5.0), {}),
    ("barron_loss", "alpha", (-3.0, 0.3, 1.3), {"scale": 0.7, "nll": False}),
    ("barron_loss", "alpha", (-9.5, 1.0, 3.7), {"scale": 2.0, "nll": False}),
    ("barron_loss", "scale", (0.3, 1.0, 5.0), {"alpha": 0.5, "nll": False}),
    ("binary_cross_entropy_with_logits", "pos_weight", (0.3, 1.0, 5.0), {"weight": None, "label_smoothing": 0.0}),
    ("binary_cross_entropy_with_logits", "pos_weight", (0.3, 1.0, 5.0), {"weight": None, "label_smoothing": 0.2}),
    ("binary_cross_entropy", "pos_weight", (0.3, 1.0, 5.0), {"weight": None, "label_smoothing": 0.0}),
    ("binary_cross_entropy", "pos_weight", (0.3, 1.0, 5.0), {"weight": None, "label_smoothing": 0.2}),
]
SHAPES = [(), (1,), (5,), (4, 1), (4, 5)]


def batch(dtype=torch.float64, name="huber_loss"):
    """Input and target of a loss: where it takes probabilities, some targets are 0 or 1."""
    torch.manual_seed(0)
    x, t = 3 * torch.randn(4, 5, dtype=torch.float64), torch.randn(4, 5, dtype=torch.float64)
    facts = LOSSES[name]
    return (x.sigmoid() if facts.input == "probability" else x).to(dtype), (t.add(0.5).clamp(0, 1) if facts.target == "unit" else t).to(dtype)


APART = {"weight": "test_engines.py", "alpha of focal_loss": "refused: test_bad_input.py"}  # tensors whose gradient is examined elsewhere, or that have none


def test_every_setting_that_may_be_a_tensor_is_examined():
    """By the laws of operands (facts of the registry), or here."""
    known = {(name, setting) for name, setting, *_ in CASES}
    for loss in LOSSES.of("elementwise").values():
        for name, parameter in inspect.signature(loss.function).parameters.items():
            if name in loss.settings and torch.Tensor in get_args(parameter.annotation) and not {name, f"{name} of {loss.name}"} & set(APART):
                assert (loss.name, name) in known or name in {operand.name for operand in loss.operands}, f"{name} of {loss.name}"


@cache
def exact(case, point):
    """By the textbook of a case, of one point: the value and its derivatives by x, t and the parameter. It takes most of the time, and many tests ask."""
    name, setting, _, others = CASES[case]

    def textbook(x, t, parameter):
        return LOSSES[name].textbook(mpmath, x, t, **{setting: parameter}, **others)

    place = tuple(map(mpmath.mpf, point))
    return [float(textbook(*place)), *(float(mpmath.diff(textbook, place, tuple(int(k == m) for m in range(3)))) for k in range(3))]


@pytest.mark.parametrize("case", range(len(CASES)), ids=lambda case: "-".join(map(str, CASES[case][:2])))
@pytest.mark.parametrize("shape", [(5,), *thorough(shape for shape in SHAPES if shape != (5,))], ids=str)
def test_value_and_every_gradient_are_the_textbook_s(case, shape):
    name, setting, numbers, others = CASES[case]
    x, t = (y.requires_grad_() for y in batch(name=name))
    mask, weight, incoming = torch.rand(4, 5) > 0.3, torch.rand(4, 5, dtype=torch.float64), torch.randn(4, 5, dtype=torch.float64)
    given = torch.tensor(numbers, dtype=torch.float64)[torch.randint(3, shape)].clone().requires_grad_()
    wide = given.detach().expand(4, 5)
    points = zip(*(y.flatten().tolist() for y in (x, t, wide)), strict=True)
    expected = torch.tensor([exact(case, point) for point in points], dtype=torch.float64).T.reshape(4, 4, 5) * mask * weight
    expected[1:] *= incoming
    for engine in ENGINES:
        few = name in ("huber_loss", "binary_cross_entropy")
        if engine == "cpu" and shape and not few:
            continue  # what shape an operand has is a matter of the loop around the formula
        how = {"sample_weight": weight, "reduction": "none"} if engine == "torch" or few else {"sample_weight": weight * incoming, "reduction": "sum"}
        with losskit.use_engine(engine):
            value = LOSSES[name].function(x, t, **{setting: given}, **others, mask=mask, **how)
            found = torch.autograd.grad(value, (x, t, given), incoming if value.dim() else None)
        torch.testing.assert_close(value.detach(), expected[0] if value.dim() else (expected[0] * incoming).sum(), rtol=1e-12, atol=1e-12)
        for one, other in zip(found, expected[1:], strict=True):
            torch.testing.assert_close(one, other.sum_to_size(one.shape) if one.shape else other.sum(), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "setting", "numbers", "others", "engine"),
    [
        (*case, engine) for case in CASES for engine in ENGINES if engine == "torch" or case[0] == "huber_loss"
    ],  # which number a loop reads: above, of every case
)
def test_a_tensor_of_one_number_is_the_number(name, setting, numbers, others, engine):
    x, t = batch(torch.float32, name)
    with losskit.use_engine(engine):
        plain = (lambda number: [number] * 5) if setting == "pos_weight" else float  # torch's pos_weight is a vector
        for number in numbers:
            for reduction in ("none", "mean", "sum") if engine == "torch" else ("none",):  # the sums of a loop are a matter of the laws of operands
                found, expected = (LOSSES[name].function(x, t, **{setting: s}, **others, reduction=reduction) for s in (torch.tensor(number), plain(number)))
                torch.testing.assert_close(found, expected, rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("engine", ENGINES)
def test_beta_of_0_is_l1(engine):
    x, t = torch.tensor([1.0, -2.0, 0.0], requires_grad=True), torch.zeros(3)
    beta = torch.zeros(3, requires_grad=True)
    with losskit.use_engine(engine):
        each = losskit.smooth_l1_loss(x, t, beta=beta, reduction="none")
        by_x, by_beta = torch.autograd.grad(each.sum(), (x, beta))
    assert each.tolist() == [1.0, 2.0, 0.0]
    assert by_x.tolist() == [1.0, -1.0, 0.0]
    assert by_beta.tolist() == [-0.5, -0.5, 0.0]


@pytest.mark.parametrize(("name", "setting", "bad", "range"), [("huber_loss", "delta", 0.0, "> 0"), ("smooth_l1_loss", "beta", -1.0, ">= 0")])
def test_out_of_range(name, setting, bad, range):
    x, t = batch()
    given = torch.ones(4, 5)
    given[1, 2] = bad
    with losskit.use_engine("torch"), pytest.raises(ValueError, match=rf"{setting} must be {range}, got {bad:g} at index \(1, 2\)"):
        LOSSES[name].function(x, t, **{setting: given})


@pytest.mark.parametrize("engine", ENGINES)
def test_the_gradient_to_pos_weight_at_the_edges(engine):
    """Without a positive share it is 0, however sure the model; a share that is met costs nothing; one that is missed costs what is missing."""
    t = torch.tensor([0.0, 1.0, 0.0, 1.0])
    logits, weight = torch.tensor([-math.inf, -1e4, 1e4, math.inf]), torch.full((4,), 2.0, requires_grad=True)
    with losskit.use_engine(engine):
        losskit.binary_cross_entropy_with_logits(logits, t, pos_weight=weight, reduction="sum", mask=logits != 1e4).backward()
        assert weight.grad.tolist() == [0.0, 1e4, 0.0, 0.0]
        weight.grad = None
        losskit.binary_cross_entropy(torch.tensor([0.0, 0.0, 1.0, 1.0]), t, pos_weight=weight, reduction="sum").backward()
        assert weight.grad.tolist() == pytest.approx([0.0, 149 * math.log(2.0), 0.0, 0.0])


def test_a_module_trains_its_parameter():
    x, t = batch(torch.float32)
    module = losskit.HuberLoss(delta=torch.nn.Parameter(torch.tensor(0.5)))
    assert [name for name, _ in module.named_parameters()] == ["delta"]
    with losskit.use_engine("torch"):
        module(x, t).backward()
    assert module.delta.grad is not None and module.delta.grad.item() > 0.0


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("shape", [(), (1,), (6,), (6, 4), (6, 1)], ids=str)
def test_temperature(shape, reduction):
    """Divergences softened by a temperature per item, or one in all; what is masked holds NaN, and a temperature that is none."""
    torch.manual_seed(0)
    wide = len(shape) == 2
    x, t = torch.randn(6, 5, *(4,) * wide, dtype=torch.float64), torch.rand(6, 5, *(4,) * wide, dtype=torch.float64).softmax(1)
    items = x.select(1, 0).shape
    mask, weight = torch.rand(items) > 0.3, torch.rand(items, dtype=torch.float64)
    temperature = torch.rand(shape, dtype=torch.float64) + 0.5
    engine = "cpu" if shape in ((), (6,)) and reduction == "mean" else "torch"  # more of the loop: the laws of operands of rows
    clean = [y.clone().requires_grad_() for y in (x, temperature, t)]
    x = torch.where(mask.unsqueeze(1), x, math.nan)
    if shape == items:
        temperature = torch.where(mask, temperature, -1.0)
    dirty = [y.clone().requires_grad_() for y in (x, temperature, t)]
    each_temperature = clean[1].expand(items).unsqueeze(1)
    each = (clean[2] * (clean[2].log() - (clean[0] / each_temperature).log_softmax(1))).sum(1) * each_temperature[:, 0] ** 2
    kept = torch.where(mask, weight, 0.0)
    expected = {"none": each * kept, "sum": (each * kept).sum(), "mean": (each * kept).sum() / kept.sum()}[reduction]
    with losskit.use_engine(engine):
        value = losskit.kl_divergence(dirty[0], dirty[2], temperature=dirty[1], mask=mask, sample_weight=weight, reduction=reduction)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-14)
    incoming = torch.linspace(1, 2, value.numel(), dtype=torch.float64).reshape(value.shape)
    for one, other in zip(torch.autograd.grad(value, dirty, incoming), torch.autograd.grad(expected, clean, incoming), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-13)


def test_temperature_is_refused_where_it_is_none():
    x, t = torch.randn(3, 5), torch.rand(3, 5).softmax(1)
    told = r"temperature must be > 0, got -1 at index \(1,\): for a free parameter, try torch.nn.functional.softplus\(temperature\)"
    with losskit.use_engine("torch"), pytest.raises(ValueError, match=told):
        losskit.kl_divergence(x, t, temperature=torch.tensor([1.0, -1.0, 2.0]))
    with pytest.raises(TypeError, match=r"temperature must be a floating-point tensor, got torch.int64: try temperature.float\(\)"):
        losskit.kl_divergence(x, t, temperature=torch.tensor([1, 2, 2]))
    with pytest.raises(ValueError, match=r"temperature has shape \(5,\), which does not broadcast to the target's shape \(3,\)"):
        losskit.kl_divergence(x, t, temperature=torch.ones(5))


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # of the compiler's own
def test_temperature_trains_and_compiles():
    x, t = torch.randn(6, 5), torch.rand(6, 5).softmax(1)
    module = losskit.KLDivergence(temperature=torch.nn.Parameter(torch.tensor(2.0)))
    with losskit.use_engine("torch"):
        module(x, t).backward()
    (temperature,) = module.parameters()
    compiled = torch.compile(lambda T: losskit.kl_divergence(x, t, temperature=T), backend="eager", fullgraph=True)
    again = torch.tensor(2.0, requires_grad=True)
    compiled(again).backward()
    torch.testing.assert_close(again.grad, temperature.grad)


@pytest.mark.parametrize("loss", [loss for loss in LOSSES.values() if loss.operands or loss.name in {name for name, *_ in CASES}], ids=lambda loss: loss.name)
def test_a_module_holds_one_number_in_all(loss):
    """As a parameter without an axis, which fits every input: a matter of modules and of the contract, whatever runs."""
    names = [operand.name for operand in loss.operands] or [setting for name, setting, *_ in CASES if name == loss.name]
    needed = {name: loss.arguments[0][name] for name in loss.required if name in loss.arguments[0]}
    for name in dict.fromkeys(names):
        here = torch.tensor(1.0 if (name, LABELS) in [(operand.name, operand.range) for operand in loss.operands] else 0.75)
        module = getattr(losskit, loss.module)(**(needed | beside(loss, name) | {name: torch.nn.Parameter(here)}))
        assert [held for held, _ in module.named_parameters()] == [name]
        x, t = batch(torch.float32, loss.name)
        with losskit.use_engine("torch"):
            module(x, t.abs() if "target" in loss.ranges and t.is_floating_point() else t).backward()
        (parameter,) = module.parameters()
        assert parameter.grad.shape == ()
