"""The list of losses and the facts about each. Tests, docs, curves, the command line and the benchmark are driven by it."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, Final, Literal, NamedTuple, NoReturn, TypeVar

from torch import Tensor

from losskit.contract import arguments as shared
from losskit.contract.patterns import PATTERNS, Pattern, PatternOfLosses
from losskit.contract.public import public

Task = Literal["regression", "binary classification", "classification", "segmentation", "detection", "embedding"]
LossFunction = TypeVar("LossFunction", bound=Callable[..., Any])

LABELS: Final = "-1 or 1"  # the range of labels: of any dtype, and without neighbours
# what an item is compared for: its own among all; any of its label; one of its label and one of another, without which it is absent
Compares = Literal["", "own", "alike", "triplet"]
Range = Literal["real", "> 0", ">= 0", "-1 or 1", "from -10 to 4", "from 0 to 1", "from 0 to 2"]
TENSOR_ARGUMENTS = ("mask", "sample_weight", "normalizer")  # what `forward` takes besides the tensors of a call
USUAL = (("input", "target"), ("input",))  # the tensors of a call, for nearly all losses


class OperandFacts(NamedTuple):
    """An argument of an elementwise loss that is one number, or a tensor with numbers per element, per item, per class, with a gradient for each.

    Every one is a setting, which a module holds as a number, a buffer or a parameter; one that is `predicted`, as a variance is, may be given to `forward` instead.
    """

    name: str
    range: Range = "real"  # which numbers it may hold
    predicted: bool = False
    numbers: tuple[float, ...] = ()  # to test it with, where those of its range ask too much
    single: bool = False  # it is one number in all


@dataclass(frozen=True)
class Loss:
    """One loss: its function and the facts that no signature shows."""

    function: Callable[..., Tensor]
    textbook: Callable[..., Any]  # the unreduced loss as books write it: (mpmath context, x, t, **settings), on arbitrary-precision numbers
    module: str  # the name of its nn.Module
    task: Task
    formula: str  # in text, as people write it
    input: Literal["real", "logit", "cosine", "probability", "log-probability"]
    target: Literal["real", "unit", "label", "set", "position", "distribution", "none"]
    torch: str | None  # torch.nn.functional's name for the same thing
    arguments: tuple[Mapping[str, Any], ...]  # settings that together reach every branch; the first is the one to show
    tolerance: float  # relative error of value and gradient in float32 (error budget)
    chinese: str  # summary, use and edge cases for readers of Chinese
    pattern: PatternOfLosses = "elementwise"
    rows: tuple[Mapping[str, Any], ...] = ()  # of an elementwise loss: settings under which it is one of rows
    scores: tuple[Callable[..., Tensor], ...] = ()  # public functions beside the loss: the coefficient it is one minus of
    ranges: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # of input and target, where not every number is allowed: the range, and a hint
    operands: tuple[OperandFacts, ...] = ()
    beside: tuple[str, ...] = ()  # further tensors of a call, by name, which may be left out
    owned: tuple[str, ...] = ()  # tensors of a call that the module may own: weight and bias of a torch.nn.Linear
    compares: Compares = ""  # of vectors, those of a batch with one another
    cancels: Literal["", "residual", "input"] = (
        ""  # a sum of terms that may cancel: errors are measured against what a rounding of this, and of operands, changes
    )

    @property
    def facts(self) -> Pattern:
        """What it has in common with the other losses of its pattern."""
        return PATTERNS[self.pattern]

    @property
    def name(self) -> str:
        """The public name."""
        return self.function.__name__

    @property
    def summary(self) -> str:
        """The docstring's first line."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    @cached_property
    def tensors(self) -> tuple[str, ...]:
        """The tensors of a call, in order: what the function takes by place, predictions apart. "input" and "target" for nearly all, see `USUAL`."""
        predicted = [operand.name for operand in self.operands if operand.predicted]
        parameters = inspect.signature(self.function).parameters.values()
        return tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name not in predicted)

    @property
    def multilabel(self) -> bool:
        """Whether each class of an item has a label of its own."""
        return self.pattern == "rows" and self.target in ("unit", "set")

    @property
    def required(self) -> tuple[str, ...]:
        """Settings without a default."""
        return tuple(p.name for p in inspect.signature(self.function).parameters.values() if p.kind is p.KEYWORD_ONLY and p.default is p.empty)

    @property
    def settings(self) -> dict[str, Any]:
        """Keyword arguments that are not tensors of a call, with their defaults (`inspect.Parameter.empty` for those without)."""
        parameters = inspect.signature(self.function).parameters.values()
        names = [operand.name for operand in self.operands]
        return {p.name: p.default for p in parameters if (p.kind is p.KEYWORD_ONLY or p.name in names) and p.name not in (*TENSOR_ARGUMENTS, *self.beside)}

    def ranges_of(self, settings: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
        """The ranges under some settings: a logarithm may be any number."""
        logarithm = settings.get("log_input", self.settings.get("log_input", False))
        return {name: range for name, range in self.ranges.items() if name != "input" or not logarithm}

    def operands_of(self, settings: Mapping[str, Any]) -> tuple[OperandFacts, ...]:
        """The operands that some settings give, in the order of the loss."""
        return tuple(operand for operand in self.operands if settings.get(operand.name) is not None)


@dataclass
class Registry(Mapping[str, Loss]):
    """Losses by name, in the order of their files; loaded when first used."""

    losses: dict[str, Loss] = field(default_factory=dict)
    loaded: bool = False

    def load(self) -> "Registry":
        """Import every file of `losskit.losses`."""
        if not self.loaded:
            package = import_module("losskit.losses")
            for task in sorted(m.name for m in iter_modules(package.__path__)):
                folder = import_module(f"losskit.losses.{task}")
                for file in sorted(m.name for m in iter_modules(folder.__path__)):
                    import_module(f"losskit.losses.{task}.{file}")
            self.losses = dict(sorted(self.losses.items(), key=lambda entry: entry[1].function.__module__))  # whoever imported which first
            for loss in self.losses.values():
                self.describe(loss)
            self.loaded = True  # not if it was interrupted
        return self

    def enter(self, loss: Loss) -> None:
        """Add a loss; what its docstring refers to is filled in once all are there."""
        self.losses[loss.name] = loss
        if self.loaded:
            self.describe(loss)

    def describe(self, loss: Loss) -> None:
        """Fill in what the docstrings of a loss and of its scores refer to (under `python -OO` there are none)."""
        for function in (loss.function, *loss.scores):
            if function.__doc__:
                function.__doc__ = shared.described(function.__doc__, loss.facts, bool(loss.rows), lambda name: self.losses[name].function.__doc__ or "")

    def cases(self, pattern: PatternOfLosses) -> list[tuple[Loss, Mapping[str, Any]]]:
        """Every loss with every set of arguments under which it is of a pattern."""
        chosen = [(loss, settings) for loss in self.values() for settings in loss.arguments if loss.pattern == pattern]
        return chosen + [(loss, settings) for loss in self.values() for settings in loss.rows if pattern == "rows"]

    def of(self, pattern: PatternOfLosses) -> dict[str, Loss]:
        """The losses of one pattern."""
        return {name: loss for name, loss in self.items() if loss.pattern == pattern}

    def __getitem__(self, name: str) -> Loss:
        return self.load().losses[name]

    def __iter__(self) -> Any:
        return iter(self.load().losses)

    def __len__(self) -> int:
        return len(self.load().losses)


LOSSES = Registry()


def refuse_script(*_: Any) -> NoReturn:
    """What `torch.jit.script` calls: it compiles Python's source, and neither formulas nor engines are written in the part of Python that it supports."""
    raise TypeError("torch.jit.script cannot compile a loss of losskit: try torch.jit.trace, torch.compile or torch.export")


def no_script(function: LossFunction) -> LossFunction:
    """A public function that `torch.jit.script` refuses with a clear message."""
    function.__prepare_scriptable__ = refuse_script  # type: ignore[attr-defined]
    return function


def loss(
    *,
    textbook: Callable[..., Any],
    module: str,
    task: Task,
    formula: str,
    chinese: str,
    input: Literal["real", "logit", "cosine", "probability", "log-probability"] = "real",
    target: Literal["real", "unit", "label", "set", "position", "distribution", "none"] = "real",
    torch: str | None = None,
    arguments: tuple[Mapping[str, Any], ...] = ({},),
    tolerance: float = 1e-6,
    pattern: PatternOfLosses = "elementwise",
    rows: tuple[Mapping[str, Any], ...] = (),
    scores: tuple[Callable[..., Tensor], ...] = (),
    ranges: Mapping[str, tuple[str, str]] | None = None,
    operands: tuple[OperandFacts, ...] = (),
    beside: tuple[str, ...] = (),
    owned: tuple[str, ...] = (),
    compares: Compares = "",
    cancels: Literal["", "residual", "input"] = "",
) -> Callable[[LossFunction], LossFunction]:
    """Enter a function into the registry."""

    def enter(function: LossFunction) -> LossFunction:
        function = no_script(public(function, pattern == "overlap"))
        for score in scores:
            no_script(score)
        LOSSES.enter(
            Loss(
                function,
                textbook,
                module,
                task,
                formula,
                input,
                target,
                torch,
                arguments,
                tolerance,
                inspect.cleandoc(chinese),
                pattern,
                rows,
                scores,
                ranges or {},
                operands,
                beside,
                owned,
                compares,
                cancels,
            )
        )
        return function

    return enter
