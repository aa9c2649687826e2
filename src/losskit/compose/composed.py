"""What losses made of losses have in common: named parts with weights, the step of schedules, what each part was in the last call."""

from collections.abc import Callable, Mapping, Sequence
from textwrap import indent
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

import torch
from torch import Tensor, nn

from losskit.compose.weights import Schedule, UncertaintyWeight, check_schedule, number, scheduled, shown, times
from losskit.contract import checks, together
from losskit.contract.arithmetic import Arithmetic
from losskit.contract.config import to_config
from losskit.contract.registry import refuse_script
from losskit.engines import dispatch
from losskit.engines.private import compiling

Factor = float | Schedule | UncertaintyWeight
Weight = Factor | tuple[Factor, ...]  # a product
Part = nn.Module | tuple[Weight, nn.Module]
Where = Callable[..., Tensor]
Terms = dict[str, Tensor]
OWN = "log_variance"  # what a learned weight adds, among the parts


class Share(NamedTuple):
    """How a part enters: times a number, and what else multiplies it; whether its name was given, or made of its class."""

    factor: float = 1.0
    schedule: Schedule | None = None
    named: bool = True


class Composed(Arithmetic, nn.Module):
    """A loss made of named losses. `losses` holds them, `learned` the learned weights.

    After a call `parts` has each part's value, by name, times its weights, without a graph: they add up to the total. Parts of parts are "outer/inner".
    """

    losses: nn.ModuleDict
    learned: nn.ModuleDict
    __prepare_scriptable__ = refuse_script

    def __init__(self, parts: Mapping[str, Part], where: Mapping[str, Where] | None) -> None:
        super().__init__()
        self.losses, self.learned = nn.ModuleDict(), nn.ModuleDict()
        self._shares: dict[str, Share] = {}
        self._where: dict[str, Where] = {}
        self._now: dict[str, Tensor] = {}
        self.parts: Terms = {}
        kind = type(self).__name__
        if not isinstance(parts, Mapping):
            raise TypeError(f'{kind} takes a dictionary of losses by name, got {type(parts).__name__}: write {kind}({{"dice": (0.5, DiceLoss(...)), ...}})')
        if not parts:
            raise ValueError(f'{kind} needs at least one loss, got an empty dictionary: write {kind}({{"dice": (0.5, DiceLoss(...)), ...}})')
        for name, part in parts.items():
            self._enter(name, part, kind)
        for name, function in (where or {}).items():
            if name not in self.losses:
                raise ValueError(f"where names {name!r}, which is no part: the parts are {', '.join(map(repr, self.losses))}")
            if not callable(function):
                raise TypeError(f"where={{{name!r}: ...}} must be a function of outputs and targets that gives a mask, got {type(function).__name__}")
            self._where[name] = function

    def _enter(self, name: str, part: Part, kind: str) -> None:
        """Check a part and its weight, and hold them."""
        check_name(name, kind)
        weight, loss = part if is_list(part) and len(part) == 2 else (1.0, part)
        self.losses[name] = a_loss(loss, name)
        self._weigh(name, weight)

    def _weigh(self, name: str, weight: Weight) -> None:
        factor, schedule = 1.0, None
        for each in weight if is_list(weight) else (weight,):
            if not isinstance(each, UncertaintyWeight) and (isinstance(each, (nn.Module, type)) or not callable(each)):
                factor *= number(f"weight of {name!r}", each)
            elif name in self.learned or schedule is not None:
                raise TypeError(f"the weight of {name!r} has two factors that are no numbers, and may have one: {weight!r}")
            elif isinstance(each, UncertaintyWeight):
                self.learned[name] = each
            else:
                check_schedule(name, schedule := each)
        self._shares[name] = Share(factor, schedule)

    def set_step(self, step: float) -> None:
        """Say which step it is: weights that are schedules, here and in parts of parts, are those of this step from the next call on.

        Call it before the loss, in each step: `loss.set_step(global_step)`. The step is the trainer's, who saves it, and is not in `state_dict()`: a training that goes
        on from a checkpoint says the step as ever. Until it is said, a call with a schedule raises.
        """
        step = checks.number("step", step, low=0.0)
        step = int(step) if step.is_integer() else step
        for module in self.modules():
            if isinstance(module, Composed):
                module._now = {name: scheduled(name, share.schedule, step) for name, share in module._shares.items() if share.schedule is not None}

    def terms(self, tensors: tuple[Any, ...], given: Mapping[str, Any]) -> Terms:
        """The parts of a call, with their graph, times their weights; parts of parts as "outer/inner"."""
        raise NotImplementedError

    def weighed(self, name: str, path: str, terms: Terms) -> Terms:
        """The terms of a part, times its weight."""
        share = self._shares[name]
        if name in self.learned:
            weight, beside = self.learned[name]()
            terms = {key: times(value, weight) for key, value in terms.items()}
            terms[f"{path}/{OWN}"] = beside.expand(next(iter(terms.values())).shape)  # of losses per item, too, so that their mean is that of "mean"
        if share.schedule is not None:
            if name not in self._now:
                raise RuntimeError(
                    f"the weight of {name!r} is a schedule, {shown(share.schedule)}, and nobody has said which step it is: call loss.set_step(step) before the loss, in each step"
                )
            terms = {key: times(value, self._now[name]) for key, value in terms.items()}
        return terms if share.factor == 1.0 else {key: times(value, share.factor) for key, value in terms.items()}

    def forward(self, *tensors: Any, mask: Any = None, sample_weight: Any = None, normalizer: Any = None, **named: Any) -> Tensor:
        """The total. Each part is called with what it is called with."""
        options = {"mask": mask, "sample_weight": sample_weight, "normalizer": normalizer}
        terms = self.terms(tensors, {key: value for key, value in options.items() if value is not None} | named)
        total: Tensor | None = None
        for name, value in terms.items():
            if total is not None and value.shape != total.shape:
                first = next(iter(terms))
                raise ValueError(
                    f"parts of a sum must have one shape, but {first!r} has {checks.shown(total.shape)} and {name!r} {checks.shown(value.shape)}: "
                    'give both the same reduction, such as reduction="mean"'
                )
            total = value if total is None else total + value
        assert total is not None
        if (compiling() and not torch.compiler.is_exporting()) or dispatch.watched() is None:
            self.parts = {name: value.detach() for name, value in terms.items()}
        return total

    if TYPE_CHECKING:

        def __call__(self, *tensors: Any, mask: Any = None, sample_weight: Any = None, normalizer: Any = None, **named: Any) -> Tensor:
            """What nn.Module's call does with `forward`, typed."""
            ...

    @property
    def settings(self) -> dict[str, Any]:
        """What the constructor takes to make it again."""
        weights: dict[str, Any] = {}
        learned: Mapping[str, Any] = dict(self.learned.items())
        for name, share in self._shares.items():
            weight = learned.get(name, share.schedule)
            weights[name] = share.factor if weight is None else weight if share.factor == 1.0 else (share.factor, weight)
        return {"losses": {name: (weights[name], loss) for name, loss in self.losses.items()}} | ({"where": dict(self._where)} if self._where else {})

    def to_config(self) -> dict[str, Any]:
        """The loss as plain data, as of `losskit.LossModule`, the losses it is made of within. What is a function, a schedule or `where`, no file can hold.

        Raises:
            TypeError: a weight or `where` is a function, a part is no loss of losskit.
        """
        return to_config(self)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "parts": {}}

    def __getitem__(self, name: str) -> nn.Module:
        return self.losses[name]

    def __repr__(self) -> str:
        lines = [f"({name}): {self._shown(name)}{loss!r}{self._restricted(name)}" for name, loss in self.losses.items()]
        return f"{type(self).__name__}(\n{indent(chr(10).join(lines), '  ')}\n)"

    def _shown(self, name: str) -> str:
        """What multiplies a part."""
        share = self._shares[name]
        factors = [repr(self.learned[name])] if name in self.learned else [shown(share.schedule)] if share.schedule is not None else []
        return "".join(f"{factor} * " for factor in ([f"{share.factor:g}"] if share.factor != 1.0 or not factors else []) + factors)

    def _restricted(self, name: str) -> str:
        return f" where {getattr(self._where[name], '__name__', '...')}" if name in self._where else ""


def is_list(x: Any) -> TypeGuard[Sequence[Any]]:
    """A tuple, a list, or what stands for one in a configuration that was read from a file."""
    return isinstance(x, Sequence) and not isinstance(x, (str, bytes))


def check_name(name: Any, kind: str) -> None:
    """The name of a part: of modules and of parts, and of no attribute of what holds it."""
    if not isinstance(name, str) or not name or "." in name or "/" in name:
        raise ValueError(f"a part of {kind} has the name {name!r}: names are strings without . and /, such as 'dice'")
    if name in (OWN, "training") or name.startswith("_") or hasattr(nn.ModuleDict, name):
        raise ValueError(f"a part of {kind} has the name {name!r}, which means something else here: try {name.lstrip('_') + '_loss'!r}")


def a_loss(loss: Any, name: str) -> nn.Module:
    """A part is a module."""
    if isinstance(loss, nn.Module) and not isinstance(loss, UncertaintyWeight):
        return loss
    if isinstance(loss, type) and issubclass(loss, nn.Module):
        raise TypeError(f"part {name!r} is the class {loss.__name__}: make a loss of it, {loss.__name__}(...)")
    if is_list(loss):
        raise TypeError(f"part {name!r} is a {type(loss).__name__} of {len(loss)}: write (weight, loss), such as (0.5, DiceLoss(...))")
    fix = "use its module, such as DiceLoss(...) for dice_loss" if callable(loss) else "a part is a loss, or (weight, loss)"
    raise TypeError(f"part {name!r} must be a loss, a torch.nn.Module, got {getattr(loss, '__name__', type(loss).__name__)}: {fix}")


def with_mask(given: Mapping[str, Any], where: Where, name: str, tensors: tuple[Any, ...]) -> dict[str, Any]:
    """The arguments of a call with the mask that a function of its tensors gives."""
    mask = where(*tensors)
    if not isinstance(mask, Tensor) or mask.dtype is not torch.bool:
        got = f"a tensor of {mask.dtype}" if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"where={{{name!r}: ...}} must give a bool tensor (True = counts), got {got}: compare, as in target > 0")
    return {**given, "mask": mask if given.get("mask") is None else given["mask"] & mask}


def terms_of(loss: nn.Module, path: str, tensors: tuple[Any, ...], given: Mapping[str, Any]) -> Terms:
    """The terms of one part."""
    if isinstance(loss, Composed) and together.untouched(loss):
        return {f"{path}/{key}": value for key, value in loss.terms(tensors, given).items()}
    return {path: a_value(loss(*tensors, **given), path)}


def a_value(value: Any, path: str) -> Tensor:
    """What a part gives is one tensor."""
    if isinstance(value, Tensor):
        return value
    fix = "leave return_parts out" if isinstance(value, tuple) else "return a tensor"
    raise TypeError(f"part {path!r} gives {type(value).__name__}, and parts are tensors: {fix}")
