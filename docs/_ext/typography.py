"""A number and its percent sign stay on one line: a space that does not break is between them, and in Chinese none."""

import re

from docutils import nodes
from sphinx.application import Sphinx

PERCENT = re.compile(r"(?<=\d) %")


def together(text: str, language: str) -> str:
    """The text with its percent signs held."""
    return PERCENT.sub("%" if language.startswith("zh") else "\u00a0%", text)


def held(app: Sphinx, page: nodes.document, name: str) -> None:
    """Each page, after translation; code is left as it is."""
    for text in list(page.findall(nodes.Text)):
        if not isinstance(text.parent, (nodes.literal, nodes.literal_block, nodes.raw)) and PERCENT.search(text):
            text.parent.replace(text, nodes.Text(together(text, app.config.language)))


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("doctree-resolved", held)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
