"""The texts of the tour's chapters: both languages say the same with the same facts, each is used, and each is in the package."""

import ast
import tomllib
from pathlib import Path

import pytest
from jinja2 import meta

from losskit import tour
from losskit.tour.chapter import Text
from losskit.tour.chapters import CHAPTERS
from losskit.tour.texts import listed, texts

TOUR = Path(tour.__file__).parent
FOLDERS = sorted(file.parent.name for file in TOUR.glob("chapters/*/texts.toml"))


def entries(part, key=""):
    """Every text of a chapter: its name, its two templates, and when it is said."""
    if isinstance(part, dict) and "text" not in part:
        for name, inner in part.items():
            yield from entries(inner, f"{key}.{name}".lstrip("."))
    elif isinstance(part, dict):
        assert set(part) <= {"text", "when"}
        yield key, part["text"], part.get("when", "true")
    elif isinstance(part[0], str):
        yield key, part, "true"
    else:
        for inner in part:
            yield from entries(inner, key)


def facts(template):
    """The names that a template asks for."""
    return meta.find_undeclared_variables(texts(FOLDERS[0]).languages["en"].parse(template))


def test_a_chapter_is_a_folder():
    assert sorted(chapter.__name__.split(".")[-1] for chapter in CHAPTERS) == FOLDERS


@pytest.mark.parametrize("folder", FOLDERS)
def test_both_languages_use_the_same_facts(folder):
    for key, pair, when in entries(texts(folder).all):
        assert len(pair) == 2 and all(isinstance(words, str) for words in pair), key
        assert facts(pair[0]) == facts(pair[1]), key
        assert bool(pair[0]) == bool(pair[1]), key
        texts(folder).languages["en"].compile_expression(when)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_text_is_used(folder):
    source = "".join(file.read_text(encoding="utf-8") for file in (TOUR / "chapters" / folder).glob("*.py"))
    for key in {key for key, _, _ in entries(texts(folder).all)}:
        group = key.rpartition(".")[0]
        assert f'"{key}"' in source or f'f"{group}.{{' in source, key


def test_a_sentence_is_said_when_it_holds():
    said = texts("boxes")
    one = {"count": 9, "held": 9, "held_published": 1, "failed": [], "resting": False, "giou": 0.1, "published": 0.2, "overlap": ["IoU"], "arrived": 0.5}
    sentences = said.sentences("verdict", **one, smooth=0.1, smooth_first=False, newer=[])
    assert [s.en for s in sentences][1] == "Nothing the paper says fails with the losses as defined." and len(sentences) == 5
    other = said.sentences("verdict", **one | {"failed": [Text("a", "甲"), Text("b", "乙")]}, smooth=0.1, smooth_first=False, newer=[])
    assert other[1] == Text("Not with the losses as defined: a; b.", "按定义不成立的：甲；乙。")
    with pytest.raises(Exception, match="'newer' is undefined"):
        said.sentences("verdict", **one, smooth=0.1, smooth_first=False)


def test_names_in_a_sentence():
    assert [listed(names) for names in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]


def test_texts_are_in_the_package():
    """Whatever lies in the folders of the tour is Python, or matches a pattern of package-data."""
    root = TOUR.parent
    project = root.parent.parent / "pyproject.toml"
    patterns = tomllib.loads(project.read_text(encoding="utf-8"))["tool"]["setuptools"]["package-data"]["losskit"]
    packed = {file for pattern in patterns for file in root.glob(pattern)}
    for file in TOUR.rglob("*"):
        assert file.is_dir() or file.suffix in (".py", ".pyc") or file in packed, file


def test_functions_are_short():
    for file in TOUR.rglob("*.py"):
        lines = file.read_text(encoding="utf-8")
        assert lines.count("\n") <= 400, file
        for node in ast.walk(ast.parse(lines)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 60, (file, node.name)
