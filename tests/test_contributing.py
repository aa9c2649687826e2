"""The worked examples of CONTRIBUTING.md are losses like any other."""

import doctest
import importlib
import re
import sys
from pathlib import Path

import pytest
import torch

import losskit
from losskit.contract.module import make_module
from losskit.contract.registry import LOSSES

GUIDE = Path(__file__).parent.parent / "CONTRIBUTING.md"
EXAMPLES = re.findall(r"is\s`src/losskit/losses/regression/(\w+)\.py`:\n\n```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(params=EXAMPLES, ids=[name for name, _ in EXAMPLES])
def example(request, tmp_path, monkeypatch):
    name, code = request.param
    (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    LOSSES.load()
    yield importlib.import_module(name)
    del LOSSES.losses[f"{name}_loss"], sys.modules[name]


def only(name):
    """A test of one of the examples."""
    return pytest.mark.parametrize("example", [one for one in EXAMPLES if one[0] == name], indirect=True, ids=[name])


def test_both_are_found():
    assert [name for name, _ in EXAMPLES] == ["biweight", "logistic_nll"]


FORMULA = ("textbook", "error_budget", "target_gradient", "nan_stays", "infinite_inputs", "domain_checked")  # the loop around a formula is that of every loss


@pytest.mark.parametrize(("engine", "laws"), [("torch", None), ("cpu", FORMULA)], ids=["torch", "cpu"])
def test_the_example_passes_the_audit(example, engine, laws):
    from losskit.testing import audit

    name = f"{example.__name__}_loss"
    with losskit.use_engine(engine):
        result = audit(getattr(example, name), like=name, laws=laws, show=False)
    assert not result.failures, result.failures


def test_its_doctest_holds(example):
    found = doctest.testmod(example)
    assert found.attempted and not found.failed


@only("biweight")
def test_the_first_is_a_module(example):
    module = make_module(LOSSES["biweight_loss"])(scale=2.0)
    assert repr(module) == "BiweightLoss(scale=2.0, reduction='mean')"
    assert module(torch.tensor([5.0]), torch.tensor([0.0])).item() == pytest.approx(2 / 3)


@only("logistic_nll")
@pytest.mark.parametrize("engine", ["cpu", "torch"])
def test_the_second_obeys_the_laws_of_operands(example, engine):
    """All of them; those about a loop are examined where there is one, on a loss of ours."""
    from losskit.testing import OPERAND_LAWS
    from losskit.testing.operands import subjects
    from losskit.testing.subject import NotOffered

    found = list(subjects(lambda loss: loss.name == "logistic_nll_loss"))
    assert [s.names for s in found] == [("log_scale",)]
    with losskit.use_engine(engine):
        for name in ("textbook", "error_budget", "shapes", "half_precision", "subsets", "mask_deletes", "nothing_left", "incoming_gradient", "messages"):
            if engine == "torch" or name in FORMULA:
                OPERAND_LAWS[name].law(found[0])
        with pytest.raises(NotOffered, match="every real number is in range"):
            OPERAND_LAWS["out_of_range"].law(found[0])


@only("logistic_nll")
def test_the_second_learns_the_scale_of_its_errors(example):
    torch.manual_seed(0)
    u = torch.rand(4000)
    noise = 3.0 * (u.log() - (-u).log1p())  # a logistic distribution of scale 3
    module = make_module(LOSSES["logistic_nll_loss"])(log_scale=torch.nn.Parameter(torch.zeros(())))
    steps = torch.optim.LBFGS(module.parameters(), max_iter=50)

    def step():
        steps.zero_grad()
        loss = module(torch.zeros(4000), noise)
        loss.backward()
        return loss

    with losskit.use_engine("torch"):
        steps.step(step)
        predicted = torch.full((4000,), 1.0, requires_grad=True)
        module(torch.zeros(4000), noise, predicted).backward()
    assert module.log_scale.exp().item() == pytest.approx(3.0, rel=0.05)
    assert predicted.grad is not None
