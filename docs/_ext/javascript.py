"""The formula language bound to JavaScript: a formula's own source, walked as a tree and written again, helpers included. Nothing is retyped.

`script` makes a classic script (browsers refuse modules from disk) that sets one global, `losskit`. `python docs/_ext/javascript.py FOLDER` builds the
interactive page there.
"""

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FunctionType
from typing import Any

from losskit.engines.language import PRIMITIVES, FormulaError

TABLE = Path(__file__).parent.parent / "touch" / "primitives.js"
OPERATORS: dict[type, tuple[str, int]] = {  # with their precedence; & and | stand between comparisons only
    ast.BitOr: ("||", 1),
    ast.BitAnd: ("&&", 2),
    ast.Add: ("+", 4),
    ast.Sub: ("-", 4),
    ast.Mult: ("*", 5),
    ast.Div: ("/", 5),
}
COMPARISON, SIGN = 3, 6  # precedences
COMPARISONS: dict[type, str] = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "===", ast.NotEq: "!=="}
# words that Python allows as names and JavaScript does not
RESERVED = [
    "arguments",
    "case",
    "catch",
    "const",
    "debugger",
    "default",
    "delete",
    "do",
    "enum",
    "eval",
    "export",
    "extends",
    "function",
    "implements",
    "in",
    "instanceof",
    "interface",
    "let",
    "new",
    "null",
    "package",
    "private",
    "protected",
    "public",
    "static",
    "super",
    "switch",
    "this",
    "throw",
    "typeof",
    "undefined",
    "var",
    "void",
]


class Formulas:
    """Formulas and their helpers as JavaScript functions, each written once under a name of its own."""

    def __init__(self) -> None:
        self.names: dict[FunctionType, str] = {}
        self.sources: dict[str, str] = {}  # in the order of use: helpers first

    def name(self, formula: Callable[..., Any]) -> str:
        """The name of a formula in JavaScript; it is written when it is first asked for."""
        assert isinstance(formula, FunctionType)
        if formula not in self.names:
            base = name = f"{formula.__module__.rpartition('.')[2]}_{formula.__qualname__}"
            count = 1
            while name in self.names.values():
                count += 1
                name = f"{base}_{count}"
            self.names[formula] = name
            self.sources[name] = written(formula, name, self)
        return self.names[formula]

    def text(self) -> str:
        """All functions, helpers before those that call them."""
        return "\n\n".join(self.sources.values())


def tree(formula: FunctionType) -> ast.FunctionDef:
    """The formula's definition; `inspect` finds the source of made ones (`weighted`) as well."""
    found = ast.parse(textwrap.dedent(inspect.getsource(formula))).body[0]
    if not isinstance(found, ast.FunctionDef):
        raise FormulaError(f"{formula.__qualname__} is not a plain function")
    return found


def written(formula: FunctionType, name: str, formulas: Formulas) -> str:
    """One formula as a JavaScript function."""
    if formula.__code__.co_freevars:
        raise FormulaError(f"formula {formula.__name__} uses names of an enclosing function: {', '.join(formula.__code__.co_freevars)}")
    definition = tree(formula)
    parameters = [a.arg for a in definition.args.args]
    body = [s for s in definition.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]  # without the docstring
    writer = Writer(formula, formulas, parameters, body)
    lines = [f"  let {', '.join(map(spelt, writer.variable))};"] * bool(writer.variable) + [f"  {writer.statement(s)}" for s in body]
    head = f"// {formula.__module__}.{formula.__qualname__}\nfunction {name}({', '.join(map(spelt, parameters))}) {{"
    return "\n".join([head, *lines, "}"])


def spelt(name: str) -> str:
    """A Python name in JavaScript."""
    return f"{name}_" if name in RESERVED else name


class Writer:
    """Statements and expressions of one formula, in JavaScript."""

    def __init__(self, formula: FunctionType, formulas: Formulas, parameters: list[str], body: list[ast.stmt]) -> None:
        self.formula, self.formulas = formula, formulas
        assigned = [[n.id for n in ast.walk(s) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)] for s in body]
        stored = [n for names in assigned for n in names if n != "_"]
        self.local = {*parameters, *stored}
        changing = {n for n in stored if stored.count(n) > 1 or n in parameters}
        together = {n for names in assigned if changing & set(names) for n in names if n != "_"}  # what is assigned at once is declared at once
        self.variable = sorted(together - set(parameters))
        self.declared = {*parameters, *self.variable}

    def refuse(self, node: ast.AST) -> FormulaError:
        """What the language does not have."""
        return FormulaError(f"formula {self.formula.__qualname__} uses {ast.unparse(node)!r}, which has no JavaScript")

    def statement(self, node: ast.stmt) -> str:
        """An assignment or the return."""
        if isinstance(node, ast.Return) and node.value is not None:
            return f"return {self.value(node.value)};"
        if not isinstance(node, ast.Assign) or len(node.targets) != 1:
            raise self.refuse(node)
        target = node.targets[0]
        names = [target] if isinstance(target, ast.Name) else target.elts if isinstance(target, ast.Tuple) else []
        if not names or not all(isinstance(n, ast.Name) for n in names):
            raise self.refuse(node)
        kept = [n.id for n in names if isinstance(n, ast.Name)]
        value = self.value(node.value)
        declaration = "" if set(kept) - {"_"} <= self.declared else "const "
        if len(kept) == 1:
            return f"{declaration}{spelt(kept[0])} = {value};"
        places = ", ".join("" if n == "_" else spelt(n) for n in kept)
        return f"{declaration}[{places}{',' if kept[-1] == '_' else ''}] = {value};"

    def value(self, node: ast.expr, above: int = 0) -> str:
        """An expression; `above` is the precedence of the operator that it stands under."""
        if isinstance(node, ast.Tuple):
            return f"[{', '.join(self.value(e) for e in node.elts)}]"
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
            return repr(node.value)
        if isinstance(node, ast.Name):
            if node.id not in self.local:
                raise self.refuse(node)
            return spelt(node.id)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            inner = f"-{self.value(node.operand, SIGN)}"
            return f"({inner})" if above >= SIGN else inner
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
            return f"Math.pow({self.value(node.left)}, {self.value(node.right)})"
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            sign, rank = OPERATORS[type(node.op)]
            text = f"{self.value(node.left, rank)} {sign} {self.value(node.right, rank + 1)}"  # no regrouping: every rounding stays
            return f"({text})" if rank < above else text
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in COMPARISONS:
            text = f"{self.value(node.left, COMPARISON + 1)} {COMPARISONS[type(node.ops[0])]} {self.value(node.comparators[0], COMPARISON + 1)}"
            return f"({text})" if above > COMPARISON else text
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            return self.call(node, node.func.id)
        raise self.refuse(node)

    def call(self, node: ast.Call, name: str) -> str:
        """A name of the language, or another formula."""
        given = [self.value(a) for a in node.args]
        if name == "where" and len(given) == 3:
            return f"({given[0]} ? {given[1]} : {given[2]})"
        if name in self.local:
            raise self.refuse(node)
        other = self.formula.__globals__.get(name)
        if name not in PRIMITIVES:
            if not isinstance(other, FunctionType):
                raise self.refuse(node)
            name = self.formulas.name(other)
        return f"{name}({', '.join(given)})"


def script(formulas: Mapping[str, Callable[..., Any]], more: str = "") -> str:
    """A classic script that sets `losskit.formulas`, a function for each of `formulas`; `more` is put into the same scope."""
    made = Formulas()
    entries = [f"  {key!r}: {made.name(formula)}," for key, formula in formulas.items()]
    parts = [
        TABLE.read_text("utf-8").strip(),
        made.text(),
        "root.losskit = root.losskit || {};",
        "\n".join(["root.losskit.formulas = {", *entries, "};"]),
        more,
    ]
    body = "\n\n".join(part for part in parts if part)
    return f'// Written from the formulas of losskit by docs/_ext/javascript.py. Do not edit.\n(function (root) {{\n"use strict";\n\n{body}\n}})(globalThis);\n'


def build(folder: Path) -> None:
    """The interactive page in a folder: its own files, and formulas.js."""
    import touch

    touch.build(Path(folder))


if __name__ == "__main__":
    build(Path(sys.argv[1]))
