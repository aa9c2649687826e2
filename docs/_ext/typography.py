"""What texts write in the characters of a keyboard is set as on paper: settings as code, powers and indices, relations; what belongs together stays on one line.

Docstrings are read in a terminal, too, so they say p_y, 2^-128 and >=. Code and formulas are left as they are.
"""

import re
from collections.abc import Iterator

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

PERCENT = re.compile(r"(?<=\d) %")
PARTS = re.compile(
    r"""
    (?P<code>(?<![\w"])(?:\w+=)?"[a-z][a-z0-9_]*"(?!\w))  # task="binary"
    |(?P<sup>(?<=[\w)|）])\^(?:\([^()]*\)|-?[A-Za-z0-9]+))  # W^T, 2^-128, alpha^(beta - delta)
    |(?P<sub>(?:(?<=\|\|)|(?<=\b[A-Za-z])|(?<=\bsum)|(?<=\bweight)|(?<=\bshares))_(?:[a-z0-9]|[ijk]{2}|pos|neg)(?!\w))  # p_y, p_ij, ||x||_p
    |(?P<sign>(?<![\w<>=-])(?:>=|<=|!=|->|<-)(?=\s)|(?<=[A-Z\d])\ x\ (?=[A-Z\d]))  # >=, N x C
    |(?P<held>
        (?<!\w)[(\[](?=[^()\[\]]{2,18}[)\]])[-\w.*]{1,4}(?:,\ ?[-\w.*]{1,4})*,?[)\]]  # (N, C, d1), [0, inf)
        |(?<![\w.])-?\d+(?:\.\d+)?e-?\d+(?!\w)  # 1e-8
        |(?<!\w)[A-Za-z]\w{0,5}\ [=<>]\ -?\d(?:[\d.,]*\d)?(?:e-?\d+)?  # N = 8,192
        |(?<=\d)\ (?:[kMG]i?B|ms|µs|s|px|bytes)\b  # 32 MB
        |(?<![\w)\]-])-(?:inf\b|\d[\d.,]*\d|\d|[a-z]\b)  # -inf, -100
    )
    """,
    re.VERBOSE,
)
SIGNS = {">=": "≥", "<=": "≤", "!=": "≠", "->": "→", "<-": "←", " x ": "\u00a0×\u00a0"}
WIDE = "。，；：、！？）”"
EXCLUDED = (nodes.literal, nodes.literal_block, nodes.raw, nodes.math, nodes.math_block, nodes.comment)


def together(text: str, language: str) -> str:
    """The text with its percent signs held; in Chinese with its own quotation marks, and without a space behind punctuation that is as wide as a character."""
    if language.startswith("zh"):
        text = re.sub(r'"([^"\n]+)"', r"“\1”", PARTS.sub(lambda match: match[0].replace('"', "\0"), text)).replace("\0", '"')
        text = re.sub(f"(?<=[{WIDE}]) +|(?<=[\u4e00-\u9fff]) +(?=[“（])", "", text)
    return PERCENT.sub("%" if language.startswith("zh") else "\u00a0%", text)


def parts(text: str) -> Iterator[nodes.Node]:
    """The text as nodes."""
    end = 0
    for match in PARTS.finditer(text):
        if match.start() > end:
            yield nodes.Text(text[end : match.start()])
        end, found = match.end(), match[0]
        if match["code"]:
            yield nodes.literal(found, found)
        elif match["sup"]:
            yield nodes.superscript("", found[1:].strip("()").replace("-", "−"))
        elif match["sub"]:
            yield nodes.subscript("", found[1:])
        elif match["sign"]:
            yield nodes.Text(SIGNS[found])
        elif found.startswith(" "):
            yield nodes.Text("\u00a0" + found[1:])
        else:
            yield nodes.inline("", "", *parts_of_held(found), classes=["held"])
    if end < len(text):
        yield nodes.Text(text[end:])


def parts_of_held(text: str) -> Iterator[nodes.Node]:
    """What stays on one line may have an index: z_j = 1."""
    name, mark, rest = text.partition("_")
    index = re.match(r"[a-z0-9](?=\W)", rest) if mark and len(name) == 1 else None
    if index is None:
        yield nodes.Text(text)
    else:
        yield from (nodes.Text(name), nodes.subscript("", index[0]), nodes.Text(rest[1:]))


def excluded(node: nodes.Node) -> bool:
    """Whether a text is code, or part of a formula."""
    while node.parent is not None:
        node = node.parent
        if isinstance(node, EXCLUDED):
            return True
    return False


class Typeset(SphinxTransform):  # type: ignore[misc]
    """Each page, after translation and before quotation marks are curled."""

    default_priority = 740

    def apply(self, **_: object) -> None:
        """The page's texts, in their order."""
        if self.app.builder.name == "gettext":
            return  # translators see what is written
        chinese = self.config.language.startswith("zh")
        for text in list(self.document.findall(nodes.Text)):
            if excluded(text):
                continue
            made = together(str(text), self.config.language)
            siblings = text.parent.children
            place = siblings.index(text)
            if chinese and place and siblings[place - 1].astext().endswith(tuple(WIDE)):
                made = made.lstrip(" ")
            text.parent.replace(text, list(parts(made)))


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_transform(Typeset)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
