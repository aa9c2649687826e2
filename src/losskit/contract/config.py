"""Losses as configurations: by name, and as plain data that JSON and YAML hold."""

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from importlib import import_module
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from losskit.contract import checks
from losskit.contract.module import OwnsHead
from losskit.contract.names import ABBREVIATIONS, near, short
from losskit.contract.registry import no_script
from losskit.contract.topk import TopK

VERSION = 1  # of the form of a configuration
KEYS = ("loss", "version", "settings")
OF_TENSOR = ("values", "dtype", "learned")
MADE = ("WIoUv3Loss", "Sum", "DeepSupervision", "PerHead")  # modules without a function
WORDS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}  # JSON has no number for them


def compact(name: str) -> str:
    """A name in small letters, without `losskit.`, the ending that losses share, and underlines."""
    return short(name).replace("_", "")


def modules() -> tuple[dict[str, str], dict[str, list[str]]]:
    """The module's name of each loss by the names of its function and of its module; and those of the losses that a compact name may be short for."""
    package = import_module("losskit")
    whole = {loss.name: loss.module for loss in package.LOSSES.values()} | {name: name for name in (*package._modules, *MADE)}
    compacts: dict[str, list[str]] = {}
    for name, module in whole.items():
        if module not in (meant := compacts.setdefault(compact(name), [])):
            meant.append(module)
    return whole, {abbreviation: [whole[name]] for abbreviation, name in ABBREVIATIONS.items()} | compacts


def class_of(name: object, argument: str) -> type[nn.Module]:
    """The module class of a loss by one of its names."""
    if not isinstance(name, str):
        raise TypeError(f"{argument} must be the name of a loss, got {type(name).__name__}: {name!r}")
    whole, compacts = modules()
    bare = name.removeprefix("losskit.")
    found = [whole[bare]] if bare in whole else compacts.get(short(name)) or compacts.get(compact(name)) or []
    if len(found) > 1:
        raise ValueError(f"{argument}={name!r} is short for {' and '.join(found)}: say which")
    if not found:
        meant = near(name, [*whole, *compacts])
        raise ValueError(f"{argument} must be the name of a loss, got {name!r}" + (f": did you mean {' or '.join(map(repr, meant))}?" if meant else ""))
    kind: type[nn.Module] = getattr(import_module("losskit"), found[0])
    return kind


@no_script
def create(loss: str, /, **settings: Any) -> nn.Module:
    """The module of a loss, by its name.

    Args:
        loss: the name of its function or of its module, with or without the ending, or an abbreviation: "focal_loss", "FocalLoss", "focal", "ce".
        settings: the settings of the module, as its constructor takes them.

    Raises:
        ValueError: no loss has this name; close names are shown. TypeError, ValueError: as the module's constructor.

    >>> import losskit
    >>> losskit.create("l1")
    L1Loss(reduction='mean')
    """
    return class_of(loss, "loss")(**settings)


def to_config(module: nn.Module) -> dict[str, Any]:
    """What `module.to_config()` gives: see `LossModule.to_config`."""
    if not hasattr(module, "settings"):
        raise TypeError(f"{type(module).__name__} is no loss of losskit, and what it is made of is not known: make it again where the configuration is read")
    settings: dict[str, Any] = dict(module.settings)  # type: ignore[arg-type]
    if isinstance(module, OwnsHead) and (head := module.linear) is not None:
        settings = {"in_features": head.in_features, "num_classes": head.out_features, "bias": head.bias is not None} | settings
        settings |= {} if head.weight.dtype is torch.float32 else {"dtype": str(head.weight.dtype).removeprefix("torch.")}
    return {"loss": type(module).__name__, "version": VERSION, "settings": {name: written(name, value) for name, value in settings.items()}}


def settings_of(kind: type[nn.Module | TopK]) -> list[str]:
    """The names of what a constructor takes."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p.name for p in list(inspect.signature(kind.__init__).parameters.values())[1:] if p.kind in named]


def written(name: str, value: Any) -> Any:
    """A setting as JSON and YAML hold it."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, Tensor):
        if value.is_meta:
            raise ValueError(f"{name} is a tensor on meta, which has no values: make the module on another device")
        values, dtype = written(name, value.tolist()), value.dtype
        if value.dim() and dtype is torch.float32 and not isinstance(value, nn.Parameter):
            return values
        learned = {"learned": value.requires_grad} if isinstance(value, nn.Parameter) else {}
        return {"values": values, "dtype": str(dtype).removeprefix("torch.")} | learned
    if isinstance(value, Real):
        number = float(value)
        return number if math.isfinite(number) else str(number)
    if isinstance(value, TopK):
        return {"TopK": {field.name: written(field.name, getattr(value, field.name)) for field in fields(value)}}
    learned_weight = import_module("losskit").UncertaintyWeight
    if isinstance(value, learned_weight):
        return {"UncertaintyWeight": {"log_variance": value.log_variance.item(), "likelihood": value.likelihood}}
    if isinstance(value, nn.Module):
        return to_config(value)
    if isinstance(value, Mapping):
        return {key: written(f"{name} of {key!r}", each) for key, each in value.items()}
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], nn.Module) and not isinstance(value[1], learned_weight):  # a part of a sum
        return ({} if value[0] == 1.0 else {"weight": written(f"the weight in {name}", value[0])}) | to_config(value[1])
    if isinstance(value, Sequence):
        return [written(name, each) for each in value]
    if callable(value):
        raise TypeError(f"{name} is a function, which no file can hold: give it where the module is made again")
    raise TypeError(
        f"{name} is a {type(value).__name__}, which is of this process and cannot be written: set it to None before, and give it to from_config(config, {name}=...)"
    )


@no_script
def from_config(config: Mapping[str, Any], **settings: Any) -> nn.Module:
    """The module of a configuration that `to_config` gave, or that was written by hand.

    Args:
        config: "loss", a name as `create` takes it; "settings", those of the module, by default none; "version", by default this one's. Numbers, text, lists and
            mappings as JSON and YAML hold them; "inf" and "-inf" stand for the infinities. A list becomes a tensor where the setting is one; other tensors are
            mappings {"values": ..., "dtype": "float64", "learned": true}, where learned ones are parameters (false: frozen).
        settings: settings that take the place of the configuration's, or that no file can hold, as `process_group`.

    Raises:
        TypeError: the configuration or its settings are no mappings, a value has a wrong type. ValueError: the loss is unknown, a key is unknown (close ones are shown),
        the version is newer than this losskit reads.

    >>> import losskit
    >>> config = losskit.DiceLoss(task="multiclass", weight=[0.2, 1.0]).to_config()
    >>> config["loss"], config["version"], config["settings"]["weight"]
    ('DiceLoss', 1, [0.20000000298023224, 1.0])
    >>> losskit.from_config({"loss": "focal", "settings": {"task": "binary", "gamma": 1.5}}).gamma
    1.5
    """
    if not isinstance(config, Mapping):
        raise TypeError(f"config must be a mapping, got {type(config).__name__}: {config!r}")
    if "loss" not in config:
        raise ValueError(f"config has no loss: {{'loss': 'focal', 'settings': {{...}}}} is expected, got {dict(config)!r}")
    kind = class_of(config["loss"], 'config["loss"]')
    known = settings_of(kind)
    for key in config:
        if key not in KEYS:
            meant = near(str(key), KEYS)
            fix = (
                f'{key!r} is a setting, which stands in config["settings"]'
                if key in known
                else f"did you mean {meant[0]!r}?"
                if meant
                else f"it has {', '.join(KEYS)}"
            )
            raise ValueError(f"config has an unknown key {key!r}: {fix}")
    refuse_version(config.get("version", VERSION))
    given = config.get("settings", {})
    if not isinstance(given, Mapping):
        raise TypeError(f'config["settings"] must be a mapping, got {type(given).__name__}: {given!r}')
    refuse_unknown('config["settings"]', kind, given)
    return kind(**{name: read(name, value) for name, value in given.items()} | settings)


def refuse_unknown(place: str, kind: type[nn.Module | TopK], given: Mapping[str, Any]) -> None:
    """Settings that a class does not have."""
    known = settings_of(kind)
    for name in given:
        if name not in known:
            meant = near(str(name), known)
            hint = f"did you mean {' or '.join(map(repr, meant))}?" if meant else f"it has {', '.join(known)}"
            raise ValueError(f"{place} has {name!r}, which {kind.__name__} has not: {hint}")


def refuse_version(version: object) -> None:
    """A form that this version of losskit does not know."""
    if isinstance(version, bool) or not isinstance(version, int):
        raise TypeError(f'config["version"] must be a whole number, got {type(version).__name__}: {version!r}')
    if not 1 <= version <= VERSION:
        fix = "upgrade losskit" if version > VERSION else f"write {VERSION}, or leave it out"
        raise ValueError(f'config["version"] is {version}, and this losskit reads versions up to {VERSION}: {fix}')


def read(name: str, value: Any) -> Any:
    """A setting as the constructor takes it."""
    if isinstance(value, str):
        return getattr(torch, value, value) if name == "dtype" else WORDS.get(value, value)
    if isinstance(value, Mapping):
        return read_mapping(name, value)
    if isinstance(value, Sequence):
        return [read(name, each) for each in value]
    return value


def read_mapping(name: str, value: Mapping[str, Any]) -> Any:
    """A loss and its weight, a reduction, a learned weight, parts by name, or a tensor."""
    if isinstance(value.get("loss"), str):
        loss = from_config({key: each for key, each in value.items() if key != "weight"})
        return (read("weight", value["weight"]), loss) if "weight" in value else loss
    for kind in (TopK, import_module("losskit").UncertaintyWeight):
        inside = value.get(kind.__name__)
        if kind.__name__ in value and not (isinstance(inside, Mapping) and "loss" in inside):  # a part of that name
            if not isinstance(inside, Mapping):
                raise TypeError(f"{kind.__name__} in {name} must be a mapping of its settings, got {type(inside).__name__}: {inside!r}")
            refuse_unknown(name, kind, inside)
            return kind(**{key: read(key, each) for key, each in inside.items()})
    if name == "losses":
        for key, each in value.items():
            if not (isinstance(each, nn.Module) or (isinstance(each, Mapping) and isinstance(each.get("loss"), str))):
                raise ValueError(
                    f'losses has a part {key!r} that is no loss: {{"weight": 0.5, "loss": "focal", "settings": {{...}}}} is expected, got {each!r}'
                )
        return {key: read(key, each) for key, each in value.items()}
    return read_tensor(name, value)


def read_tensor(name: str, value: Mapping[str, Any]) -> Tensor:
    """A tensor from its values, dtype, and whether it is learned."""
    unknown = [key for key in value if key not in OF_TENSOR]
    if unknown or "values" not in value:
        raise ValueError(f"{name} is a mapping, and so a tensor: it has values, and may have dtype and learned, got {dict(value)!r}")
    dtype = getattr(torch, str(value.get("dtype", "float32")), None)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f'{name} has the dtype {value["dtype"]!r}, which torch has not: "float32", for example')
    learned = value.get("learned")
    if learned is not None and not isinstance(learned, bool):
        raise TypeError(f"{name}: learned must be true or false, got {learned!r}")
    try:
        x = torch.tensor(read(name, value["values"]), dtype=dtype, device=checks.home())
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} must hold numbers, in lists of one length, got {value['values']!r}") from error
    if learned and not x.is_floating_point():
        raise ValueError(f"{name} is learned, and so of a floating-point dtype, got {dtype}")
    return x if learned is None else nn.Parameter(x, requires_grad=learned)
