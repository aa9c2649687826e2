"""The texts of a chapter: `texts.toml` in its folder, English and Chinese side by side. The code hands in numbers and names.

A text is a pair of jinja2 templates. `form` writes a number as an f-string would; `listed` writes names as a sentence does.
"""

import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from losskit.tour.chapter import Text


def listed(names: Iterable[str]) -> str:
    """Names in a sentence: `a, b and c`."""
    *most, final = list(names)
    return f"{', '.join(most)} and {final}" if most else final


class Texts:
    """What one chapter says."""

    def __init__(self, chapter: str) -> None:
        self.all = tomllib.loads(files("losskit.tour.chapters").joinpath(chapter, "texts.toml").read_text(encoding="utf-8"))
        self.languages = {"en": Environment(undefined=StrictUndefined), "zh": Environment(undefined=StrictUndefined)}
        for language, joined in (("en", listed), ("zh", "、".join)):
            self.languages[language].filters |= {"listed": joined, "form": format}

    def __call__(self, key: str, **facts: Any) -> Text:
        """The text of this name, such as `"figures.results"`, with these facts put in."""
        return self._filled(self._entry(key), facts)

    def row(self, key: str, **facts: Any) -> tuple[Text, ...]:
        """A list of texts: the headings of a table, the labels of a picture."""
        return tuple(self._filled(pair, facts) for pair in self._entry(key))

    def sentences(self, key: str, **facts: Any) -> tuple[Text, ...]:
        """Of a list of sentences those whose `when`, an expression of the facts, is true, in order."""
        return tuple(self._filled(one["text"], facts) for one in self._entry(key) if self._holds(one.get("when", "true"), facts))

    def _entry(self, key: str) -> Any:
        found: Any = self.all
        for part in key.split("."):
            found = found[part]
        return found

    def _holds(self, when: str, facts: dict[str, Any]) -> bool:
        return bool(self.languages["en"].compile_expression(when, undefined_to_none=False)(**facts))

    def _filled(self, pair: list[str], facts: dict[str, Any]) -> Text:
        en, zh = (self.languages[name].from_string(words).render(spoken(facts, name)) for name, words in zip(self.languages, pair, strict=True))
        return Text(en, zh)


def spoken(facts: Any, language: str) -> Any:
    """The facts, with each text among them in this language."""
    if isinstance(facts, Text):
        return getattr(facts, language)
    if isinstance(facts, dict):
        return {name: spoken(fact, language) for name, fact in facts.items()}
    if isinstance(facts, list):
        return [spoken(fact, language) for fact in facts]
    return facts


@cache
def texts(chapter: str) -> Texts:
    """The texts of the chapter in this folder."""
    return Texts(chapter)
