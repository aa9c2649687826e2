"""What losskit uses of PyTorch that is not public: it is there in this version, it stands in one file, and where it were not there its stand-in would be right."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from cases import thorough

import losskit
from losskit.engines import private

PARTS = (
    "_are_functorch_transforms_active",
    "_len_torch_dispatch_stack",
    "_get_tracing_state",
    "_functorch.is_legacy_batchedtensor",
    "_is_zerotensor",
    "_FunctionBase",
    "forward_ad._current_level",
    "_make_wrapper_subclass",
    "_disabled_torch_function_impl",
    "cpu._is_avx512_bf16_supported",
)
WITHOUT = """
import sys, torch
from torch.autograd import forward_ad
name = sys.argv[1]
owner = {"_is_zerotensor": torch.Tensor, "_make_wrapper_subclass": torch.Tensor, "cpu._is_avx512_bf16_supported": torch.cpu}.get(name)
if owner:
    last = name.split(".")[-1]
    true = getattr(owner, last)
    setattr(owner, last, None)
elif name == "forward_ad._current_level":
    level = forward_ad._current_level
    del forward_ad._current_level
else:
    class Without:
        def __init__(self, under): self.under = under
        def __getattr__(self, asked):
            if asked == name.split(".")[-1]: raise AttributeError(asked)
            found = getattr(self.under, asked)
            return Without(found) if asked == "_functorch" else found
    whole, torch._C = torch._C, Without(torch._C)
from losskit.engines import private
if owner:
    setattr(owner, last, true)
elif name == "forward_ad._current_level":
    assert private.levels._current_level >= 0 and not private.MISSING
    forward_ad._current_level = level
else:
    torch._C = whole
if name != "forward_ad._current_level":
    assert private.MISSING == {name}, private.MISSING
import losskit
x, t = torch.randn(5, 3, dtype=torch.float64, requires_grad=True), torch.rand(5, 3, dtype=torch.float64)
loss = losskit.huber_loss(x, t)
expected = torch.nn.functional.huber_loss(x, t)
torch.testing.assert_close(loss, expected)
grads = [torch.autograd.grad(y * 3, x, retain_graph=True)[0] for y in (loss, expected)]
torch.testing.assert_close(*grads)
torch.testing.assert_close(torch.func.vmap(torch.func.grad(losskit.huber_loss))(x, t), torch.func.vmap(torch.func.grad(torch.nn.functional.huber_loss))(x, t))
torch.testing.assert_close(torch.func.jvp(lambda x: losskit.huber_loss(x, t), (x,), (x,)), torch.func.jvp(lambda x: torch.nn.functional.huber_loss(x, t), (x,), (x,)))
each = losskit.huber_loss(x, t, reduction="none")
batch = torch.eye(15, dtype=torch.float64).reshape(15, 5, 3)
torch.testing.assert_close(torch.autograd.grad(each, x, batch, retain_graph=True, is_grads_batched=True)[0].sum(0), torch.autograd.grad(each.sum(), x)[0])
weight, labels = torch.randn(7, 3, dtype=torch.float64, requires_grad=True), torch.tensor([0, 6, 2, 2, 5])
product = [torch.autograd.grad(f(x, weight, labels), (x, weight)) for f in (losskit.linear_cross_entropy, torch.nn.functional.linear_cross_entropy)]
torch.testing.assert_close(*product)
print(losskit.engine_for(losskit.huber_loss, x, t))
"""


def test_every_part_is_there():
    assert not private.MISSING and private.levels._current_level == -1


@pytest.mark.parametrize("name", [PARTS[0], *thorough(PARTS[1:])])
def test_without_a_part_all_is_right(name):
    done = subprocess.run([sys.executable, "-c", WITHOUT, name], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    fused = name not in ("_are_functorch_transforms_active", "_len_torch_dispatch_stack", "forward_ad._current_level")
    assert ("cpu" if fused else "torch") in done.stdout


def test_one_file_holds_them_all():
    """The audit kit and the benchmark read version counters and reset the compiler; they are no part of a loss."""
    root = Path(losskit.__file__).parent
    for file in (f for f in root.rglob("*.py") if not {"testing", "bench", "tour"} & set(f.relative_to(root).parts)):
        found = re.findall(r"torch\._[a-zA-Z]\w*|forward_ad\._\w+|\._is_zerotensor|_dynamo_marked\w*", file.read_text())
        assert file.name == "private.py" or not found, f"{file}: {found}"
    text = Path(private.__file__).read_text()
    assert all(name.split(".")[-1] in text for name in PARTS)
