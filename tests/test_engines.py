"""Which engine runs, what a process pays for it, and how its passes treat memory and gradients."""

import asyncio
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from cases import ENGINES, FEW
from processes import python

import losskit
from losskit.engines import private
from losskit.testing import inputs

# choosing


def test_engine_for():
    x = torch.zeros(3)
    assert losskit.engine_for(losskit.mse_loss, x, x) == ("cpu", "plain CPU tensors")
    assert losskit.engine_for(losskit.MSELoss(), x, x).engine == "cpu"
    assert losskit.engine_for(losskit.BCEWithLogitsLoss(pos_weight=[2.0]), x, x, mask=x > 0).engine == "cpu"
    assert losskit.engine_for(losskit.mse_loss, x.to("meta"), x.to("meta")).engine == "torch"
    with losskit.use_engine("torch"):
        assert losskit.engine_for(losskit.mse_loss, x, x) == ("torch", "forced by use_engine")
    weight = torch.ones(3, requires_grad=True)
    assert losskit.engine_for(losskit.mse_loss, x, x, sample_weight=weight).engine == "cpu"
    parts = {"sample_weight": weight, "return_parts": True}
    assert "weight requires a gradient" in losskit.engine_for(losskit.cross_entropy, torch.zeros(3, 4), torch.zeros(3, dtype=torch.long), **parts).reason

    class Wrapped(torch.Tensor):
        pass

    assert losskit.engine_for(losskit.mse_loss, x.as_subclass(Wrapped), x) == ("torch", "Wrapped is a tensor subclass")


def test_forced_engine_raises_rather_than_falls_back():
    x = torch.zeros(3)
    with losskit.use_engine("cpu"):
        with pytest.raises(losskit.EngineError, match=r"use_engine\('cpu'\) cannot run this loss: the tensors are on device 'meta'"):
            losskit.mse_loss(x.to("meta"), x.to("meta"))
        with pytest.raises(losskit.EngineError, match=r"torch\.func transform"):
            torch.func.vmap(losskit.mse_loss)(x[:, None], x[:, None])
        with pytest.raises(losskit.EngineError, match="weight requires a gradient"):
            losskit.cross_entropy(x.expand(3, 3), x.long(), sample_weight=torch.ones(3, requires_grad=True), return_parts=True)
    assert losskit.engine_for(losskit.mse_loss, x, x).engine == "cpu"  # the block is over, exceptions or not
    with pytest.raises(ValueError, match="must be one of 'cpu', 'triton', 'torch', got 'gpu'"), losskit.use_engine("gpu"):
        pass


def test_blocks_nest():
    x = torch.zeros(3)
    with losskit.use_engine("torch"):
        with losskit.use_engine("cpu"):
            assert losskit.engine_for(losskit.mse_loss, x, x).engine == "cpu"
        assert losskit.engine_for(losskit.mse_loss, x, x).engine == "torch"


def test_blocks_hold_in_their_thread_or_task_alone():
    """Overlapping, compiled or not; and what was compiled in a block holds in blocks like it."""
    x, t = torch.randn(5), torch.randn(5)
    graphs = []
    step = torch.compile(losskit.mse_loss, fullgraph=True, backend=lambda graph, _: graphs.append(graph) or graph.forward)

    def told() -> tuple[str, bool]:
        """The engine that runs here, and whether a compiled call does."""
        engine, runs = losskit.engine_for(losskit.mse_loss, x, t).engine, True
        try:
            step(x, t)
        except Exception as error:
            runs = "EngineError" not in str(error)
        return engine, runs

    async def first(meet):
        with losskit.use_engine("triton"):
            await meet()
            inside = told()
            await meet()
        await meet()
        return inside, told()

    async def second(meet):
        with losskit.use_engine("torch"):
            await meet()
            inside = told()
            await meet()
            await meet()  # the first has left its block
            return inside, told()

    async def tasks():
        return await asyncio.gather(first(lambda: asyncio.sleep(0)), second(lambda: asyncio.sleep(0)))

    def threads():
        barrier = threading.Barrier(2, timeout=60)

        async def meet():
            barrier.wait()

        with ThreadPoolExecutor(2) as pool:
            return [future.result() for future in [pool.submit(asyncio.run, one(meet)) for one in (first, second)]]

    with ThreadPoolExecutor(1) as aside:  # a browser of other tests may hold this thread's event loop
        in_tasks = aside.submit(asyncio.run, tasks()).result()
    for found in (in_tasks, threads()):
        assert list(found) == [(("triton", False), ("cpu", True)), (("torch", True), ("torch", True))]
        assert told() == ("cpu", True)
    assert len(graphs) == 2, "one in blocks of torch, one outside"


# engines agree


@pytest.mark.parametrize("case", FEW, ids=str)
def test_engines_agree(case):
    """In sums over the whole range. (Each element of every formula, on both engines: within the error budget of the textbook.)"""
    x, t = inputs.pairs(case.loss, case.settings, count=60)
    if case.loss.target == "unit":
        t = t.round()  # the gradient of a soft target cancels: that is measured, against the size of its terms, in the error budget
    if inputs.domain(case.loss, case.settings) == "log-mean":
        t = torch.where((t - x.exp()).abs() < 0.1 * t, 2.0 * t, t)  # so does that of a mean beside its target
    results = []
    for engine in ENGINES:
        with losskit.use_engine(engine):
            a = x.clone().requires_grad_()
            value = case.loss.function(a, t, reduction="sum", **inputs.as_arguments(case.settings))
            results.append((torch.autograd.grad(value, a)[0],))
    torch.testing.assert_close(*results, rtol=2 * case.loss.tolerance, atol=1e-37)


def test_gradient_to_the_weights():
    x, t = torch.randn(6, 4), torch.randn(6, 4)
    for shape in ((6, 4), (4,), (6, 1)):
        weight = torch.rand(shape, dtype=torch.float64).requires_grad_()
        assert torch.autograd.gradcheck(lambda w: losskit.huber_loss(x.double(), t.double(), sample_weight=w), weight)
    weight = torch.rand(4, requires_grad=True)
    (grad,) = torch.autograd.grad(losskit.binary_cross_entropy_with_logits(x, (t > 0).float(), weight=weight, reduction="sum"), weight)
    torch.testing.assert_close(grad, losskit.binary_cross_entropy_with_logits(x, (t > 0).float(), reduction="none").sum(0))


# gradients of the fused passes


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_backward_twice_and_into_what_asks(engine, reduction):
    with losskit.use_engine(engine):
        for wants in ((True, False), (False, True), (True, True)):
            x, t = torch.randn(40), torch.randn(40)
            for z, want in zip((x, t), wants, strict=True):
                z.requires_grad_(want)
            value = losskit.huber_loss(x, t, reduction=reduction)
            incoming = torch.randn(value.shape)
            value.backward(incoming, retain_graph=True)
            first = [z.grad.clone() if want else z.grad for z, want in zip((x, t), wants, strict=True)]
            value.backward(incoming)  # accumulates
            for z, grad, want in zip((x, t), first, wants, strict=True):
                assert (z.grad is None) == (not want)
                if want:
                    torch.testing.assert_close(z.grad, 2 * grad)
            if all(wants):
                torch.testing.assert_close(x.grad, -t.grad)


def test_gradient_of_a_gradient_through_the_fused_engine():
    x, t = torch.randn(5, dtype=torch.float64, requires_grad=True), torch.randn(5, dtype=torch.float64)
    with losskit.use_engine("cpu"):
        (first,) = torch.autograd.grad(losskit.log_cosh_loss(x, t, reduction="sum"), x, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), x)
    torch.testing.assert_close(second, 1 - torch.tanh(x.detach() - t) ** 2)
    plain = torch.autograd.grad(losskit.log_cosh_loss(x, t, reduction="sum"), x)[0]
    torch.testing.assert_close(first.detach(), plain)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_every_block_and_chunk_boundary(reduction):
    for n in (1, 7, 1023, 1024, 1025, 65535, 65536, 65537, 3 * 65536 + 11):
        x, t = torch.randn(n), torch.randn(n)
        for mask in (None, torch.rand(n) < 0.5):
            found = []
            for engine in ("cpu", "torch"):
                with losskit.use_engine(engine):
                    a = x.clone().requires_grad_()
                    value = losskit.smooth_l1_loss(a, t, beta=0.5, mask=mask, reduction=reduction)
                    found.append((value.detach(), torch.autograd.grad(value.sum(), a)[0]))
            torch.testing.assert_close(*found, rtol=2e-6, atol=1e-12, msg=lambda m, n=n: f"{n} elements: {m}")


@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_uninitialised_memory_is_never_read(reduction, monkeypatch):
    """Fresh buffers are full of NaN; an element that a pass forgot to write shows."""
    torch.use_deterministic_algorithms(True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    try:
        assert torch.empty(3).isnan().all()
        for shape in ((7,), (3, 5), (70_001,)):
            x, t = torch.randn(shape, requires_grad=True), torch.randn(shape)
            for extra in ({}, {"mask": torch.rand(shape) < 0.5}):
                with losskit.use_engine("cpu"):
                    value = losskit.huber_loss(x, t, reduction=reduction, **extra)
                    (grad,) = torch.autograd.grad(value.sum(), x)
                assert torch.isfinite(value).all() and torch.isfinite(grad).all()
    finally:
        torch.use_deterministic_algorithms(False)


def test_half_gradients_survive_a_loss_scale():
    """The gradient of a mean over many items underflows in float16 unless the scale comes in before rounding."""
    x, t = torch.randn(1 << 20).half().requires_grad_(), torch.randn(1 << 20).half()
    value = losskit.smooth_l1_loss(x, t, beta=0.5)
    (grad,) = torch.autograd.grad(value, x, torch.tensor(65536.0))
    wide = x.detach().double().requires_grad_()
    (expected,) = torch.autograd.grad(losskit.smooth_l1_loss(wide, t.double(), beta=0.5) * 65536.0, wide)
    torch.testing.assert_close(grad.double(), expected, rtol=1e-3, atol=6e-8)


@pytest.mark.parametrize("case", FEW, ids=str)
def test_inference_and_no_grad(case):
    x, t = inputs.batch(case.loss, case.settings)
    arguments = inputs.as_arguments(case.settings)
    expected = case.loss.function(x, t, **arguments)
    a = x.clone().requires_grad_()
    with torch.no_grad():
        assert torch.equal(case.loss.function(a, t, **arguments), expected) and not case.loss.function(a, t, **arguments).requires_grad
    with torch.inference_mode():
        assert torch.equal(case.loss.function(x.clone(), t, **arguments), expected)


# what a process pays


FIRST_CALL = """
import sys, time, torch, losskit
x = torch.linspace(-3, 3, 100).requires_grad_()
start = time.process_time()  # not the clock's, which tells what else the machine is doing
losskit.huber_loss(x, torch.zeros(100)).backward()
print(time.process_time() - start, float(x.grad.abs().sum()), "numba" in sys.modules)
"""


def test_second_process_loads_compiled_loops_without_numba(tmp_path):
    """In a small part of the time that compiling takes, on a processor of any speed."""
    first = python(FIRST_CALL, LOSSKIT_CACHE_DIR=str(tmp_path)).split()
    written = {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    assert written and {p.suffix for p in written} == {".o"}
    runs = [python(FIRST_CALL, LOSSKIT_CACHE_DIR=str(tmp_path)).split() for _ in range(2)]
    assert {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()} == written, "the second process compiled again"
    assert first[2] == "True" and all(run[2] == "False" for run in runs)
    assert all(run[1] == first[1] for run in runs)
    assert min(float(run[0]) for run in runs) <= 0.2 * float(first[0])


MEMORY = """
import resource, torch, losskit
torch.set_num_threads(2)
n = 8 << 20
from torch.profiler import profile, ProfilerActivity
for loss in losskit.huber_loss, losskit.focal_loss:
    x, t = torch.zeros(n, requires_grad=True), torch.ones(n)
    small = torch.zeros(8, requires_grad=True)
    loss(small, torch.ones(8)).backward()           # compiled kernels, threads and libraries are there
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        value = loss(x, t)
        value.backward()
    peak = now = 0
    for event in sorted(record.profiler.kineto_results.events(), key=lambda e: e.start_ns()):
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    print(peak - x.grad.nbytes)
"""


def test_nothing_is_kept_beyond_inputs_and_gradient():
    for loss, extra in zip(("huber_loss", "focal_loss"), python(MEMORY).split(), strict=True):
        assert 0 <= int(extra) < 1 << 20, f"{loss}: {extra} bytes beyond inputs and gradient"


def test_small_calls_are_quick():
    """A tripwire for accidental work in the path of small calls, not a benchmark."""
    x, t = torch.randn(64, requires_grad=True), torch.randn(64)
    for _ in range(50):
        losskit.huber_loss(x, t).backward()
    times = []
    for _ in range(200):
        start = time.perf_counter()
        losskit.huber_loss(x, t).backward()
        times.append(time.perf_counter() - start)
    assert min(times) < 500e-6


def test_a_thread_that_compiles_is_no_matter_of_others():
    """PyTorch says in all threads that it is compiling while one of them does."""
    x, t = torch.randn(70_000), torch.rand(70_000)
    compiles, asked = threading.Event(), threading.Event()

    def slow(graph, _):
        compiles.set()
        assert asked.wait(60)
        return graph.forward

    with ThreadPoolExecutor(1) as pool:
        step = pool.submit(lambda: torch.compile(lambda x: x.sin(), backend=slow)(x))
        try:
            assert compiles.wait(60) and torch.compiler.is_compiling() and not private.compiling()
            assert losskit.engine_for(losskit.mse_loss, x, t).engine == "cpu"
            with losskit.use_engine("torch"):
                assert losskit.engine_for(losskit.mse_loss, x, t).engine == "torch"
            assert losskit.mse_loss(x, t, normalizer=losskit.Ranks()) == losskit.mse_loss(x, t)
            with pytest.raises(ValueError, match="target must hold labels from 0 to 1"):
                losskit.cross_entropy(x.reshape(-1, 2), torch.full((35_000,), 2))
        finally:
            asked.set()
        step.result()


def test_everyone_asks_whether_it_is_this_call_that_is_compiled():
    for path in Path(losskit.__file__).parent.rglob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            assert path.name == "private.py" or not re.search(r"\bis_compiling", line), f"{path.name}: ask private.compiling(): {line.strip()}"
