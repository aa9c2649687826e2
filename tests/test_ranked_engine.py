"""The engines of sorted errors: layouts, dtypes, threads, derivatives, and what is refused. What a loss should be is said in `test_lovasz.py`."""

import pytest
import torch
from test_lovasz import ENGINES, TASKS, batch, compare

import losskit
from losskit import engine_for, use_engine
from losskit.engines.cpu.ranked import kernel
from losskit.losses.segmentation.lovasz import lovasz_loss


@pytest.mark.parametrize(("task", "dtype"), (("multiclass", torch.bfloat16), ("binary", torch.float16)))
def test_half_precision_is_computed_in_float32(task, dtype):
    x, t = batch(task)
    half, whole = x.to(dtype).requires_grad_(), x.to(dtype).float().requires_grad_()
    found = []
    for y in (half, whole):
        value = lovasz_loss(y, t, task=task)
        found.append((value, torch.autograd.grad(value, y, torch.tensor(1024.0))[0]))
    assert found[0][0].dtype is torch.float32 and torch.equal(found[0][0], found[1][0])
    assert found[0][1].dtype is dtype and torch.equal(found[0][1], found[1][1].to(dtype))


@pytest.mark.parametrize("over", ("sample", "batch"))
@pytest.mark.parametrize("task", TASKS)
def test_threads_change_no_bit(task, over):
    x, t = batch(task, (3, 4, 100, 101) if task != "binary" else (3, 1, 200, 203))
    found = []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        y = x.clone().requires_grad_()
        with use_engine("cpu"):
            value = lovasz_loss(y, t, task=task, over=over)
        value.backward()
        found.append((value.detach(), y.grad))
    assert all(torch.equal(v, found[0][0]) and torch.equal(g, found[0][1]) for v, g in found)


@pytest.mark.parametrize("over", ("sample", "batch"))
@pytest.mark.parametrize("task", ("multiclass", "multilabel"))
def test_layouts_change_no_bit(task, over):
    x, t = batch(task)
    mask = torch.rand(3, 6, 7) < 0.7

    def run(x, t, dim, mask):
        x = x.detach().requires_grad_()
        with use_engine("cpu"):
            value = lovasz_loss(x, t, task=task, over=over, dim=dim, mask=mask)
        (slope,) = torch.autograd.grad(value, x)
        return value, slope

    value, slope = run(x, t, 1, mask)
    last = x.contiguous(memory_format=torch.channels_last)
    strided = torch.stack((x, x), -1)[..., 0]
    for y in (last, strided):
        v, g = run(y, t, 1, mask)
        assert torch.equal(v, value) and torch.equal(g, slope)
    v, g = run(x.movedim(1, -1).contiguous(), t if task == "multiclass" else t.movedim(1, -1), -1, mask)
    assert torch.equal(v, value) and torch.equal(g.movedim(-1, 1), slope)
    if task == "multilabel":
        v, g = run(x, t, 1, mask[:, None].expand(t.shape))
        assert torch.equal(v, value) and torch.equal(g, slope)


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", (torch.bool, torch.uint8, torch.float32))
def test_dtypes_of_targets(dtype):
    x, t = batch("binary")
    assert torch.equal(lovasz_loss(x, t.to(dtype), task="binary"), lovasz_loss(x, t, task="binary"))
    if dtype is torch.uint8:
        x, t = batch("multiclass")
        assert torch.equal(lovasz_loss(x, t.to(dtype), task="multiclass"), lovasz_loss(x, t, task="multiclass"))


def test_shapes():
    x, t = batch("binary")
    value = lovasz_loss(x, t, task="binary")
    assert lovasz_loss(x[:, None], t[:, None], task="binary") == value
    assert lovasz_loss(x.reshape(1, -1), t.reshape(1, -1), task="binary") == lovasz_loss(x, t, task="binary", over="batch")
    assert lovasz_loss(x[:, None], t[:, None], task="multilabel") == value
    assert lovasz_loss(torch.tensor([[2.0, -1.0]]), torch.tensor([0]), task="multiclass") == lovasz_loss(
        torch.tensor([[[2.0], [-1.0]]]), torch.tensor([[0]]), task="multiclass"
    )
    assert torch.isclose(lovasz_loss(x, t, task="binary", normalizer=6), value / 2)
    assert lovasz_loss(x, t, task="binary", normalizer=torch.tensor(0)) == 0


def test_more_classes_than_a_tile_holds():
    x, t = batch("multiclass", (2, 1100, 3, 4))
    compare(x, t, "multiclass", "cpu", 1e-6, 1e-3)


def test_one_backward_after_another():
    for task in TASKS:
        x, t = batch(task)
        x.requires_grad_()
        value = lovasz_loss(x, t, task=task)
        first = torch.autograd.grad(value, x, retain_graph=True)[0].clone()
        assert torch.equal(torch.autograd.grad(value, x, retain_graph=True)[0], first)
        assert torch.allclose(torch.autograd.grad(value, x, torch.tensor(-3.0))[0], -3 * first)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y = x * 1
        value = lovasz_loss(y, t, task=task)
        y.add_(1)
        value.backward()


@pytest.mark.parametrize("engine", ENGINES)
def test_second_derivatives(engine):
    for task, from_logits in (("binary", True), ("binary", False)):
        x, t = batch(task, from_logits=from_logits)
        x.requires_grad_()
        with use_engine(engine):
            value = lovasz_loss(x, t, task=task, from_logits=from_logits)
            (slope,) = torch.autograd.grad(value, x, create_graph=True)
            (second,) = torch.autograd.grad(slope.square().sum(), x)
        assert second.eq(0).all()
    x, t = batch("multiclass", (2, 3, 2, 2))
    x = x.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: lovasz_loss(x, t, task="multiclass"), x)
    assert torch.autograd.gradgradcheck(lambda x: lovasz_loss(x, t, task="multiclass"), x)
    y = x.detach().float().requires_grad_()
    found = []
    for z in (x, y):
        with use_engine(engine):
            (slope,) = torch.autograd.grad(lovasz_loss(z, t, task="multiclass"), z, create_graph=True)
        found.append(torch.autograd.grad(slope.square().sum(), z)[0])
    assert torch.allclose(found[1].double(), found[0], rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore")  # the compiler's own deprecations
@pytest.mark.parametrize("task", ("multiclass", "binary"))
def test_compiled_and_transformed(task):
    x, t = batch(task)

    def loss(x, t):
        return lovasz_loss(x, t, task=task)

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    y, z = x.clone().requires_grad_(), x.clone().requires_grad_()
    value, expected = compiled(y, t), loss(z, t)
    value.backward()
    expected.backward()
    assert torch.allclose(value, expected) and torch.allclose(y.grad, z.grad, atol=1e-6)
    torch.compiler.reset()
    assert torch.allclose(torch.func.grad(loss)(x, t), z.grad, atol=1e-6)
    each = torch.func.vmap(torch.func.grad(loss))(x[:, None], t[:, None])[:, 0]
    assert torch.allclose(each / len(x), z.grad, atol=1e-6)


def test_engines():
    x, t = batch("multiclass")
    assert engine_for(lovasz_loss, x, t, task="multiclass").engine == "cpu"
    assert engine_for(lovasz_loss, x.to("meta"), t.to("meta"), task="multiclass") == ("torch", "no fused engine for device 'meta'")
    for task in TASKS:
        x, t = batch(task)
        assert lovasz_loss(x.to("meta"), t.to("meta"), task=task, average="none").shape == ((3, 1) if task == "binary" else (3, 5))


def test_loops_are_kept_on_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("LOSSKIT_CACHE_DIR", str(tmp_path))
    kernel.__wrapped__("errors", torch.float32, torch.int64, torch.bool)
    kernel.__wrapped__("ranks")
    assert len([p for p in tmp_path.iterdir() if p.suffix == ".o"]) == 2


BAD = [
    (dict(task="other"), "task must be one of"),
    (dict(task="multiclass", classes="some"), "classes must be one of 'auto', 'present', 'all'; got 'some'"),
    (dict(task="multiclass", over="all"), "over must be one of"),
    (dict(task="multiclass", average="micro"), "average must be one of 'nested', 'macro', 'none'"),
    (dict(task="multiclass", average="none", normalizer=2.0), "normalizer replaces the denominator"),
    (dict(task="multiclass", weight=torch.ones(4)), "expected one number for each of the 5 classes"),
]


@pytest.mark.parametrize(("settings", "message"), BAD, ids=[next(reversed(b[0])) for b in BAD])
def test_bad_settings(settings, message):
    x, t = batch("multiclass")
    with pytest.raises(ValueError, match=message):
        lovasz_loss(x, t, **settings)


@pytest.mark.parametrize("engine", ENGINES)
def test_bad_targets(engine):
    x, t = batch("binary")
    with use_engine(engine):
        soft = t.float()
        soft[1, 2, 3] = 0.25
        with pytest.raises(ValueError, match=r"target must be 0 or 1 \(or ignore_index=-100\), got 0.25 at index \(1, 0, 2, 3\)|got 0.25"):
            lovasz_loss(x, soft, task="binary")
        assert torch.isfinite(lovasz_loss(x, soft, task="binary", mask=soft != 0.25))
        with pytest.raises(ValueError, match="input must lie in"):
            lovasz_loss(x, t, task="binary", from_logits=False)
        with pytest.raises(ValueError, match="target must not require a gradient"):
            lovasz_loss(x, t.float().requires_grad_(), task="binary")
        y, labels = batch("multiclass")
        with pytest.raises(ValueError, match=r"Try target.argmax\(1\)"):
            lovasz_loss(y, torch.rand(y.shape), task="multiclass")
        labels[0, 0, 0] = 5
        with pytest.raises(ValueError, match="target must hold labels from 0 to 4"):
            lovasz_loss(y, labels, task="multiclass")
        with pytest.raises(TypeError, match=r"target must be a torch\.Tensor"):
            lovasz_loss(y, [1], task="multiclass")


def test_module():
    module = losskit.LovaszLoss(task="multiclass", over="batch", weight=[1.0, 0.0, 2.0, 1.0, 1.0])
    x, t = batch("multiclass")
    assert module(x, t) == lovasz_loss(x, t, task="multiclass", over="batch", weight=torch.tensor([1.0, 0.0, 2.0, 1.0, 1.0]))
    assert "task='multiclass'" in repr(module) and set(dict(module.named_buffers())) == {"weight"}
    for task in TASKS:
        losskit.LovaszLoss(task=task)
    with pytest.raises(TypeError, match="takes no sample_weight"):
        module(x, t, sample_weight=torch.ones(3))
