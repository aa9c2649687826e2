"""Losses by what people call them: a name of losskit's, or a place in their own code, `module:function` or `file.py:function`."""

import inspect
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, NamedTuple

import torch

from losskit.cli import stop
from losskit.cli.explain import find
from losskit.contract.names import near
from losskit.contract.registry import Loss


class Subject(NamedTuple):
    """A loss, and what the registry knows of it, if it is one of losskit's."""

    name: str
    function: Callable[..., Any]
    loss: Loss | None

    def takes(self, name: str) -> bool:
        """Whether it has a setting of this name."""
        if self.loss is not None:
            return name in self.loss.settings
        try:
            parameters = inspect.signature(self.function.forward if isinstance(self.function, torch.nn.Module) else self.function).parameters
        except (TypeError, ValueError):
            return False
        return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def located(text: str) -> Subject:
    """The loss that is meant."""
    if ":" not in text:
        try:
            loss = find(text)
        except LookupError as error:
            stop(f"{error.args[0]}. A loss of your own is module:function, or file.py:function")
        return Subject(loss.name, loss.function, loss)
    where, _, name = text.rpartition(":")
    module = imported(where, text)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            meant = near(
                part, [known for known, value in vars(found).items() if callable(value) and not known.startswith("_")] if hasattr(found, "__dict__") else []
            )
            stop(f"{text}: {where} has no {part!r}" + (f"; did you mean {' or '.join(meant)}?" if meant else ""))
        found = getattr(found, part)
    if isinstance(found, type):
        try:
            found = found()
        except Exception as error:
            stop(f"{text} is a class, and {name}() raises {told(error)}: name a function that makes it, or a module that is made")
    if not callable(found):
        stop(f"{text} is {type(found).__name__}, and no function")
    return Subject(text, found, None)


def imported(where: str, text: str) -> Any:
    """A module of the user's, seen from this folder, or a file."""
    if where.endswith(".py") and not Path(where).is_file():
        stop(f"{text}: there is no file {where}")
    try:
        if where.endswith(".py"):
            spec = spec_from_file_location(Path(where).stem, where)
            assert spec is not None and spec.loader is not None
            module = module_from_spec(spec)
            sys.modules.setdefault(spec.name, module)
            spec.loader.exec_module(module)
            return module
        if str(Path.cwd()) not in sys.path:
            sys.path.insert(0, str(Path.cwd()))
        return import_module(where)
    except ModuleNotFoundError as error:
        missing = error.name or where
        hint = "" if missing != where.partition(".")[0] else ": run it from the folder of your code, or give file.py:function"
        stop(f"{text}: there is no module {missing!r}{hint}")
    except Exception as error:
        stop(f"{text}: importing {where} raises {told(error)}")
    except SystemExit:
        stop(f"{text}: importing {where} ends the process: put what runs under if __name__ == '__main__'")


def told(error: BaseException) -> str:
    """An error as part of a line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def chosen(subject: Subject, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that it takes."""
    return {name: value for name, value in settings.items() if subject.takes(name)}
