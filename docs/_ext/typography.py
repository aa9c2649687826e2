"""A number and its percent sign stay on one line: a space that does not break is between them, and in Chinese none."""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

PERCENT = re.compile(r"(?<=\d) %")


def together(text: str, language: str) -> str:
    """The text with its percent signs held."""
    return PERCENT.sub("%" if language.startswith("zh") else "\u00a0%", text)


class Percent(SphinxPostTransform):
    """On every page, after translation; code is left as it is."""

    default_priority = 500

    def run(self, **kwargs: Any) -> None:
        """Called by Sphinx for each page."""
        for text in list(self.document.findall(nodes.Text)):
            if not isinstance(text.parent, (nodes.literal, nodes.literal_block, nodes.raw)) and PERCENT.search(text):
                text.parent.replace(text, nodes.Text(together(text, self.config.language)))


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_post_transform(Percent)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
