"""Compiled graphs: the gradients that a forward has made are handed over by its backward, not made or copied again."""

import gc
import shutil
import weakref
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import losskit
from losskit.engines import registered
from losskit.engines.cpu import rows
from losskit.engines.cpu.core import gradients

INDUCTOR = pytest.mark.skipif(shutil.which("g++") is None and shutil.which("clang++") is None, reason="C++")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every pass is an operator, of any size."""
    torch.compiler.reset()
    monkeypatch.setattr("losskit.engines.operators.SMALL", 0)
    yield
    torch.compiler.reset()


def scores(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return torch.linspace(-3.0, 3.0, 60).sin().reshape(6, 10).to(dtype).requires_grad_(), torch.arange(6)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=[pytest.mark.thorough, INDUCTOR])])
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_one_pass_and_no_copy(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, backend: str) -> None:
    """Of a step whose incoming gradient is 1: the gradient is the memory that the forward wrote. Else it is multiplied, in half precision made again."""
    made: list[int] = []
    again: list[float] = []
    run, rescaled = rows.run, rows.rescaled

    def noted(*args: Any, **options: Any) -> Any:
        found = run(*args, **options)
        made.append(found.gradients[0].data_ptr())
        return found

    monkeypatch.setattr(rows, "run", noted)
    monkeypatch.setattr(rows, "rescaled", lambda given, incoming, *rest: again.append(incoming.item()) or rescaled(given, incoming, *rest))
    x, t = scores(dtype)
    step = torch.compile(losskit.cross_entropy, fullgraph=True, backend=backend)
    value = step(x, t)
    (given,) = torch.autograd.grad(value, x)
    assert made == [given.data_ptr()] and not again
    (tripled,) = torch.autograd.grad(step(x, t), x, torch.tensor(3.0))
    expected = torch.autograd.grad(losskit.cross_entropy(x, t), x, torch.tensor(3.0))[0]
    assert again == [3.0, 3.0] and torch.equal(tripled, expected)


def test_a_second_backward_makes_them_again() -> None:
    """The first has given them away: whoever has them may write over them."""
    x, t = scores(torch.float32)
    with torch._functorch.config.patch(donated_buffer=False):
        value = torch.compile(losskit.cross_entropy, fullgraph=True, backend="aot_eager")(x, t)
        first = torch.autograd.grad(value, x, retain_graph=True)[0]
        kept = first.clone()
        first.zero_()
        assert torch.equal(torch.autograd.grad(value, x)[0], kept)


def test_a_token_that_was_copied_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then they are made again."""
    x, t = scores(torch.float32)
    value = losskit.cross_entropy(x, t)
    expected = torch.autograd.grad(value, x, torch.tensor(2.0))[0]
    held = registered.held
    monkeypatch.setattr(registered, "held", lambda *args: held(*args).clone())
    value = torch.compile(losskit.cross_entropy, fullgraph=True, backend="aot_eager")(x, t)
    assert torch.equal(torch.autograd.grad(value, x, torch.tensor(2.0))[0], expected)


def test_gradients_that_nobody_takes_go_with_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[weakref.ref[Tensor]] = []
    held = registered.held

    def noted(x: Tensor, gradients: Any) -> Tensor:
        alive.append(weakref.ref(gradients[0]))
        return held(x, gradients)

    monkeypatch.setattr(registered, "held", noted)
    x, t = scores(torch.float32)
    value = torch.compile(losskit.cross_entropy, fullgraph=True, backend="aot_eager")(x, t)
    assert alive[0]() is not None
    del value
    gc.collect()
    assert alive[0]() is None


@pytest.mark.parametrize("factor", [0.125, -4.0, 0.3])
def test_half_precision_is_made_again_where_a_product_would_be_rounded(factor: float) -> None:
    """In eager calls as in graphs: a power of 2 is multiplied in place, with the bits of what would be made again."""
    x, t = scores(torch.bfloat16)
    value = losskit.cross_entropy(x, t)
    first, second = (torch.autograd.grad(value, x, torch.tensor(factor), retain_graph=True)[0] for _ in range(2))  # the second is made again in any case
    assert torch.equal(first, second)
    assert gradients.exact(factor, [torch.bfloat16]) == (factor != 0.3) and not gradients.exact(factor, [torch.float16])


def test_gradients_that_are_made_again_are_let_go_of_first(monkeypatch: pytest.MonkeyPatch) -> None:
    x, t = scores(torch.bfloat16)
    value = losskit.cross_entropy(x, t)
    given = weakref.ref(value.grad_fn.gradients[0])  # type: ignore[union-attr]
    alive: list[bool] = []
    run = rows.run
    monkeypatch.setattr(rows, "rescaled", partial(gradients.rescaled, lambda *args, **options: alive.append(given() is not None) or run(*args, **options)))
    torch.autograd.grad(value, x, torch.tensor(0.3))
    assert alive == [False]
