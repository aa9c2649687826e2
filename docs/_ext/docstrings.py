"""Docstrings as Markdown: sections, arguments, tables, examples, with links to the losses that they name."""

import inspect
import re
from collections.abc import Callable

ENTRY = re.compile(r"^(?P<names>\w+(?:, \w+)*): (?P<text>.*(?:\n(?: {4,}.*|(?=\n)))*)", re.M)
CODE = re.compile(r"(`[^`]*`)")


def escaped(text: str) -> str:
    """Text outside of code, in which Markdown shall see nothing of its own."""
    return re.sub(r"([\\*<\[\]${}])", r"\\\1", text)


class Writer:
    """Writes Markdown; `known` says where a name that stands in backticks has its page, if it has one."""

    def __init__(self, known: Callable[[str], str | None]) -> None:
        self.known = known

    def inline(self, text: str) -> str:
        """A sentence or more, in one line, so that translations do not depend on line breaks."""
        text = re.sub(r"\s*\n\s*", " ", text.strip())
        text = "".join(self.code(part) if part.startswith("`") and len(part) > 1 else escaped(part) for part in CODE.split(text))
        return "\\" + text if text.startswith("|") else text  # no table begins here

    def code(self, part: str) -> str:
        """What stands in backticks, linked if it is a public name."""
        name = part.strip("`")
        bare = re.sub(r"\(.*", "", name).removeprefix("losskit.")
        target = self.known(bare) if re.fullmatch(r"(losskit\.)?\w+(\(.*\))?", name) else None
        return f"[{part}](#{target})" if target else part

    def blocks(self, text: str) -> str:
        """Paragraphs, tables, lists and examples."""
        made: list[str] = []
        for block in re.split(r"\n\s*\n", inspect.cleandoc(text)):
            if block.lstrip().startswith(">>>"):
                made.append(self.example(block))
            elif re.match(r"\|.*\n\|[-|]+\|", block):  # |x - t| is none
                made.append(self.table(block))
            else:
                made.append(self.paragraph(block))
        return "\n\n".join(made)

    def paragraph(self, block: str) -> str:
        """A paragraph, or a list with dashes."""
        if not block.startswith("- "):
            return self.inline(block)
        return "\n".join("- " + self.inline(item) for item in re.split(r"(?:^|\n)- ", block) if item.strip())

    def table(self, block: str) -> str:
        """A table; its cells are text of ours."""
        rows = [re.split(r"(?<= )\|(?= )", line.strip()[1:-1]) for line in block.splitlines()]
        return "\n".join("| " + " | ".join(cell.strip() if set(cell) <= set("-| ") else self.inline(cell) for cell in row) + " |" for row in rows)

    def example(self, block: str) -> str:
        """An example as a session: what is typed and what is printed. A docstring's own module knows its names; a reader imports them."""
        text = inspect.cleandoc(block)
        names = dict.fromkeys(name for name in re.findall(r"(?<![\w.])(\w+)\(", text) if self.known(name) and f"import {name}" not in text)
        if names:
            first, _, rest = text.partition("\n")
            imported = f">>> from losskit import {', '.join(names)}"
            text = "\n".join((first, imported, rest) if first.startswith(">>> import") else (imported, text))
        return f"```pycon\n{text}\n```"

    def arguments(self, text: str, about: Callable[[str], str]) -> str:
        """A definition list of arguments; `about` gives type and default of each."""
        made = []
        for match in ENTRY.finditer(text):
            names = match["names"].split(", ")
            types = list(dict.fromkeys(about(name) for name in names))
            heads = ", ".join(f"`{name}`" for name in names)
            made.append(
                f"{heads} {{.types}}`{'; '.join(t for t in types if t) if len(names) < 3 else ''}`\n: " + self.blocks(match["text"]).replace("\n", "\n  ")
            )
        return "\n\n".join(made).replace("{.types}``", "").replace("{.types}", "")

    def headed(self, text: str, level: int) -> str:
        """A module's docstring, whose headings are underlined; examples become sessions."""
        made = []
        for block in re.split(r"\n\s*\n", inspect.cleandoc(text)):
            lines = block.splitlines()
            if len(lines) > 1 and re.fullmatch(r"-{3,}|={3,}", lines[1]):
                made.append("#" * level + " " + self.inline(lines[0]))
                block = "\n".join(lines[2:])
            if block.strip():
                made.append(self.blocks(block))
        return "\n\n".join(made)
