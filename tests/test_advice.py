"""Every message's advice, followed literally: the call works and means what was wanted. And no advice without a row: the source is searched for it."""

import ast
import contextlib
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from advice import CHOICES, NAMES, OUT, PLACES, Row, V, dice, l1, lovasz
from advice_of_numbers import OF_NUMBERS
from advice_of_patterns import OF_PATTERNS
from advice_of_uses import OF_USES
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import losskit

pytestmark = pytest.mark.filterwarnings("ignore:.*(MaskedTensor|ested|uantiz|deprecated)")
ROWS = [*OF_NUMBERS, *OF_PATTERNS, *OF_USES]


def arguments(given: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Arguments changed, or left out; tensors copied, for some calls give their memory away."""
    return {name: copied(value) for name, value in (given | changes).items() if value is not OUT}


def copied(x: Any) -> Any:
    return x.clone() if type(x) is Tensor and x.is_contiguous() and not (x.requires_grad or x.is_nested or x.is_quantized) else x


def followed(row: Row, said: str) -> Any:
    """The bad call, with the advice followed: source text is taken out of the message and evaluated, with the arguments for names."""
    fix, names = dict(row.fix), NAMES | arguments(row.bad, {})
    call, after = fix.pop("call", row.function), fix.pop("result", lambda y: y)
    if isinstance(call, str):
        return eval(said[said.index(call) :][: len(call)], names)
    changes = {}
    for name, value in fix.items():
        if isinstance(value, str) and name not in CHOICES:
            assert value in said, f"{value} is not in: {said}"
            value = eval(value, names)
        changes[name] = value
    return after(call(**arguments(row.bad, changes)))


def message(row: Row) -> str:
    """What the bad call says."""
    with pytest.raises((TypeError, ValueError, RuntimeError)) as raised:
        row.function(**arguments(row.bad, {}))
    return str(raised.value)


def engine(given: dict[str, Any]) -> Any:
    """Compiled passes only where a call is about them."""
    return contextlib.nullcontext() if given.get("inplace") is True or "sample_weight" in given else losskit.use_engine("torch")


def of_loops(row):
    """What only loops say: they work in the scores' memory, and sum weights beyond float32's range."""
    return "inplace" in row.bad or row.says.startswith("multiply sample_weight")


def marked(row):
    """One of those in `make test`: each needs loops of its own."""
    marks = [pytest.mark.chosen, *([] if row.says == "try input.contiguous()" else [pytest.mark.thorough])]
    return pytest.param(row, marks=marks) if of_loops(row) else row


@pytest.mark.parametrize("row", [*map(marked, ROWS)], ids=[f"{i}-{row.says}" for i, row in enumerate(ROWS)])
def test_followed_literally_it_works_and_means_what_was_wanted(row):
    with engine(row.bad):
        said = message(row)
    assert row.says in said, said
    with engine(row.bad | row.fix):
        found = followed(row, said)
    with engine(row.bad | row.meant):
        wanted = (row.another or row.function)(**arguments({} if row.another else row.bad, row.meant))
    if found.is_meta:
        assert found.shape == wanted.shape and wanted.is_meta
    else:
        torch.testing.assert_close(found.detach().as_subclass(Tensor), wanted.detach().as_subclass(Tensor), rtol=1e-5, atol=1e-7)


FOLDERS = ("contract", "losses", "compose")
FILES = ("pairwise.py", "sums_of_overlap.py", "binary.py", "products.py", "matching.py", "engines/scores.py")
ADVICE = re.compile(r"\b(try|leave|pass|give|exchange|divide|multiply|call|add|use|write|check that)\b", re.IGNORECASE)
RANKS = "test_contrastive_ranks.py"
ELSEWHERE = {  # what no message on a CPU alone can say, and texts that are no advice: where each is tested, or why not
    "{} is on {} but {} is on {}: try {}.to({}.device)": "test_advice_between_devices",
    "use_engine({}) cannot run this loss: {}. Leave use_engine out to let losskit choose": "test_advice_about_engines",
    "{} is a group without this rank: call the loss on the ranks of the group alone": "test_class_group.py",
    "{} lies on a mesh without this rank, {}: call the loss on the ranks of the mesh alone": "test_placed.py",
    "{} of DTensors needs no {}, for their mesh says which ranks hold what: leave it out": "test_placed.py",
    "{} was compiled in another process, whose formulas this one does not know: call torch.compile here": "test_operators_alone.py",
    "{} has no denominator of its own, for the sums of the ranks are joined: leave normalizer out of losskit.Ranks": "test_ranks.py",
    'normalizer must be a number, a 0-d tensor or "positives", got a process group: try losskit.Ranks(group=...)': "test_ranks.py",
    "{}={} does not go with class_group: leave it out": "test_class_group.py",
    "{} with these settings has losses of some of the items alone, of which TopK cannot keep the largest: leave process_group out": "test_topk.py",
    "{} is a {}, which is of this process and cannot be written: set it to None before, and give it to from_config(config, {}=...)": "test_config.py",
    "{} is a function, which no file can hold: give it where the module is made again": "test_config.py",
    "targets_per_image must add up to the number of objects, {}, got {}": "no advice; test_matching.py",
    "mask or ignore_index leave out more items on some than on others": "no advice",
    "the ranks of class_group must call alike, but {}": "no advice; test_class_group.py",
    "the ranks of the process group must call the same loss with the same arguments, and some have called another one or given others": "no advice; test_class_group.py",
    "sequence_dim names the axis along which hidden states are spread over class_group: give class_group, or leave sequence_dim out": "test_class_group.py",
    "target is what linear_probabilities gives, a softmax over the classes of this rank alone: leave class_group out, or give labels": "test_class_group.py",
    "target must hold probabilities, whose classes are spread over class_group as the input's are: the row{} sums to {} over all ranks, expected 1. Divide by the sum over all ranks": "test_class_group.py",
    "{} must be the same on all ranks of class_group, got {}: give the same on each": "test_class_group.py",
    "this {} owns its head, module.linear: call module({}), or make it without in_features and num_classes": "test_linear_laws.py",
    "this {} owns no head: call module({}), or make it with {}(in_features, num_classes)": "test_linear_laws.py",
    "bias, device and dtype are of the head that {} owns: give in_features and num_classes, too, or leave them out": "test_linear_laws.py",
    "second derivatives cannot be had with class_group, for they would need those of the other ranks: leave create_graph out": "test_class_group.py",
    "second derivatives and batches of gradients cannot be had with process_group, for they would need those of the other ranks: leave create_graph out": RANKS,
    "the backward of each item's loss has all ranks of process_group take part, and rank {} has nothing that requires a gradient: try {}.requires_grad_() there": RANKS,
    "{} must be one batch, shape (N, D), beside process_group, got shape {}: give one batch at a time": RANKS,
    "process_group takes plain tensors, outside of transforms, and here {}: gather the batch first, and leave process_group out": RANKS,
    "normalizer must be a number or a 0-d tensor beside process_group, got losskit.Ranks: the count is that of all ranks, leave normalizer out": RANKS,
    "{} must be the same on all ranks of process_group, got {}: give the same on each": RANKS,
    "{} must be a torch.distributed.ProcessGroup, got {}: for all ranks, try torch.distributed.group.WORLD": "test_advice_about_ranks",
    "torch.jit.script cannot compile a loss of losskit: try torch.jit.trace, torch.compile or torch.export": "test_configured.py and test_tracing.py",
    'distances to boundaries are computed by SciPy, which is not installed: try pip install "losskit[distance]"': "what pip installs",
    "from_logits=False reads one number per item and needs no fused pass": "a reason",
    "{}'s call has no argument {}": "test_modules.py",
    "{}'s call has {} twice: by its place and by its name": "test_modules.py",
    "\n\nAs a module: keyword arguments go to the constructor, tensors to the call.": "documentation",
}


def texts():
    """Every text of the source that may hold advice, as (place, template): no docstrings, no arguments of decorators."""
    root = Path(losskit.__file__).parent
    for path in [*(p for folder in FOLDERS for p in sorted((root / folder).rglob("*.py"))), *(root / name for name in FILES)]:
        tree, passed_over = ast.parse(path.read_text(encoding="utf-8")), set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr):
                passed_over.add(id(node.value))
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                passed_over.update(id(inside) for decorator in node.decorator_list for inside in ast.walk(decorator))
            elif isinstance(node, ast.JoinedStr):
                passed_over.update(id(inside) for inside in node.values)
        for node in ast.walk(tree):
            if id(node) in passed_over:
                continue
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
                text = "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in parts)
                if ADVICE.search(text) and text not in ELSEWHERE:
                    yield f"{path.name}:{node.lineno}", text


@pytest.mark.chosen
def test_no_advice_without_a_row():
    """A new message with a way out needs a row above, which follows it."""
    said = []
    for row in ROWS:
        with engine(row.bad):
            said.append(message(row))
    alone = []
    for place, text in texts():
        pattern = re.compile(".*".join(re.escape(part) for part in re.split(r"\{\w*\}", text)), re.DOTALL)
        if not any(pattern.search(each) for each in said):
            alone.append(f"{place}: {text}")
    assert not alone, "no row follows this advice:\n" + "\n".join(alone)


def test_advice_between_devices():
    """Tensors that only say that they are on a GPU: shapes and devices are all there is to compare."""
    with FakeTensorMode():
        x, t, m = torch.empty(2, 3, device="cuda"), torch.empty(2, 3), torch.empty(2, 3, dtype=torch.bool)
        with pytest.raises(ValueError, match=r"target is on cpu but input is on cuda:0: try target.to\(input.device\)"):
            l1(x, t)
        with pytest.raises(ValueError, match=r"mask is on cpu but input is on cuda:0: try mask.to\(input.device\)"):
            l1(x, t.to(x.device), mask=m)
        assert l1(x, t.to(x.device), mask=m.to(x.device)).device == x.device


def test_advice_about_engines():
    with losskit.use_engine("triton"), pytest.raises(losskit.EngineError, match="Leave use_engine out to let losskit choose"):
        lovasz(V.to("meta"), PLACES.to("meta"), task="multiclass")
    assert lovasz(V.to("meta"), PLACES.to("meta"), task="multiclass").is_meta


def test_advice_about_ranks():
    with pytest.raises(TypeError, match=r"for all ranks, try torch.distributed.group.WORLD"):
        dice(V, PLACES, task="multiclass", process_group="all")
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        assert dice(V, PLACES, task="multiclass", process_group=torch.distributed.group.WORLD) == dice(V, PLACES, task="multiclass")
    finally:
        torch.distributed.destroy_process_group()
