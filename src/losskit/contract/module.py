"""nn.Module classes made from loss functions: the keyword arguments go to the constructor, the tensors to `forward`; the docstring is kept."""

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence, Sized
from numbers import Real
from typing import TYPE_CHECKING, Any, get_args

import torch
from numpy import broadcast_shapes  # torch's imports hundreds of modules the first time
from torch import Tensor, nn

from losskit.contract import checks, groups, habits, tensors, topk
from losskit.contract.arithmetic import Arithmetic
from losskit.contract.registry import TENSOR_ARGUMENTS, USUAL, Loss, refuse_script
from losskit.contract.topk import TopK
from losskit.engines.dispatch import use_engine

COUNTED = ("mask", "sample_weight", "normalizer")  # what calls take beside tensors
SHOWN = 8  # weights of which `repr` shows every one; of more, the first three


class LossModule(Arithmetic, nn.Module):
    """A loss as a module. Calls are `module(input, target, *, mask=None, sample_weight=None, normalizer=None)`; losses of overlap take no `sample_weight`.
    Losses of embeddings take other tensors in place of input and target, by place or by name, as their functions do.

    The settings are attributes, as in torch.nn: `module.reduction = "none"` holds from the next call on, and a bad value raises as in the constructor.
    Weights are buffers, which move with the model, and settings all the same: no checkpoint holds them, and one that does changes nothing (it warns where they
    differ). An `nn.Parameter` is a parameter, where the loss has a gradient for it, and is saved and loaded as all others.
    """

    loss: Loss  # set on each subclass
    names: tuple[str, ...]  # of the settings
    __prepare_scriptable__ = refuse_script

    def __init__(self, *placed: Any, **settings: Any) -> None:
        super().__init__()
        self._numbers: dict[str, Tensor] = {}
        if placed:
            raise TypeError(self._by_name(placed, settings))
        unknown = set(settings) - set(self.names)
        if "reduction" in unknown and isinstance(settings["reduction"], TopK):
            raise TypeError(topk.refusal(self.loss.module))
        if unknown:
            taken = [name for name in TENSOR_ARGUMENTS if name in inspect.signature(self.loss.function).parameters]
            raise TypeError(habits.unknown(self.loss.module, settings, self.names, taken))
        missing = [name for name in self.loss.required if name not in settings]
        if missing:
            example = next((each[missing[0]] for each in self.loss.arguments if missing[0] in each), None)
            raise TypeError(habits.missing(self.loss.module, missing[0], self._kind(missing[0]), example))
        self._take(self.loss.settings | settings)

    def _by_name(self, placed: Sequence[Any], settings: Mapping[str, Any]) -> str:
        """What to write in place of settings without a name. Those of a class that torch has, too, have torch's order; what is left at None there is nothing."""
        name = self.loss.module
        if sum(isinstance(value, Tensor) for value in placed) > 1:
            return f"{name} takes its settings when it is made, and tensors when it is called: write {name}()({', '.join(self.loss.tensors)})"
        return habits.by_name(name, placed, settings, getattr(nn, name, None), self.names, type(self))

    def __setattr__(self, name: str, value: Any) -> None:
        """A setting is checked, together with the others; all else is up to torch."""
        if name in self.names:
            self._take(self.settings | {name: value}, (name,))
        else:
            super().__setattr__(name, value)

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting as the loss function takes it."""
        return {name: getattr(self, name) for name in self.names}

    def _kind(self, name: str) -> Any:
        """The type of a setting."""
        return inspect.signature(self.loss.function).parameters[name].annotation

    def _take(self, settings: Mapping[str, Any], changed: tuple[str, ...] | None = None) -> None:
        """Check all settings, then hold those that changed: weights as buffers (as parameters, if they are), the rest as plain attributes."""
        settings = {name: self._converted(name, value) for name, value in settings.items()}
        self._check(settings)
        for name in changed or self.names:
            value = settings[name]
            for held in (self.__dict__, self._buffers, self._parameters, self._numbers):
                held.pop(name, None)
            if isinstance(value, nn.Parameter):
                self.register_parameter(name, value)
            elif isinstance(value, Tensor):
                self.register_buffer(name, value, persistent=False)
            else:
                object.__setattr__(self, name, value)

    def _converted(self, name: str, value: Any) -> Any:
        """Weights given as numbers become a tensor; they must be finite. A list of settings given as a tensor becomes a list: `.bfloat16()` would round a buffer."""
        kinds = get_args(self._kind(name))
        if Sequence[float] in kinds and Tensor not in kinds and hasattr(value, "tolist"):
            return value if getattr(value, "requires_grad", False) else value.tolist()  # the loss refuses a gradient
        if value is None or Tensor not in kinds or (float in kinds and isinstance(value, Real)):
            return value
        if not isinstance(value, Tensor):
            value = checks.numbers(name, value, torch.get_default_dtype(), checks.home(), "a number, a tensor" if float in kinds else "a tensor")
        tensors.check(name, value)
        checks.finite(name, value)
        return value

    def _check(self, settings: Mapping[str, Any]) -> None:
        """Bad settings raise here, at the constructor, not in the first training step: a call on no items. Not on tensors of "meta", where each step takes a hundred
        times as long; one number in all stands for weights, wherever they are, of whose values only the shape is asked.
        """
        weights = {  # those that require a gradient still do: where none is defined for them, they are refused here
            name: torch.ones((), dtype=value.dtype, device="cpu").expand(value.shape).requires_grad_(value.requires_grad)
            for name, value in settings.items()
            if isinstance(value, Tensor)
        }
        shapes = {name: w.shape for name, w in weights.items() if w.dim()}  # one number in all fits any input
        for name, value in settings.items():  # a number or a list: one for each place of the last axis
            if name not in weights and isinstance(value, Sized) and {float, Sequence[float]} <= set(get_args(self._kind(name))):
                shapes[name] = torch.Size((len(value),))
        nothing = self._nothing(settings, shapes)
        settings = {**settings, **self._predictions(settings)}
        here: dict[str, Any] = {"inplace": False} if "inplace" in settings else {}  # there is no memory to reuse
        groups.group_of("process_group", settings.get("process_group"))
        groups.checked("class_group", settings.get("class_group"))
        here |= {name: None for name in ("process_group", "class_group") if isinstance(settings.get(name), groups.Group)}  # and nothing to send
        here |= {"sequence_dim": None} if isinstance(settings.get("class_group"), groups.Group) and "sequence_dim" in settings else {}
        with use_engine("torch"), torch.enable_grad(), checks.shapes_alone():
            self.loss.function(*nothing, **{**settings, **weights, **here})

    def _predictions(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Numbers in place of the operands that only a call will bring."""
        given = {operand.name for operand in self.loss.operands_of(settings)}
        examples = [{operand.name: each[operand.name] for operand in self.loss.operands_of(each)} for each in self.loss.arguments]
        return next(({name: x for name, x in each.items() if name not in given} for each in examples if given <= set(each)), {})

    def _nothing(self, settings: Mapping[str, Any], shapes: Mapping[str, torch.Size]) -> tuple[Tensor, ...]:
        """The tensors of a call, of no items. Of shapes, vectors are numbers per class, the others end where the input's does."""
        count = len(self.loss.tensors)
        if self.loss.pattern == "linear":
            head: nn.Linear | None = getattr(self, "linear", None)
            classes = max((shape[0] for shape in shapes.values() if len(shape) == 1), default=2) if head is None else head.weight.shape[0]
            labels = torch.empty(0, dtype=torch.long, device="cpu")
            return *(torch.empty(shape, dtype=torch.float32, device="cpu") for shape in ((0, 0), (classes, 0))), labels
        try:
            vector, wide = (broadcast_shapes((1,), *(shape for shape in shapes.values() if (len(shape) < 2) is flat)) for flat in (True, False))
        except ValueError:
            told = " and ".join(f"{name} has shape {checks.shown(shape)}" for name, shape in shapes.items())
            raise ValueError(f"{told}: both must broadcast to the shape of one input") from None
        if self.loss.facts.empty is not None:
            shape = (0, 5) if settings.get("box_format") == "cxcywha" else self.loss.facts.empty
            empty = torch.empty(shape, dtype=torch.float32, device="cpu")
            labelled = self.loss.pattern == "vectors" and self.loss.target != "none"  # one number per vector
            return (*(empty,) * (count - 1), empty.select(-1, 0) if labelled else empty)
        if self.loss.target in ("real", "unit") and settings.get("task") != "multiclass" and not self.loss.multilabel:
            empty = torch.empty((0, *vector, *(wide[1:] if wide[0] in (1, *vector) else wide)), dtype=torch.float32, device="cpu")
            return (empty,) * count
        dim = settings.get("dim", 1)
        single = [name for name, shape in shapes.items() if shape == (1,)]
        if single and settings.get("task") not in ("binary", "multilabel") and not self.loss.multilabel:
            raise ValueError(
                f"{single[0]} has shape (1,), a number for each class, but a softmax over one class is 1 everywhere: give at least two, or leave it out"
            )
        classes = 1 if settings.get("task") == "binary" else max(*vector, wide[-1]) if shapes else 2
        axes = max(dim + 1, int(self.loss.facts.summed) - dim, 2) if isinstance(dim, int) else 2  # samples may need an axis of their own
        sizes = [0] * axes
        if isinstance(dim, int):
            sizes[dim] = classes
        input = torch.empty(sizes, dtype=torch.float32, device="cpu")
        if self.loss.target == "set":
            return input, input.bool()
        if self.loss.target in ("distribution", "none", "real") or self.loss.multilabel or settings.get("task") in ("binary", "multilabel"):
            return (input,) * count
        return input, torch.empty([0] * (axes - 1), dtype=torch.long, device="cpu")

    def forward(
        self,
        input: Tensor,
        target: Tensor | None = None,
        *placed: Any,
        mask: Tensor | None = None,
        sample_weight: Tensor | None = None,
        normalizer: Any = None,
        **named: Any,
    ) -> Any:
        """The loss of `input` against `target`, which only losses without one leave out."""
        if placed or named:
            raise TypeError(habits.at_call(self.loss.module, named, self.names, (*self.loss.tensors, *COUNTED), 2 + len(placed)))
        tensors: tuple[Tensor | None, ...] = (input, target)
        if self.loss.target == "none":
            if target is not None:
                raise TypeError(f"{self.loss.module} has no target: call module(input)")
            tensors = (input,)
        given: dict[str, Any] = {"mask": mask, "sample_weight": sample_weight, "normalizer": normalizer}
        if self.loss.facts.summed:  # an average over classes has no samples to weigh
            if sample_weight is not None:
                raise TypeError(f"{self.loss.module} takes no sample_weight: there is no loss per item. mask= leaves items out")
            del given["sample_weight"]
        return self.loss.function(*tensors, **given, **self.settings)

    def forward_predicted(
        self,
        input: Tensor,
        target: Tensor,
        *predicted: Tensor | float,
        mask: Tensor | None = None,
        sample_weight: Tensor | None = None,
        normalizer: Any = None,
        **named: Any,
    ) -> Any:
        """The loss of `input` against `target` and what else was predicted, in the function's order or by name; it takes the place of what the module holds."""
        names = [operand.name for operand in self.loss.operands if operand.predicted]
        if len(predicted) > len(names) or any(name not in names for name in named):
            raise TypeError(habits.at_call(self.loss.module, named, self.names, (*self.loss.tensors, *names, *COUNTED), 2 + len(predicted)))
        twice = [name for name in names[: len(predicted)] if name in named]
        if twice:
            raise TypeError(f"{self.loss.module}'s call has {twice[0]} twice: by its place and by its name")
        settings = self.settings | dict(zip(names, predicted, strict=False)) | named
        return self.loss.function(input, target, mask=mask, sample_weight=sample_weight, normalizer=normalizer, **settings)

    if TYPE_CHECKING:

        def __call__(
            self,
            input: Tensor,
            target: Tensor | None = None,
            *predicted: Tensor | float,
            mask: Tensor | None = None,
            sample_weight: Tensor | None = None,
            normalizer: Any = None,
            **named: Any,
        ) -> Any:
            """What nn.Module's call does with `forward`, typed."""
            ...

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Settings are the code's: what a checkpoint says of them, as those of torch's losses do, is no state of this module. One that has no numbers takes those."""
        super()._load_from_state_dict(state_dict, prefix, *rest)
        unexpected = rest[3]
        for name in self.names:
            key = prefix + name
            if name not in self._parameters and key in state_dict:
                if key in unexpected:
                    unexpected.remove(key)
                other, own = state_dict[key], getattr(self, name)
                if isinstance(own, Tensor) and own.is_meta and isinstance(other, Tensor) and other.shape == own.shape:
                    setattr(self, name, other.detach().clone())
                elif not (isinstance(own, Tensor) and isinstance(other, Tensor) and same(own, other)):
                    warnings.warn(
                        f"the checkpoint has {prefix + name}={in_short(other)}, a setting of {self.loss.module}, where the code has {in_short(own)}, which stays: "
                        f"to take the checkpoint's, set {name} when the module is made",
                        stacklevel=2,
                    )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "LossModule":
        """Weights that lose their numbers, on meta, have them again where they get memory (`to_empty`): no checkpoint holds them."""
        before = {name: x for name in self.names if (x := self._buffers.get(name)) is not None}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, x in before.items():
            held = self._buffers[name]
            if held is not None and held.is_meta and not x.is_meta:
                self._numbers[name] = x.detach().cpu()
            elif held is not None and x.is_meta and not held.is_meta and name in self._numbers:
                held.copy_(self._numbers.pop(name))
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.__dict__.setdefault("_numbers", {})
        self._non_persistent_buffers_set.update(name for name in self.names if name in self._buffers)  # not so in version 0.1

    def to_config(self) -> dict[str, Any]:
        """The module as plain data, which JSON and YAML hold: the loss, the version of this form, and every setting, so that a default that changes changes nothing.
        `losskit.from_config` makes the module again. Learned parameters are written with their values.

        Raises:
            TypeError: a setting is of this process, as a process group is. ValueError: a tensor has no values.
        """
        from losskit.contract.config import to_config

        return to_config(self)

    def extra_repr(self) -> str:
        """Every argument, as the constructor takes it; many weights, and weights without values, in short."""
        return ", ".join(f"{name}={in_short(value)}" for name, value in self.settings.items())


def shown_alone(function: Callable[..., Any], names: Sequence[str]) -> None:
    """Have whoever reads signatures see these parameters, not those that catch what is not taken."""
    signature: Any = inspect.signature(function)
    function.__signature__ = signature.replace(parameters=[signature.parameters[name] for name in names])  # type: ignore[attr-defined]


shown_alone(LossModule.forward, ("self", "input", "target", *COUNTED))


class OwnsHead(LossModule):
    """A loss of a product whose module may own the head. Made with (in_features, num_classes), as torch's is, it has a `torch.nn.Linear`, `linear`, and is called with
    the other tensors: `module(input, target)`. Made without, it is called as its function is.
    """

    linear: nn.Linear | None

    def __init__(
        self,
        in_features: int | None = None,
        num_classes: int | None = None,
        *placed: Any,
        bias: bool = False,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
        **settings: Any,
    ) -> None:
        name, sizes = self.loss.module, {"in_features": in_features, "num_classes": num_classes}
        tensors = [value for value in (*sizes.values(), *placed) if isinstance(value, Tensor)]
        super().__init__(*(tensors or placed), **settings)
        if in_features is None and num_classes is None:
            if bias or device is not None or dtype is not None:
                raise TypeError(f"bias, device and dtype are of the head that {name} owns: give in_features and num_classes, too, or leave them out")
            self.linear = None
            return
        for size, given in sizes.items():
            if isinstance(given, bool) or not isinstance(given, int):
                raise TypeError(
                    f"{name} owns a head if it is given in_features and num_classes, two whole numbers; {size} is {'missing' if given is None else type(given).__name__}"
                )
            if given < (2 if size == "num_classes" else 0):
                raise ValueError(f"{size} must be at least {2 if size == 'num_classes' else 0}, got {given}")
        checks.flag("bias", bias)
        assert in_features is not None and num_classes is not None
        self.linear = nn.Linear(in_features, num_classes, bias=bias, device=device, dtype=dtype)
        self._check(self.settings)  # weights fit the head

    def of_head(self, tensors: tuple[Tensor, ...], named: Mapping[str, Any]) -> Any:
        """The loss, of the head that the module owns, or of one that is given."""
        name, (weight, bias) = self.loss.module, self.loss.owned
        if self.linear is None:
            if weight not in named and len(tensors) == len(self.loss.tensors) - 1:
                raise TypeError(f"this {name} owns no head: call module({', '.join(self.loss.tensors)}), or make it with {name}(in_features, num_classes)")
            return self.loss.function(*tensors, **named, **self.settings)
        free = [tensor for tensor in self.loss.tensors if tensor != weight]
        if len(tensors) > len(free) or {weight, bias} & set(named):
            raise TypeError(f"this {name} owns its head, module.linear: call module({', '.join(free)}), or make it without in_features and num_classes")
        given = dict(zip(free, tensors, strict=False))
        twice = sorted(given.keys() & named.keys())
        if twice:
            raise TypeError(f"{name}'s call has {twice[0]} twice: by its place and by its name")
        return self.loss.function(**given, **named, **{weight: self.linear.weight, bias: self.linear.bias}, **self.settings)


def same(own: Tensor, other: Tensor) -> bool:
    """Whether two settings are equal; those without values are not looked at."""
    if own.is_meta or other.is_meta:
        return True
    return own.shape == other.shape and torch.equal(own.detach().cpu(), other.detach().cpu().to(own.dtype))


def in_short(value: object) -> str:
    """A setting as `repr` shows it."""
    if not isinstance(value, Tensor):
        return repr(value)
    kind = f"<shape {checks.shown(value.shape)}, {value.dtype}, {value.device}>"
    try:
        first = value.flatten()[:SHOWN].tolist()
    except RuntimeError:  # a tensor without numbers: on the meta device, fake, inside a transform
        return kind
    if value.numel() <= SHOWN:
        return repr(value.tolist())
    return f"[{', '.join(map(repr, first[:3]))}, ... {value.numel()} in all]" if value.dim() == 1 else kind


def constructor(loss: Loss) -> Callable[..., None]:
    """`__init__` with the settings as keyword arguments, for whoever reads signatures: `help`, editors' consoles, jsonargparse (LightningCLI), Hydra."""
    base = OwnsHead if loss.owned else LossModule

    def __init__(self: LossModule, *placed: Any, **settings: Any) -> None:
        base.__init__(self, *placed, **settings)  # type: ignore[arg-type]

    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    own, *parameters = (p for p in inspect.signature(base.__init__).parameters.values() if p.kind in named)
    parameters += [p.replace(kind=p.KEYWORD_ONLY) for p in inspect.signature(loss.function).parameters.values() if p.name in loss.settings]
    signature: Any = inspect.Signature([own, *parameters], return_annotation=None)
    __init__.__signature__ = signature  # type: ignore[attr-defined]
    __init__.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
    __init__.__qualname__, __init__.__module__ = f"{loss.module}.__init__", "losskit"
    return __init__


def forward_of(loss: Loss) -> Callable[..., Any]:
    """`forward` with the tensors of a loss's call, where they are not input and target; what was predicted takes the place of what the module holds."""
    predicted = [operand.name for operand in loss.operands if operand.predicted]
    parameters = inspect.signature(loss.function).parameters
    names = [name for name in parameters if name not in loss.settings or name in predicted]
    placed = sum(parameters[name].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD for name in names)

    def forward(self: LossModule, *tensors: Tensor, **named: Any) -> Any:
        if len(tensors) > placed or any(name not in names for name in named):
            raise TypeError(habits.at_call(loss.module, named, self.names, names, len(tensors)))
        if isinstance(self, OwnsHead):
            return self.of_head(tensors, named)
        given = {*(*loss.tensors, *predicted)[: len(tensors)], *named}
        return loss.function(*tensors, **named, **{name: value for name, value in self.settings.items() if name not in predicted or name not in given})

    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    forward.__signature__ = inspect.Signature([own, *(parameters[name] for name in names)], return_annotation=Any)  # type: ignore[attr-defined]
    forward.__qualname__, forward.__module__ = f"{loss.module}.forward", "losskit"
    return forward


def make_module(loss: Loss) -> type[LossModule]:
    """The module class of a loss."""
    docs = (inspect.getdoc(loss.function) or "") + "\n\nAs a module: keyword arguments go to the constructor, tensors to the call."
    if loss.owned:
        docs += (
            " Made with (in_features, num_classes), and with bias, device and dtype as `torch.nn.Linear` has them, the module owns the head, which is its `linear`, "
            "and takes the other tensors."
        )
    body = {"__doc__": docs, "__module__": "losskit", "loss": loss, "names": tuple(loss.settings), "__init__": constructor(loss)}
    if loss.tensors not in USUAL:
        body["forward"] = forward_of(loss)
    elif any(operand.predicted for operand in loss.operands):
        body["forward"] = LossModule.forward_predicted
    return type(loss.module, (OwnsHead if loss.owned else LossModule,), body)
