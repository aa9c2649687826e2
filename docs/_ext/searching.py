"""Search of the Chinese pages: every two neighbouring characters are a term, as no dictionary knows the words of this site. Sphinx's own asks for a dictionary that
it does not bring, and finds nothing without it."""

import re

from sphinx.application import Sphinx
from sphinx.search.en import SearchEnglish

CHINESE = {chr(i) for i in range(0x4E00, 0xA000)}
RUNS = re.compile(r"[\u4e00-\u9fff]+|[^\W\u4e00-\u9fff]+")


class SearchPairs(SearchEnglish):  # type: ignore[misc]
    """Pairs of Chinese characters, and English words."""

    lang = "zh"
    js_splitter_code = r"""
var splitQuery = (query) => (query.match(/[\u4e00-\u9fff]+|(?:(?![\u4e00-\u9fff])[\p{Letter}\p{Number}_])+/gu) ?? []).flatMap((run) =>
  /^[\u4e00-\u9fff]{2}/.test(run) ? Array.from({ length: run.length - 1 }, (_, i) => run.slice(i, i + 2)) : [run]);
"""

    def split(self, text: str) -> list[str]:
        """The terms of a text."""
        return [term for run in RUNS.findall(text) for term in pairs(run)]


def pairs(run: str) -> list[str]:
    """A word; of Chinese characters every two neighbours, or the one there is."""
    return [run[i : i + 2] for i in range(len(run) - 1)] if len(run) > 1 and run[0] in CHINESE else [run]


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_search_language(SearchPairs)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
