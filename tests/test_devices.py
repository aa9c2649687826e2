"""Tensors on several devices are refused, with the names of both, before anything runs; and no call waits for the device. Without a GPU: fake tensors and tensors
on meta stand for those whose numbers the host cannot see."""

from typing import Any, get_args

import pytest
import torch
from contexts import CONTEXTS, Context
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

import losskit
from losskit.engines import dispatch

FROM_THE_HOST = {torch.tensor, torch.as_tensor, torch.from_numpy, Tensor.to, Tensor.copy_, Tensor.type_as}


def options(context: Context, x: Tensor) -> dict[str, list[Tensor]]:
    """Of the options that may be tensors, what may fit."""
    items = [torch.ones(shape) for shape in (x.shape, x.shape[:1] + x.shape[2:], x.shape[:-1], x.shape[:1])]
    found = {"mask": [item.bool() for item in items], "sample_weight": items, "normalizer": [torch.tensor(2.0)]}
    numbers = [torch.full(shape, 0.5) for shape in ((), (3,), (2,), (1,))]
    annotations = context.loss.function.__annotations__
    return {name: found.get(name, numbers) for name, kind in annotations.items() if name not in context.loss.tensors and Tensor in get_args(kind)}


def fits(context: Context, tensors: tuple[Tensor, ...], name: str, value: Tensor) -> bool:
    """Whether the loss takes it where all is on one device."""
    try:
        context(*tensors, **{name: value})
    except (TypeError, ValueError):
        return False
    return True


def refused(context: Context, *tensors: Tensor, **more: Tensor) -> bool:
    """Whether the message names both devices."""
    with pytest.raises(ValueError) as caught:
        context(*tensors, **more)
    return "meta" in str(caught.value) and "cpu" in str(caught.value)


@pytest.mark.sparse(6)
@pytest.mark.parametrize("context", CONTEXTS, ids=str)
def test_each_tensor_on_another_device_is_refused(context: Context) -> None:
    with losskit.use_engine("torch"):
        tensors = context.tensors()
        for k in range(1, len(tensors)):
            assert refused(context, *(x.to("meta") if i == k else x for i, x in enumerate(tensors)))
        for name, values in options(context, tensors[0]).items():
            value = next((value for value in values if fits(context, tensors, name, value)), None)
            assert value is None or refused(context, *tensors, **{name: value.to("meta")}), name


def test_two_gpus() -> None:
    def on(k: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=f"cuda:{k}")

    with FakeTensorMode():
        x, t = on(0, 4, 3), on(0, 4, dtype=torch.int64)
        calls: dict[str, Any] = {
            "target": lambda: losskit.cross_entropy(x, on(1, 4, dtype=torch.int64)),
            "mask": lambda: losskit.cross_entropy(x, t, mask=on(1, 4, dtype=torch.bool)),
            "sample_weight": lambda: losskit.cross_entropy(x, t, sample_weight=on(1, 4)),
            "weight": lambda: losskit.cross_entropy(x, t, weight=on(1, 3)),
            "temperature": lambda: losskit.cross_entropy(x, t, temperature=on(1)),
            "normalizer": lambda: losskit.cross_entropy(x, t, normalizer=on(1)),
            "delta": lambda: losskit.huber_loss(x, x, delta=on(1, 3)),
            "linear_weight": lambda: losskit.cross_entropy(losskit.linear_scores(x, on(1, 7, 3)), t),
            "linear_bias": lambda: losskit.cross_entropy(losskit.linear_scores(x, on(0, 7, 3), on(1, 7)), t),
            "b": lambda: losskit.pairwise_iou(on(0, 5, 4), on(1, 6, 4)),
        }
        for name, call in calls.items():
            with pytest.raises(ValueError, match=rf"^{name} is on cuda:1,? but \w+ is on cuda:0: try {name}.to\(\w+.device\)$"):
                call()


class Sent(TorchFunctionMode):
    """Notes what is sent from the host's memory to the device: a copy from memory that is not pinned, for which the host waits."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        if func in FROM_THE_HOST and isinstance(result, Tensor) and result.is_meta and not all(x.is_meta for x in given[-1:] or [torch.empty(())]):
            self.seen.append(f"{func.__name__} of {args}")
        return result


def test_what_is_sent_is_noticed() -> None:
    with Sent() as sent:
        x = torch.zeros(2, device="meta")
        torch.full((), 3.0, device="meta").to(torch.float64).copy_(x[0])
        assert not sent.seen
        torch.tensor(3.0, device="meta")
        torch.as_tensor(3, device=x.device)
        torch.ones(2).to("meta")
        x.copy_(torch.ones(2))
        assert [line.split()[0] for line in sent.seen] == ["tensor", "as_tensor", "to", "copy_"]


@pytest.mark.sparse(6)
@pytest.mark.parametrize("context", [c for c in CONTEXTS if c.loss.name != "boundary_loss" or c.kind == "real"], ids=str)  # SciPy reads masks and labels
def test_no_call_waits_for_the_device(context: Context) -> None:
    x, *others = (tensor.to("meta") for tensor in context.tensors())
    x.requires_grad_()
    parts = "return_parts" in context.loss.settings and context.settings.get("from_logits") is not False
    for more in ({}, *([{"return_parts": True}] if parts else [])):
        with Sent() as sent:
            found = context(x, *others, **more)
            (found[0] if more else found).sum().backward()
        assert not sent.seen


class OnGPU:
    """What dispatch asks a tensor on a GPU."""

    is_cpu, is_cuda, device = False, True, torch.device("cuda", 0)


def test_without_triton_a_gpu_has_pytorch_operations_and_one_is_told_what_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors: Any = (OnGPU(), OnGPU())
    assert dispatch._choice(None, tensors, None) == ("triton", "plain tensors on a GPU")
    monkeypatch.setattr(dispatch, "triton_installed", lambda: False)
    engine, reason = dispatch._choice(None, tensors, None)
    assert engine == "torch" and "Triton is not installed" in reason and "more memory and time" in reason and "pip install triton" in reason
    with pytest.raises(losskit.EngineError, match="cannot run this loss: Triton is not installed"):
        dispatch._choice("triton", tensors, None)
    with pytest.raises(losskit.EngineError, match="cannot run this loss: Triton is not installed"), losskit.use_engine("triton"):
        losskit.mse_loss(torch.zeros(2), torch.ones(2))
