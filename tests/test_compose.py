"""Sums of losses: of every module, as arithmetic and by name; weights that are numbers, schedules, or learned; shared passes; what is refused."""

import copy
import io
import json
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch
from claims import claim
from contexts import CONTEXTS, Context
from torch import Tensor, nn

import losskit
from losskit import LOSSES, Sum, UncertaintyWeight
from losskit.compose.composed import Composed

FIRST: dict[str, Context] = {}
for each in CONTEXTS:
    FIRST.setdefault(each.loss.module, each)
MODULES = list(FIRST.values())


def module(context: Context) -> losskit.LossModule:
    return getattr(losskit, context.loss.module)(**context.settings)  # type: ignore[no-any-return]


def batch(context: Context) -> tuple[Tensor, ...]:
    x, *rest = context.tensors()
    return x.requires_grad_(), *rest


def gradient(value: Tensor, x: Tensor, incoming: float = 1.0) -> Tensor:
    return torch.autograd.grad(value, x, torch.full_like(value, incoming), retain_graph=True)[0]


def close(a: Tensor, b: Tensor, times: float = 1.0) -> None:
    torch.testing.assert_close(a, b, rtol=2e-6 * times, atol=4e-7 * times * float(b.detach().abs().max()))


def test_every_module_is_here() -> None:
    alone = {loss.module for loss in LOSSES.values() if loss.pattern == "linear"}
    assert set(FIRST) | alone == {loss.module for loss in LOSSES.values()}


@claim("Sum", "A part of weight 0 is computed, and adds 0")
@pytest.mark.parametrize("context", MODULES, ids=lambda context: context.loss.name)
def test_scaling_is_linear(context: Context) -> None:
    loss, tensors = module(context), batch(context)
    one = loss(*tensors)
    for scaled, factor in ((3 * loss, 3.0), (loss * 0.25, 0.25), (loss / 4, 0.25), (2 * (3 * loss) / 4, 1.5), (0 * loss, 0.0)):
        found = scaled(*tensors)
        close(found, one * factor)
        close(gradient(found, tensors[0], 0.7), gradient(one, tensors[0], 0.7 * factor))


@pytest.mark.parametrize("context", MODULES, ids=lambda context: context.loss.name)
def test_a_sum_is_the_sum(context: Context) -> None:
    """Value and gradient, with an incoming gradient; parts are on the total's scale, and have no graph. Nested likewise."""
    loss, tensors = module(context), batch(context)
    other = Squares()
    apart = 0.5 * loss(*tensors) + 2.0 * other(*tensors)
    for whole in (
        0.5 * loss + 2 * Sum({"b": other}),
        Sum({"a": (0.5, loss), "b": (2, other)}),
        sum([0.5 * loss, Sum({"b": (2.0, other)})]),
        Sum({"nested": (0.5, Sum({"a": loss, "b": (4.0, other)}))}),
        0.25 * Sum({"nested": (2, Sum({"a": loss, "b": (4.0, other)}))}),
    ):
        assert isinstance(whole, Sum)
        found = whole(*tensors)
        close(found, apart)
        close(gradient(found, tensors[0], -1.3), gradient(apart, tensors[0], -1.3), 4.0)
        assert len(whole.parts) == 2 and not any(part.requires_grad for part in whole.parts.values())
        close(sum(whole.parts.values(), torch.zeros(())), found.detach())


class Squares(nn.Module):
    """Somebody's loss, which takes anything."""

    def forward(self, *tensors: Tensor, mask: Tensor | None = None) -> Tensor:
        return tensors[0].float().pow(2).mean()


@pytest.mark.parametrize("context", MODULES, ids=lambda context: context.loss.name)
def test_copies(context: Context) -> None:
    """Pickled, copied, and through a state: the same value, the same text."""
    loss, tensors = 0.5 * module(context) + Squares(), batch(context)
    value = loss(*tensors)
    buffer = io.BytesIO()
    torch.save(loss.state_dict(), buffer)
    buffer.seek(0)
    twin = 0.5 * module(context) + Squares()
    twin.load_state_dict(torch.load(buffer))
    for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss)), twin):
        assert other.parts.keys() in (set(), loss.parts.keys()) and torch.equal(other(*tensors), value) and repr(other) == repr(loss)
    name = context.loss.name.removesuffix("_loss")
    assert f"({name}): 0.5 * {module(context)!r}" in repr(loss) and "(squares): 1 * Squares()" in repr(loss)


def test_a_sum_holds_the_losses_it_is_made_of() -> None:
    dice = losskit.DiceLoss(task="binary")
    assert (0.5 * dice + losskit.L1Loss())["dice"] is dice
    assert list((dice + dice + dice + losskit.DiceLoss(task="binary")).losses) == ["dice", "dice_2", "dice_3", "dice_4"]
    assert list((losskit.L1Loss() + nn.L1Loss()).losses) == ["l1", "l1_2"]
    assert list((Sum({"l1": losskit.L1Loss()}) + losskit.L1Loss() + losskit.WIoUv3Loss()).losses) == ["l1", "l1_2", "wiouv3"]
    assert list((losskit.L1Loss() + Sum({"l1": losskit.MSELoss()})).losses) == ["l1_2", "l1"]
    assert list((losskit.DiceLoss(task="binary") + type("Loss", (Squares,), {})() + type("Items", (Squares,), {})()).losses) == ["dice", "loss", "items_loss"]


def test_numbers_of_numpy() -> None:
    for weight in (numpy.float32(0.5), numpy.float64(0.5), numpy.int64(2)):
        for loss in (weight * losskit.L1Loss(), losskit.L1Loss() * weight, Sum({"l1": (weight, losskit.L1Loss())})):
            assert isinstance(loss, Sum) and loss(torch.ones(2), torch.zeros(2)).item() == weight


# schedules


def ramp(step: float) -> float:
    return 0.25 * step


@claim("Sum", "Weights are settings, not state")
def test_a_schedule_is_of_the_step_that_is_set() -> None:
    loss = losskit.MSELoss() + ramp * losskit.L1Loss()
    x, t = torch.tensor([3.0]), torch.tensor([1.0])
    with pytest.raises(RuntimeError, match=r"weight of 'l1' is a schedule, ramp\(step\).*call loss.set_step\(step\)"):
        loss(x, t)
    for step in (0, 2, 3.5):
        loss.set_step(step)
        assert loss(x, t).item() == 4.0 + 0.25 * step * 2.0 and loss.parts["l1"].item() == 0.5 * step
    assert not loss.state_dict() and "(l1): ramp(step) * L1Loss" in repr(loss)
    for twin in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert twin(x, t) == loss(x, t)
    assert (2 * loss)["l1"] is loss["l1"]


def test_the_step_reaches_parts_of_parts() -> None:
    loss = losskit.DeepSupervision(Sum({"inner": Sum({"l1": (ramp, losskit.L1Loss())})}))
    holder = Sum({"deep": (ramp, loss)})
    holder.set_step(4)
    x = torch.ones(1, 1, 4)
    assert holder([x], x * 3).item() == 2.0 and list(holder.parts) == ["deep/0/inner/l1"]


@pytest.mark.filterwarnings("ignore:.*should not be instantiated")
def test_a_step_compiles_nothing_again() -> None:
    torch._dynamo.reset()
    graphs: list[Any] = []

    def backend(graph: Any, _: Any) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward  # type: ignore[no-any-return]

    loss = losskit.MSELoss() + ramp * losskit.L1Loss() + UncertaintyWeight() * losskit.HuberLoss()
    compiled = torch.compile(loss, backend=backend, fullgraph=True)
    x, t = torch.randn(7, requires_grad=True), torch.randn(7)
    for step in range(1, 6):
        loss.set_step(step)
        found = compiled(x, t)
        parts = dict(loss.parts)
        wanted = loss(x, t)
        torch.testing.assert_close(found, wanted)
        torch.testing.assert_close(gradient(found, x), gradient(wanted, x))
        torch.testing.assert_close(parts, loss.parts)
    assert len(graphs) == 1


# learned weights


@pytest.mark.parametrize(("likelihood", "half"), [("gaussian", 0.5), ("softmax", 1.0)])
def test_a_learned_weight(likelihood: Any, half: float) -> None:
    weight = UncertaintyWeight(0.3, likelihood)
    loss = Sum({"x": (weight, losskit.MSELoss())})
    x = torch.tensor([3.0, 0.5], requires_grad=True)
    value = loss(x, torch.zeros(2))
    squared = (9.0 + 0.25) / 2
    assert value.item() == pytest.approx(half * math.exp(-0.3) * squared + 0.15, rel=1e-6)
    value.backward()
    assert weight.log_variance.grad is not None and x.grad is not None
    assert weight.log_variance.grad.item() == pytest.approx(-half * math.exp(-0.3) * squared + 0.5, rel=1e-6)
    torch.testing.assert_close(x.grad, half * math.exp(-0.3) * x.detach())
    assert loss.parts["x/log_variance"].item() == pytest.approx(0.15) and list(loss.state_dict()) == ["learned.x.log_variance"]


def test_a_learned_weight_finds_the_size_of_the_noise() -> None:
    loss = UncertaintyWeight() * losskit.MSELoss()
    optimizer = torch.optim.SGD(loss.parameters(), lr=0.5)
    x = 3.0 * torch.randn(4000, generator=torch.Generator().manual_seed(0))
    for _ in range(100):
        optimizer.zero_grad()
        loss(x, torch.zeros(4000)).backward()
        optimizer.step()
    assert loss.learned["mse"].log_variance.item() == pytest.approx(math.log(float(x.pow(2).mean())), abs=1e-3)  # type: ignore[arg-type]


def test_losses_of_items_under_a_learned_weight() -> None:
    """Their mean is the loss of the mean."""
    x, t = torch.tensor([[2.0, 0.0], [1.0, 3.0]]), torch.tensor([1, 1])
    each, mean = (
        losskit.Sum({"ce": (losskit.UncertaintyWeight(0.3), loss)})(x, t) for loss in (losskit.CrossEntropyLoss(reduction="none"), losskit.CrossEntropyLoss())
    )
    assert each.shape == (2,)
    torch.testing.assert_close(each.mean(), mean)


@pytest.mark.parametrize("weight", [0.0, lambda step: 0.0, (2.0, lambda step: 0.0)], ids=["number", "schedule", "product"])
def test_a_part_of_weight_0_adds_0_whatever_it_is(weight: Any) -> None:
    x = torch.tensor([1e30, 1.0]).requires_grad_()  # whose square is infinite
    loss = losskit.Sum({"mse": (weight, losskit.MSELoss()), "l1": losskit.L1Loss()})
    loss.set_step(3)
    value = loss(x, torch.zeros(2))
    value.backward()
    assert value == 5e29 and loss.parts["mse"] == 0.0
    assert x.grad is not None and x.grad.tolist() == [0.5, 0.5]


def test_a_weight_may_be_a_product() -> None:
    """So what arithmetic makes can be made by the constructor, and written."""
    learned = 3.0 * (losskit.UncertaintyWeight(0.5, "softmax") * losskit.MSELoss())
    scheduled = 3.0 * ((lambda step: 1.0 / step) * losskit.MSELoss())  # which has no step 0
    scheduled.set_step(2)
    x, t = torch.tensor([3.0]), torch.zeros(1)
    again = losskit.Sum(**scheduled.settings)
    again.set_step(2)
    assert again(x, t) == scheduled(x, t) == 13.5
    for again in (losskit.Sum(**learned.settings), losskit.from_config(json.loads(json.dumps(learned.to_config())))):
        torch.testing.assert_close(again(x, t), learned(x, t))
        assert repr(again) == repr(learned)


def test_a_schedule_that_raises_says_whose_weight_it_is() -> None:
    loss = (lambda step: 1.0 / step) * losskit.L1Loss()
    with pytest.raises(ZeroDivisionError) as raised:
        loss.set_step(0)
    assert raised.value.__notes__ == ["This is the weight of 'l1', <lambda>(step), at step 0."]


def test_scaling_scales_what_a_learned_weight_adds() -> None:
    loss = UncertaintyWeight(1.0) * losskit.MSELoss()
    x, t = torch.tensor([3.0]), torch.tensor([1.0])
    assert (3 * loss)(x, t).item() == pytest.approx(3 * loss(x, t).item())
    assert (3 * loss).learned["mse"] is loss.learned["mse"]


# one pass


def test_dice_and_cross_entropy_are_one_pass_however_written() -> None:
    draw = torch.Generator().manual_seed(0)
    x, t = torch.randn(2, 4, 11, generator=draw).requires_grad_(), torch.randint(0, 4, (2, 11), generator=draw)
    mask = torch.rand((2, 11), generator=draw) > 0.3
    dice, ce = losskit.DiceLoss(task="multiclass"), losskit.CrossEntropyLoss()
    wanted, parts = losskit.dice_ce_loss(x, t, task="multiclass", mask=mask, return_parts=True)
    asked = []
    whole = losskit.contract.together.Company.extra  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("losskit.contract.together.Company.extra", lambda self, *args: asked.append(whole(self, *args)) or asked[-1])
        for loss in (dice + ce, ce + dice, Sum({"d": dice, "c": ce}), Sum({"d": Sum({"d": dice}), "c": Sum({"c": ce})}), sum([Sum({"c": ce}), dice])):
            found = loss(x, t, mask=mask)
            close(found, wanted)
            close(gradient(found, x), gradient(wanted, x))
            assert {float(part) for part in loss.parts.values()} == {float(parts.dice), float(parts.ce)}
    assert len(asked) == 5 and None not in asked


def test_gradcheck() -> None:
    """With learned weights, through a shared pass, and to the second derivative."""
    draw = torch.Generator().manual_seed(0)
    x, t = torch.randn(2, 3, 4, generator=draw, dtype=torch.float64), torch.randint(0, 3, (2, 4), generator=draw)
    weight = UncertaintyWeight(0.2).double()
    loss = weight * losskit.DiceLoss(task="multiclass") + 0.3 * losskit.CrossEntropyLoss()

    def work(x: Tensor, s: Tensor) -> Tensor:
        return torch.func.functional_call(loss, {"learned.dice.log_variance": s}, (x, t))

    inputs = (x.requires_grad_(), weight.log_variance.detach().requires_grad_())
    assert torch.autograd.gradcheck(work, inputs) and torch.autograd.gradgradcheck(work, inputs)


# where


def positive(input: Tensor, target: Tensor) -> Tensor:
    return target > 0


def test_where_a_part_counts() -> None:
    loss = Sum({"l1": losskit.L1Loss(), "mse": (2.0, losskit.MSELoss())}, where={"mse": positive})
    x, t = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, 1.0, 1.0])
    assert loss(x, t).item() == pytest.approx((1 + 1 + 2) / 3 + 2 * (1 + 4) / 2)
    assert loss(x, t, mask=torch.tensor([True, True, False])).item() == pytest.approx((1 + 1) / 2 + 2 * 1)
    assert "MSELoss(reduction='mean') where positive" in repr(loss) and repr(pickle.loads(pickle.dumps(loss))) == repr(loss)
    assert (0.5 * loss + losskit.HuberLoss())._where == {"mse": positive}
    nested = Sum({"outer": loss}, where={"outer": lambda input, target: input < 3})
    assert nested(x, t).item() == loss(x, t, mask=x < 3).item()
    masked = Sum({"d": losskit.DiceLoss(task="binary"), "b": losskit.BCEWithLogitsLoss()}, where={"b": positive})
    x, t = x[None], t[None]
    close(masked(x, t), losskit.dice_loss(x, t, task="binary") + losskit.binary_cross_entropy_with_logits(x, t, mask=t > 0))


# parts


def test_parts_are_not_kept_where_they_would_be_of_a_transform() -> None:
    loss = losskit.MSELoss() + losskit.L1Loss()
    x, t = torch.randn(3, 4), torch.randn(3, 4)
    loss(x[0], t[0])
    before = loss.parts
    torch.testing.assert_close(torch.func.vmap(loss)(x, t), torch.stack([losskit.mse_loss(a, b) + losskit.l1_loss(a, b) for a, b in zip(x, t, strict=True)]))
    exported = torch.export.export(loss, (x, t))
    torch.testing.assert_close(exported.module()(x, t), losskit.mse_loss(x, t) + losskit.l1_loss(x, t))
    torch.testing.assert_close(loss.parts, before)
    assert all(type(part) is Tensor for part in loss.parts.values())


def test_items_add_up_where_all_have_them() -> None:
    loss = losskit.MSELoss(reduction="none") + 2 * losskit.L1Loss(reduction="none")
    assert loss(torch.tensor([3.0, -1.0]), torch.zeros(2)).tolist() == [15.0, 3.0]


def test_mining_beside_another_loss() -> None:
    loss = losskit.DiceLoss(task="binary") + losskit.BCEWithLogitsLoss(reduction=losskit.TopK(0.5))
    x, t = torch.tensor([[2.0, -1.0, 0.5, 3.0]]), torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    close(loss(x, t), losskit.dice_loss(x, t, task="binary") + losskit.binary_cross_entropy_with_logits(x, t, reduction="none").topk(2, 1).values.mean())


# what is refused

L1, MSE = losskit.L1Loss(), losskit.MSELoss()


@pytest.mark.parametrize(
    ("work", "error", "told"),
    [
        (lambda: -L1, TypeError, "cannot be subtracted"),
        (lambda: L1 - MSE, TypeError, "subtract the values"),
        (lambda: -1 * L1, ValueError, "weight must be >= 0, got -1"),
        (lambda: math.nan * L1, ValueError, "weight must not be NaN"),
        (lambda: L1 * math.inf, ValueError, "weight must be finite"),
        (lambda: L1 * True, TypeError, "must be a number"),
        (lambda: L1 * MSE, TypeError, "cannot be multiplied by a loss"),
        (lambda: L1 * "2", TypeError, "must be a number"),
        (lambda: torch.tensor(0.5) * L1, TypeError, "try 0.5"),
        (lambda: Sum({"a": ((ramp, UncertaintyWeight()), L1)}), TypeError, "two factors that are no numbers"),
        (lambda: L1 * nn.Parameter(torch.tensor(0.5)), TypeError, "try losskit.UncertaintyWeight"),
        (lambda: L1 / 0, ValueError, "must be > 0"),
        (lambda: L1 / MSE, TypeError, "by a number alone"),
        (lambda: L1 + 0.5, TypeError, r"a number cannot be added to a loss, got 0.5.*0.5 \* loss"),
        (lambda: L1 + losskit.mse_loss, TypeError, r"part 'mse_loss' must be a loss.*use its module"),
        (lambda: L1 + losskit.MSELoss, TypeError, r"is the class MSELoss: make a loss of it, MSELoss\(...\)"),
        (lambda: ramp * (L1 + MSE), TypeError, r"belongs to one loss: name the sum as a part"),
        (lambda: Sum({}), ValueError, "needs at least one loss"),
        (lambda: Sum([L1, MSE]), TypeError, "takes a dictionary of losses by name"),
        (lambda: Sum({"a": (-1.0, L1)}), ValueError, "weight of 'a' must be >= 0"),
        (lambda: Sum({"a": (math.nan, L1)}), ValueError, "weight of 'a' must not be NaN"),
        (lambda: Sum({"a": (L1, 0.5)}), TypeError, "part 'a' must be a loss"),
        (lambda: Sum({"a": (1.0, 2.0, L1)}), TypeError, r"a tuple of 3: write \(weight, loss\)"),
        (lambda: Sum({"a": losskit.l1_loss}), TypeError, "use its module"),
        (lambda: Sum({"a.b": L1}), ValueError, "names are strings without"),
        (lambda: Sum({1: L1}), ValueError, "names are strings without"),
        (lambda: Sum({"keys": L1}), ValueError, "means something else here: try 'keys_loss'"),
        (lambda: Sum({"_modules": L1}), ValueError, "means something else here: try 'modules_loss'"),
        (lambda: Sum({"log_variance": L1}), ValueError, "means something else here"),
        (lambda: Sum({"a": L1}) + Sum({"a": MSE}), ValueError, "both sums have a part 'a': give one of them another name"),
        (lambda: Sum({"a": L1}, where={"b": positive}), ValueError, "where names 'b', which is no part: the parts are 'a'"),
        (lambda: Sum({"a": L1}, where={"a": 3}), TypeError, "must be a function"),
        (lambda: Sum({"a": L1}, where={"a": lambda x, t: t})(torch.ones(2), torch.ones(2)), TypeError, "bool tensor.*compare"),
        (lambda: Sum({"a": (lambda step: math.nan, L1)}), ValueError, "at step 0 must be finite and >= 0, got nan"),
        (lambda: Sum({"a": (lambda step: "1", L1)}), TypeError, "at step 0 must be a number, got str"),
        (lambda: Sum({"a": (lambda step: torch.tensor(1.0), L1)}), TypeError, "Return a float"),
        (lambda: Sum({"a": (lambda step: 1.0 - step, L1)}).set_step(3), ValueError, "at step 3 must be finite and >= 0, got -2.0"),
        (lambda: Sum({"a": (ramp, L1)}).set_step(-1), ValueError, "step must be >= 0"),
        (lambda: Sum({"a": (ramp, L1)}).set_step("1"), TypeError, "step must be a number"),
        (lambda: UncertaintyWeight("a"), TypeError, "log_variance must be a number"),
        (lambda: UncertaintyWeight(likelihood="cauchy"), ValueError, "likelihood must be one of 'gaussian', 'softmax'"),
        (lambda: (L1 + losskit.MSELoss(reduction="none"))(torch.ones(2), torch.ones(2)), ValueError, r"'l1' has \(\) and 'mse' \(2,\)"),
        (
            lambda: (losskit.CrossEntropyLoss(return_parts=True) + losskit.PolyLoss())(torch.zeros(2, 3), torch.zeros(2).long()),
            TypeError, "part 'cross_entropy' gives tuple.*leave return_parts out",
        ),
        (lambda: (losskit.DiceLoss(task="binary") + L1)(torch.ones(1, 2), torch.ones(1, 2), sample_weight=torch.ones(1, 2)), TypeError, "takes no sample_weight"),
    ],
)  # fmt: skip
def test_refused(work: Callable[[], Any], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        work()


def test_composed_losses_are_not_scripted() -> None:
    with pytest.raises(TypeError, match="cannot compile a loss of losskit"), pytest.warns(DeprecationWarning):
        torch.jit.script(L1 + MSE)
    assert isinstance(L1 + MSE, Composed)
