"""Cases that once went wrong, each the smallest call that showed it."""

import threading

import pytest
import torch

import losskit


@pytest.mark.parametrize("weights", [[0.1, 0.1], [1e-3, 0.2]])
@pytest.mark.parametrize("engine", ["cpu", "torch"])
def test_weights_that_sum_to_less_than_one(weights, engine):
    x, w = torch.tensor([3.0, 5.0]), torch.tensor(weights)
    with losskit.use_engine(engine):
        value = losskit.l1_loss(x, torch.zeros(2), sample_weight=w)
    assert value.item() == pytest.approx(((x * w).sum() / w.sum()).item(), rel=1e-6)


def test_a_default_device_elsewhere():
    x = torch.zeros(300_000)
    with torch.device("meta"):
        value = losskit.mse_loss(x, x + 1)
    assert value.item() == 1.0


def test_incoming_gradient_with_the_negative_bit():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    value = losskit.l2_loss(x, torch.zeros(2), reduction="none")
    z = torch.complex(torch.zeros(2), value).conj()
    (z * torch.tensor([1j, 2j])).real.sum().backward()
    assert x.grad.tolist() == [1.0, 4.0]


def test_zero_tensors():
    zero = torch._efficientzerotensor(2)
    assert losskit.l2_loss(zero, torch.ones(2)).item() == 0.5
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    value = losskit.l2_loss(x, torch.zeros(2), reduction="none")
    assert (torch.autograd.grad(value, x, zero)[0] + torch.zeros(2)).tolist() == [0.0, 0.0]


def test_compiled_without_gradients():
    function = torch.compile(lambda a, b: losskit.mse_loss(a, b), backend="eager", fullgraph=True)
    assert function(torch.tensor([3.0, 5.0]), torch.zeros(2)).item() == 17.0


@pytest.mark.parametrize(
    "loss, exact",
    [
        (losskit.binary_cross_entropy_with_logits, 0.25),
        (losskit.log_cosh_loss, 1.0),
        (losskit.CharbonnierLoss(eps=0.5), 2.0),
        (losskit.BarronLoss(alpha=1.0), 1.0),
        (losskit.BarronLoss(alpha=0.0), 1.0),
        (losskit.BarronLoss(alpha=-float("inf")), 1.0),
        (losskit.l2_loss, 1.0),
        (losskit.SmoothL1Loss(beta=0.5), 2.0),
    ],
)
def test_second_derivative_at_zero(loss, exact):
    """PyTorch operations compute second derivatives, whatever engine the first came from."""
    x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    with losskit.use_engine("torch"):
        (first,) = torch.autograd.grad(loss(x, torch.zeros(1, dtype=torch.float64)), x, create_graph=True)
        (second,) = torch.autograd.grad(first, x)
    assert second.item() == pytest.approx(exact)


def test_weights_changed_before_the_backward():
    x = torch.tensor([1.0, 2.0], dtype=torch.float16, requires_grad=True)
    w = torch.ones(2)
    value = losskit.l2_loss(x, torch.zeros(2, dtype=torch.float16), sample_weight=w, reduction="sum")
    w.mul_(100)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        (value * 2).backward()


def test_positives_only_normalise_a_mean():
    with pytest.raises(ValueError, match="normalizer"):
        losskit.focal_loss(torch.zeros(2), torch.zeros(2), normalizer="positives", reduction="sum")


def test_modules_are_made_under_a_forced_engine():
    with losskit.use_engine("cpu"):
        assert losskit.MSELoss()(torch.ones(2), torch.zeros(2)).item() == 1.0


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_dtype_of_the_result_follows_the_input(reduction):
    arguments = dict(mask=torch.tensor([True, False]), sample_weight=torch.ones(2, dtype=torch.float64), reduction=reduction)
    for engine in ("cpu", "torch"):
        with losskit.use_engine(engine):
            assert losskit.l2_loss(torch.ones(2), torch.zeros(2), **arguments).dtype is torch.float32


def test_bool_memory_that_is_not_zero_or_one():
    mask = torch.tensor([255, 0, 255], dtype=torch.uint8).view(torch.bool)
    assert losskit.mse_loss(torch.ones(3), torch.zeros(3), mask=mask, reduction="none").tolist() == [1.0, 0.0, 1.0]
    assert losskit.mse_loss(torch.zeros(3), mask, reduction="none").tolist() == [1.0, 0.0, 1.0]


def test_sparse_incoming_gradient():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    value = losskit.l2_loss(x, torch.zeros(2), reduction="none")
    torch.gather(value, 0, torch.tensor([1]), sparse_grad=True).sum().backward()
    assert x.grad.to_dense().tolist() == [0.0, 2.0]


def test_threads_that_call_first_at_once():
    x, t = torch.tensor([3.0, 5.0]), torch.zeros(2)
    results: dict[str, float] = {}
    names = ("l2_loss", "mse_loss", "l1_loss", "huber_loss")
    threads = [threading.Thread(target=lambda n=n: results.__setitem__(n, getattr(losskit, n)(x, t).item())) for n in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {"l2_loss": 8.5, "mse_loss": 17.0, "l1_loss": 4.0, "huber_loss": 3.5}
