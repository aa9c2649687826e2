"""Formulas as text, read: the one line that stands in a loss's file is typeset on the site, and computed with numbers put in.

The text is mathematics as people type it: `scale^2 / 6 (1 - max(1 - r^2, 0)^3),  r = (x - t) / scale`. Clauses are separated by two spaces. A clause that is
no mathematics ("C the smallest enclosing box") stays prose.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

GREEK = {"alpha", "beta", "gamma", "delta", "epsilon", "omega", "theta", "pi", "lambda", "mu", "nu", "sigma", "phi", "kappa", "tau", "rho", "psi", "Gamma"}
PREFIX = {"log", "exp", "cosh", "sin", "atan", "sqrt", "max", "min", "floor", "mean", "softmax", "sigmoid", "KL", "sum", "Gamma", "lgamma", "softplus", "tanh"}
LATEX_OF = {
    "Gamma": r"\Gamma",
    "lgamma": r"\log\Gamma",
    "atan": r"\arctan",
    "mean": r"\operatorname{mean}",
    "softmax": r"\operatorname{softmax}",
    "sigmoid": r"\sigma",
}
WORDS = {"or": r"\cup", "&": r"\cap", "||": r"\parallel"}
TOKEN = re.compile(r"\s*(?:(?P<number>\d+(?:\.\d+)?)|(?P<name>[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)*\*?)|(?P<mark>\|\||>=|<=|_\(|[-+/^()|,=<>&;!]))")
RELATIONS = {"=": "=", "<": "<", ">": ">", ">=": r"\ge", "<=": r"\le"}


PROSE = {"where", "if", "else", "elsewhere", "the", "of", "both", "held", "and", "in", "between", "about", "their", "by", "is", "with", "for", "each", "as"}


class Unreadable(ValueError):
    """The text is not mathematics of this small kind."""


class Node(NamedTuple):
    """A part of a formula: what it is, its name or number, and its parts."""

    kind: str  # number, name, negative, sum, product, quotient, power, group, absolute, function, relation, set
    text: str = ""
    parts: tuple["Node", ...] = ()


class Reader:
    """Reads one clause."""

    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        place = 0
        text = text.rstrip()
        while place < len(text):
            match = TOKEN.match(text, place)
            if not match:
                raise Unreadable(text)
            assert match.lastgroup is not None
            self.tokens.append((match.lastgroup, match[match.lastgroup]))
            place = match.end()
        self.at = 0

    def peek(self) -> str:
        """The next token's text; "" at the end."""
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def take(self, wanted: str = "") -> str:
        """The next token, which must be the wanted one."""
        found = self.peek()
        if not found or (wanted and found != wanted):
            raise Unreadable(f"{wanted or 'something'} expected, got {found!r}")
        self.at += 1
        return found

    def whole(self) -> Node:
        """The clause, which must end here."""
        found = self.relation()
        if self.peek():
            raise Unreadable(self.peek())
        return found

    def relation(self) -> Node:
        """Sums with = or < between them."""
        parts, marks = [self.sum()], []
        while self.peek() in RELATIONS:
            marks.append(self.take())
            parts.append(self.sum())
        return Node("relation", " ".join(marks), tuple(parts)) if marks else parts[0]

    def sum(self) -> Node:
        """Products with + or - between them."""
        parts = [self.product()]
        while self.peek() in ("+", "-"):
            sign = self.take()
            term = self.product()
            parts.append(Node("negative", "", (term,)) if sign == "-" else term)
        return Node("sum", "", tuple(parts)) if len(parts) > 1 else parts[0]

    def product(self) -> Node:
        """Factors side by side, and quotients: `a b / c d` is (a b / c) d."""
        if self.peek() == "-":
            self.take()
            return Node("negative", "", (self.product(),))
        found = self.factor()
        while True:
            if self.peek() == "/":
                self.take()
                found = Node("quotient", "", (found, self.factor()))
            elif self.starts():
                after = self.factor()
                found = Node("product", "", (*found.parts, after) if found.kind == "product" else (found, after))
            elif self.peek() in ("or", "&"):
                mark, after = self.take(), self.factor()
                if found.kind != "name" or after.kind != "name":
                    raise Unreadable(mark)
                found = Node("set", mark, (found, after))
            else:
                return found

    def starts(self) -> bool:
        """Whether a factor begins here; a bar does only where none is open."""
        if self.at >= len(self.tokens):
            return False
        kind, text = self.tokens[self.at]
        return (kind != "mark" and text not in WORDS) or text == "(" or (text == "|" and not self.open)

    open = 0  # bars

    def factor(self) -> Node:
        """An atom and its power."""
        base = self.atom()
        if self.peek() == "!":
            self.take()
            base = Node("factorial", "", (base,))
        if self.peek() == "^":
            self.take()
            return Node("power", "", (base, self.negative_atom()))
        return base

    def negative_atom(self) -> Node:
        """An exponent."""
        if self.peek() == "-":
            self.take()
            return Node("negative", "", (self.atom(),))
        return self.atom()

    def atom(self) -> Node:
        """A number, a name, a function of what follows, or something in brackets or bars."""
        if self.at >= len(self.tokens):
            raise Unreadable("the end")
        kind, text = self.tokens[self.at]
        self.at += 1
        if kind == "number":
            return Node("number", text)
        if kind == "name":
            if text in PROSE:
                raise Unreadable(text)
            base = text.split("_")[0]
            if base == "sum" or text in PREFIX:
                return self.function(text)
            if self.peek() == "_(":
                self.take()
                below = self.sum()
                self.take(")")
                return Node("indexed", text, (below,))
            return Node("name", text)
        if text == "(":
            hidden, self.open = self.open, 0
            inside = self.relation()
            self.open = hidden
            self.take(")")
            return Node("group", "", (inside,))
        if text == "|":
            self.open += 1
            inside = self.sum()
            self.open -= 1
            self.take("|")
            return Node("absolute", "", (inside,))
        raise Unreadable(text)

    def function(self, name: str) -> Node:
        """`log p`, `log(1 - p)`, `max(a, b)`, `log(x)^2`; a sum takes the whole product that follows."""
        if name.split("_")[0] == "sum":
            return Node("function", name, (self.product(),))
        if self.peek() == "^":
            raise Unreadable("write log(x)^2")
        if self.peek() == "(":
            self.take()
            hidden, self.open = self.open, 0
            parts = [self.relation()]
            while self.peek() in (",", "||"):
                parts.append(Node("mark", self.take()))
                parts.append(self.relation())
            self.open = hidden
            self.take(")")
            return Node("function", name, tuple(parts))
        return Node("function", name + " ", (self.factor(),))


def read(text: str) -> Node:
    """One clause; `Unreadable` if it is prose."""
    return Reader(text).whole()


# --- LaTeX ---


def symbol(name: str) -> str:
    """A name: `p_y`, `alpha`, `w*`, `data_range`."""
    star = "^*" if name.endswith("*") else ""
    name = name.removesuffix("*")
    base, *below = name.split("_")
    if len(base) == 1 or base in GREEK:
        inner = ",".join(symbol(b) if len(b) == 1 or b in GREEK else rf"\mathrm{{{b}}}" for b in below)
        return ("\\" + base if base in GREEK else base) + (f"_{{{inner}}}" if below else "") + star
    return rf"\mathrm{{{name}}}".replace("_", r"\_") + star


def latex(node: Node, put: Mapping[str, Any] | None = None) -> str:
    """LaTeX of a formula; names in `put` are replaced by numbers, in brackets where they are negative. A sum over lists of numbers is written out."""
    kind, text, parts = node
    if put and kind == "function" and text.startswith("sum_") and (terms := indexed(put, text.removeprefix("sum_"))):
        return r"\left[" + " + ".join(latex(parts[0], term) for term in terms) + r"\right]"
    inner = [latex(p, put) for p in parts]
    if kind == "number":
        return text
    if kind == "name":
        number = (put or {}).get(text)
        return symbol(text) if not isinstance(number, str) else rf"({number})" if number.startswith("-") else number
    if kind == "indexed":
        return f"{symbol(text)}_{{{'(' + inner[0] + ')' if len(inner[0]) == 1 else inner[0]}}}"
    if kind == "negative":
        return f"-{inner[0]}"
    if kind == "sum":
        return inner[0] + "".join(f" {part}" if sub.kind == "negative" else f" + {part}" for part, sub in zip(inner[1:], parts[1:], strict=True))
    if kind == "product":
        return times(parts, inner)
    if kind == "quotient":
        return rf"\frac{{{bare(parts[0], inner[0])}}}{{{bare(parts[1], inner[1])}}}"
    if kind == "power":
        number = put is not None and parts[0].kind == "name" and parts[0].text in put
        base = rf"({inner[0].strip('()')})" if number else inner[0]
        return rf"{base}^{{{bare(parts[1], inner[1])}}}"
    if kind == "group":
        return rf"\left({inner[0]}\right)"
    if kind == "factorial":
        return rf"{inner[0]}!"
    if kind == "absolute":
        return rf"\left\vert {inner[0]}\right\vert"  # no bar, which ends a cell of a table
    if kind == "set":
        return rf"{inner[0]} {WORDS[text]} {inner[1]}"
    if kind == "relation":
        marks = text.split()
        return inner[0] + "".join(f" {RELATIONS[m]} {part}" for m, part in zip(marks, inner[1:], strict=True))
    if kind == "mark":
        return {"||": r"\parallel ", ",": r",\; "}[text]
    return function_latex(text, parts, inner)


def times(parts: Iterable[Node], inner: list[str]) -> str:
    """Factors side by side, with a dot before a number."""
    made = inner[0]
    for part in inner[1:]:
        made += rf" \cdot {part}" if re.match(r"[\d(-]", part) else rf"\, {part}"
    return made


def bare(node: Node, text: str) -> str:
    """What stands in a fraction or an exponent needs no brackets."""
    return latex_inside(text) if node.kind == "group" else text


def latex_inside(text: str) -> str:
    """Without the outer brackets."""
    return text.removeprefix(r"\left(").removesuffix(r"\right)")


def function_latex(text: str, parts: tuple[Node, ...], inner: list[str]) -> str:
    """A function and its argument."""
    name, _, below = text.strip().partition("_")
    if name == "sum":
        return r"\sum" + (f"_{{{below}}}" if below else "") + " " + inner[0]
    if name == "sqrt":
        return rf"\sqrt{{{bare(parts[0], inner[0])}}}"
    if name == "exp" and len(inner[0]) < 40 and text == name:
        return rf"e^{{{inner[0]}}}"
    if name == "floor":
        return rf"\lfloor {inner[0]} \rfloor"
    head = LATEX_OF.get(name, rf"\mathrm{{{name}}}" if name == "KL" else "\\" + name)
    if name == "softplus":
        head = r"\operatorname{softplus}"
    return f"{head} {inner[0]}" if text.endswith(" ") else rf"{head}\left({''.join(inner)}\right)"


# --- numbers ---


def value(node: Node, of: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]]) -> Any:
    """The number a formula has."""
    kind, text, parts = node
    if kind == "number":
        return float(text)
    if kind == "name":
        if text == "pi":
            return math.pi
        if text not in of:
            raise Unreadable(f"{text} has no number")
        return of[text]
    if kind == "function" and text.startswith("sum_"):
        terms = indexed(of, text.removeprefix("sum_"))
        if not terms:
            raise Unreadable("a sum of nothing")
        return sum(value(parts[0], each, functions) for each in terms)
    if kind == "function":
        if text.strip() not in functions:
            raise Unreadable(f"{text} is not computed")
        return functions[text.strip()](*(value(p, of, functions) for p in parts if p.kind != "mark"))
    if kind in ("indexed", "set", "relation", "mark"):
        raise Unreadable(kind)
    found = [value(p, of, functions) for p in parts]
    return ARITHMETIC[kind](found)


def indexed(of: Mapping[str, Any], index: str) -> list[dict[str, Any]]:
    """What names stand for in each term of a sum: p_j is the j-th number of p."""
    lists = {name: v for name, v in of.items() if isinstance(v, (list, tuple))}
    count = min((len(v) for v in lists.values()), default=0)
    return [{**of, **{f"{name}_{index}": v[j] for name, v in lists.items()}} for j in range(count)]


def _product(numbers: list[Any]) -> Any:
    made = numbers[0]
    for number in numbers[1:]:
        made = made * number
    return made


ARITHMETIC: Mapping[str, Callable[[list[Any]], Any]] = {
    "negative": lambda v: -v[0],
    "sum": sum,
    "product": _product,
    "quotient": lambda v: v[0] / v[1],
    "power": lambda v: v[0] ** v[1],
    "group": lambda v: v[0],
    "factorial": lambda v: math.gamma(v[0] + 1),
    "absolute": lambda v: abs(v[0]),
}


# --- the text of a loss ---


class Clause(NamedTuple):
    """A piece of a formula: mathematics (with the condition it holds under), or prose."""

    text: str
    math: Node | None = None
    link: str = ""  # "where", "if", "elsewhere"; or the setting under which it holds, "full=True:"
    condition: Node | None = None


CONDITION = re.compile(r"^(?P<math>.*?)\s*\b(?P<link>where|if)\s+(?P<condition>.+)$")
OTHERWISE = re.compile(r"^(?P<math>.*?)\s*\b(?P<link>elsewhere)$")
SETTING = re.compile(r"^(?P<link>\w+ ?=[^:]+:\s*\+?)\s*(?P<math>.+)$")


def clause(text: str) -> Clause:
    """One piece."""
    try:
        return Clause(text, read(text))
    except Unreadable:
        pass
    for form in (CONDITION, OTHERWISE, SETTING):
        if match := form.match(text):
            try:
                condition = match.groupdict().get("condition")
                return Clause(text, read(match["math"]), match["link"].strip(), read(condition) if condition else None)
            except Unreadable:
                continue
    return Clause(text)


def lines(formula: str) -> list[list[Clause]]:
    """The clauses of each line of a loss's formula."""
    made = []
    for line in formula.splitlines():
        line = re.sub(r"\s{2,}(where|if|elsewhere)\b", r" \1", line)
        pieces = [p.strip() for p in re.split(r"[,;]\s{2,}|\s{3,}", line) if p.strip()]
        pieces = [re.sub(r"^else\s+(.*)", r"\1 elsewhere", p) for p in pieces]
        made.append([c for p in pieces for c in several(p)])
    return made


def several(text: str) -> list[Clause]:
    """One piece, or what a list of definitions defines: `P = sum p, T = sum t`."""
    found = clause(text)
    if found.math is None and ", " in text:
        parts = [clause(p) for p in text.split(", ")]
        if all(p.math and p.math.kind == "relation" for p in parts):
            return parts
    return [found]
