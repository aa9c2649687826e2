"""Compiled, exported, traced: the same values and gradients, in one graph. A few losses stand for their kinds, and what PyTorch makes of graphs is its own
business: but for one test here the operations in them run as they stand. (Every function, compiled: see test_fresh.)"""

import pytest
import torch
from cases import Case, one

import losskit
from losskit.testing import inputs

KINDS = [
    one("smooth_l1_loss", beta=0.5),
    one("focal_loss", alpha=0.25, gamma=1.5),
]


def value_and_gradient(function, x, t, **arguments):
    a = x.clone().requires_grad_()
    value = function(a, t, **arguments)
    return value.detach(), torch.autograd.grad(value, a)[0]


@pytest.fixture(autouse=True)
def fresh():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.sparse(2)
@pytest.mark.filterwarnings("ignore")  # the compiler's own deprecations
@pytest.mark.parametrize("case", KINDS, ids=str)
def test_compiled_is_eager(case: Case):
    arguments = inputs.as_arguments(case.settings)

    def step(x, t, mask):
        return case.loss.function(x, t, mask=mask, **arguments)

    compiled = torch.compile(step, fullgraph=True, dynamic=True, backend="aot_eager")
    for shape in ((6, 5), (8, 9)):
        x, t = inputs.batch(case.loss, case.settings, shape)
        mask = torch.rand(shape) < 0.6
        torch.testing.assert_close(value_and_gradient(compiled, x, t, mask=mask), value_and_gradient(step, x, t, mask=mask), rtol=2e-5, atol=1e-7)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.thorough
def test_compiled_module_with_weights_and_garbage_under_the_mask():
    module = losskit.BCEWithLogitsLoss(pos_weight=[1.0, 3.0])
    x, t = torch.randn(6, 2), torch.rand(6, 2)
    mask = torch.tensor([True, True, True, True, False, False])[:, None]
    x[4:], t[4:] = float("nan"), 7.0
    compiled = torch.compile(module, fullgraph=True)
    assert torch.isfinite(value_and_gradient(compiled, x, t, mask=mask)[1]).all()
    torch.testing.assert_close(value_and_gradient(compiled, x, t, mask=mask), value_and_gradient(module, x, t, mask=mask), rtol=1e-5, atol=1e-8)


@pytest.mark.filterwarnings("ignore")
def test_compiled_bins():
    """A position outside is NaN in its item: the compiler looks at no numbers."""
    compiled = torch.compile(losskit.distribution_focal_loss, fullgraph=True, dynamic=True, backend="eager")
    for shape in ((6, 5), (8, 9)):
        x, t, mask = torch.randn(shape), torch.rand(shape[0]) * (shape[1] - 1), torch.rand(shape[0]) < 0.6
        torch.testing.assert_close(
            value_and_gradient(compiled, x, t, mask=mask), value_and_gradient(losskit.distribution_focal_loss, x, t, mask=mask), rtol=2e-5, atol=1e-7
        )
    assert compiled(x, torch.tensor([1.5, 8.01, -0.01, 8.0, 0.0, 1.0, 2.0, float("nan")]), reduction="none").isnan().nonzero()[:, 0].tolist() == [1, 2, 7]


@pytest.mark.filterwarnings("ignore")
def test_exported():
    class Step(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.loss = losskit.FocalLoss(alpha=0.25, gamma=2.0)

        def forward(self, x, t):
            return self.loss(x, t)

    x, t = torch.randn(8, 3), (torch.rand(8, 3) < 0.5).float()
    exported = torch.export.export(Step(), (x, t), dynamic_shapes={"x": {0: torch.export.Dim("n")}, "t": {0: torch.export.Dim("n")}})
    for n in (8, 5):
        torch.testing.assert_close(exported.module()(x[:n], t[:n]), losskit.focal_loss(x[:n], t[:n], alpha=0.25, gamma=2.0))


def test_fake_and_meta_tensors():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        assert losskit.huber_loss(torch.empty(3, 4), torch.empty(3, 4)).shape == ()
        assert losskit.huber_loss(torch.empty(3, 4), torch.empty(3, 4), reduction="none").shape == (3, 4)
    x = torch.empty(3, 4, device="meta", requires_grad=True)
    losskit.binary_cross_entropy_with_logits(x, torch.empty(3, 4, device="meta")).backward()
    assert x.grad.shape == (3, 4)


def test_make_fx():
    from torch.fx.experimental.proxy_tensor import make_fx

    x, t = torch.randn(4), torch.randn(4)
    graph = make_fx(lambda x, t: losskit.log_cosh_loss(x, t))(x, t)
    torch.testing.assert_close(graph(x + 1, t), losskit.log_cosh_loss(x + 1, t))


def test_checkpointed():
    from torch.utils.checkpoint import checkpoint

    x, t = torch.randn(9), torch.randn(9)
    plain = value_and_gradient(losskit.huber_loss, x, t)
    torch.testing.assert_close(value_and_gradient(lambda a, t: checkpoint(losskit.huber_loss, a, t, use_reentrant=False), x, t), plain, rtol=0, atol=0)


def test_per_sample_gradients():
    x, t = torch.randn(5, 3), torch.randn(5, 3)
    weight = torch.randn(3)

    def loss(weight, x, t):
        return losskit.huber_loss(weight * x, t)

    found = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(weight, x, t)
    for i in range(5):
        w = weight.clone().requires_grad_()
        torch.testing.assert_close(found[i], torch.autograd.grad(loss(w, x[i], t[i]), w)[0])


class Called(torch.nn.Module):
    """A function as a module, which exporters ask for."""

    def __init__(self, function, **settings):
        super().__init__()
        self.function, self.settings = function, settings

    def forward(self, x, t):
        return self.function(x, t, **self.settings)


def test_an_onnx_graph_asks_for_no_stable_sort(monkeypatch):
    """ONNX sorts by TopK, which keeps the order of equals, but the exporter knows no operation that asks for it."""
    x, t = torch.randn(2, 3, 5).round(), torch.randint(0, 3, (2, 5))
    for onnx in (False, True):
        monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda onnx=onnx: onnx)
        graph = torch.export.export(Called(losskit.lovasz_loss, task="multiclass"), (x, t)).graph
        sorts = [node.target for node in graph.nodes if "sort" in str(node.target)]
        assert sorts and all((".stable" in str(target)) is not onnx for target in sorts)


def test_exported_limits_are_of_one_type():
    """The ONNX exporter promotes scalars apart, and then finds no clamp between 0.0 and 2."""
    graph = torch.export.export(Called(losskit.distribution_focal_loss), (torch.randn(4, 3), torch.rand(4))).graph
    limits = [node.args[1:] for node in graph.nodes if node.target is torch.ops.aten.clamp.default]
    assert any(len(both) == 2 for both in limits) and all(len({type(end) for end in both if end is not None}) == 1 for both in limits)
