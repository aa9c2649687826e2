"""How code is broken on purpose, and who must notice.

A broken file is the losses' own source with a word replaced, run as a module of its own, and so is every file between it and the loss. A broken function of the
contract or of an engine takes the place of the right one, wherever the package holds it, while the law is asked.
"""

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace as with_fields
from functools import cache
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import box_numbers
import class_weights
import outside
import pytest

import losskit
from losskit import LOSSES
from losskit.testing import (
    BOX_LAWS,
    LAWS,
    OPERAND_LAWS,
    OVERLAP_LAWS,
    ROW_LAWS,
    VECTOR_LAWS,
    WINDOW_LAWS,
    BoxSubject,
    LinearSubject,
    NotOffered,
    OperandSubject,
    OverlapSubject,
    RowSubject,
    Subject,
    WindowSubject,
)
from losskit.testing.row_operands import RowOperandSubject
from losskit.testing.rows import is_rows
from losskit.testing.tables import ROW_OPERAND_LAWS
from losskit.testing.vectors import subject_kind

FOLDER = Path(losskit.__file__).parent


class Mutation(NamedTuple):
    """One word of one file, replaced, and the law that must notice.

    `place` is a file under `losskit`, "losses/regression/barron", by default the loss's own; or a function in a file of contract or engines, "contract/passes:census".
    The subject is `loss` with `settings`; `kind` says which laws are meant where the registry does not ("soft": distributions for targets; "operands": the settings
    are tensors; "items" and "soft items": so are those settings of a loss of rows that are given as `...`; "class weights" and "soft class weights":
    they require a gradient; "corners": laws of boxes on tensors, not on numbers; "score": the coefficient that the loss is one minus of).
    """

    loss: str
    what: str
    old: str
    new: str
    law: str = "textbook"
    settings: Mapping[str, Any] = {}
    place: str = ""
    kind: str = ""
    engine: Any = "torch"  # whose compiled loops of the right formula cannot stand in for what is broken

    def __str__(self) -> str:
        return f"{self.loss}: {self.what}"

    @property
    def file(self) -> str:
        """The file that is broken."""
        return self.place.partition(":")[0] or file_of(self.loss)


class Examined(NamedTuple):
    """A loss with settings, and the laws it is examined by."""

    loss: str
    settings: Mapping[str, Any]
    kind: str
    engine: Any

    def breaks(self, law: str, source: Callable[[str], Any]) -> bool:
        """Whether a law says that the loss is wrong; `source` gives its module."""
        with losskit.use_engine(self.engine):
            try:
                self.ask(law, source)
            except NotOffered:
                return False
            except Exception:  # a broken loss may do anything
                return True
        return False

    def ask(self, law: str, source: Callable[[str], Any]) -> None:
        """What the law asks."""
        module = source(module_of(self.loss))
        function, settings = getattr(module, self.loss), dict(self.settings)
        facts = LOSSES.losses[self.loss]
        if facts.pattern == "windows":
            return WINDOW_LAWS[law].law(WindowSubject(function, facts, settings))
        if facts.pattern == "linear":
            return ROW_LAWS[law].law(LinearSubject(function, facts, settings))
        if facts.pattern == "vectors":
            return VECTOR_LAWS[law].law(subject_kind(facts)(function, facts, settings))
        if facts.pattern in ("ranked", "operations") or self.kind == "score":
            return outside.require(law, self.loss, module, settings)
        if facts.pattern == "boxes":
            if self.kind == "corners":
                return BOX_LAWS[law].law(BoxSubject(function, facts, settings, engine=self.engine))
            return box_numbers.require(law, self.loss, module)
        if self.kind == "operands":
            names = tuple(operand.name for operand in facts.operands_of(settings))
            rest = {name: value for name, value in settings.items() if name not in names}
            return OPERAND_LAWS[law].law(OperandSubject(function, facts, names, rest, engine=self.engine))
        if self.kind in ("class weights", "soft class weights"):
            return class_weights.LAWS[law](with_fields(facts, function=function), settings, self.kind != "class weights")
        if self.kind in ("items", "soft items"):
            names = tuple(name for name, value in settings.items() if value is ...)
            rest = {name: value for name, value in settings.items() if name not in names}
            return ROW_OPERAND_LAWS[law].law(RowOperandSubject(with_fields(facts, function=function), names, rest, soft=self.kind == "soft items"))
        if facts.pattern == "overlap":
            return OVERLAP_LAWS[law].law(OverlapSubject(function, facts, settings, engine=self.engine, soft=self.kind == "soft"))
        if is_rows(facts, settings):
            return ROW_LAWS[law].law(RowSubject(function, facts, settings, soft=self.kind == "soft"))
        return LAWS[law].law(Subject(function, facts, settings))


@cache
def held(loss: str, settings: str, kind: str, engine: Any, law: str) -> bool:
    """Whether the law holds of what is not broken; asked once for all mutations of it."""
    return not RIGHT[loss, settings, kind, engine].breaks(law, import_module)


RIGHT: dict[tuple[str, str, str, Any], Examined] = {}


def noticed(m: Mutation) -> str:
    """What is wrong with a mutation: nothing, if its laws hold of the right code and every one of them fails with the broken one."""
    subject = Examined(m.loss, m.settings, m.kind, m.engine)
    key = m.loss, repr(sorted(m.settings.items())), m.kind, m.engine
    RIGHT.setdefault(key, subject)
    for law in m.law.split():
        if not held(*key, law):
            return f"{law} fails of the loss as it is"
    with broken(m) as source:
        quiet = [law for law in m.law.split() if not subject.breaks(law, source)]
    return f"not noticed by {', '.join(quiet)}" if quiet else ""


@contextmanager
def broken(m: Mutation) -> Iterator[Callable[[str], Any]]:
    """Gives modules by their names, with the mutation in them."""
    file, _, function = m.place.partition(":")
    if function:
        with pytest.MonkeyPatch.context() as patch:
            replace(patch, import_module(f"losskit.{file.replace('/', '.')}"), function, m.old, m.new)
            yield import_module
    else:
        found = rebuilt(m.file, module_of(m.loss), m.old, m.new)
        yield lambda name: found[name]


def place(m: Mutation) -> str:
    """The source in which a mutation replaces a word, with that word replaced."""
    file, _, function = m.place.partition(":")
    module = import_module(f"losskit.{(file if function else m.file).replace('/', '.')}")
    if not function:
        between(module.__name__, module_of(m.loss))
    return changed(inspect.getsource(getattr(module, function) if function else module), m.old, m.new, str(m))


def changed(source: str, old: str, new: str, where: str) -> str:
    """A source with one place replaced; the place must be one."""
    assert source.count(old) == 1, f"{old!r} occurs {source.count(old)} times in {where}"
    return source.replace(old, new)


def replace(patch: pytest.MonkeyPatch, module: ModuleType, name: str, old: str, new: str) -> None:
    """A function with one place replaced, at home in its module all the same, and wherever else the package holds it."""
    right = getattr(module, name)
    source = changed(inspect.getsource(right), old, new, f"{module.__name__}.{name}")
    made: dict[str, Any] = {}
    exec(compile(source, module.__file__ or "", "exec"), module.__dict__, made)
    for place in [m for key, m in sys.modules.items() if key.startswith("losskit")]:
        for held in [key for key, value in vars(place).items() if value is right]:
            patch.setattr(place, held, made[name])


def module_of(loss: str) -> str:
    """The module that a public function is written in."""
    return str(getattr(losskit, loss).__module__)


def file_of(loss: str) -> str:
    """The same, as a file under `losskit`."""
    return module_of(loss).removeprefix("losskit.").replace(".", "/")


@cache
def taken_from() -> dict[str, set[str]]:
    """Which modules of losses, and of their geometry, each of them takes something from."""
    found: dict[str, set[str]] = {}
    files = [*(FOLDER / f"{name}.py" for name in ("geometry", "turned", "gaussian")), *(FOLDER / "losses").rglob("*.py")]
    names = {f"losskit.{'.'.join(p.relative_to(FOLDER).with_suffix('').parts)}": p for p in files}
    for name, path in names.items():
        lines = re.findall(r"^from (losskit\.(?:losses[\w.]*|geometry|turned|gaussian)) import (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        taken = {source for package, what in lines for source in (package, *(f"{package}.{part.split()[0]}" for part in what.split(", ")))}
        found[name] = taken & names.keys() - {name}
    return found


def between(first: str, last: str) -> list[str]:
    """The modules on the ways from one to one that takes from it, both included, in their order."""
    sources = taken_from()

    @cache
    def leads(name: str) -> bool:
        return name == first or any(leads(source) for source in sources[name])

    def behind(name: str) -> set[str]:
        return {name}.union(*(behind(source) for source in sources[name] if leads(source)))

    assert leads(last), f"{last} takes nothing from {first}"
    chosen = {name for name in behind(last) if leads(name)}
    return [name for name in TopologicalSorter({name: sources[name] & chosen for name in chosen}).static_order() if name in chosen]


def rebuilt(file: str, last: str, old: str, new: str) -> dict[str, ModuleType]:
    """New modules from the broken file to the loss; the registry, and what is imported, are left as they were."""
    first = f"losskit.{file.replace('/', '.')}"
    names = between(first, last)
    right = {name: import_module(name) for name in names}
    losses, made = dict(LOSSES.losses), {}
    with pytest.MonkeyPatch.context() as patch:
        try:
            for name in names:
                source = inspect.getsource(right[name])
                made[name] = ModuleType(name)
                patch.setitem(sys.modules, name, made[name])
                package, _, short = name.rpartition(".")
                patch.setattr(sys.modules[package], short, made[name])
                exec(compile(changed(source, old, new, name) if name == first else source, right[name].__file__ or "", "exec"), made[name].__dict__)
        finally:
            LOSSES.losses.clear()
            LOSSES.losses.update(losses)
    return made
