"""Chapter 7, the data: prose of PyTorch's own documentation, which comes with it, and handwritten digits with a description of each."""

import inspect
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from losskit.tour.chapters.digits.experiment import images
from losskit.tour.compare import Numbers

PLACES: tuple[Any, ...] = (
    torch, torch.Tensor, torch.nn, torch.nn.functional, torch.nn.init, torch.optim, torch.optim.lr_scheduler, torch.linalg, torch.fft, torch.special, torch.autograd,
    torch.utils.data,
)  # fmt: skip
UNKNOWN, END = "…", "¶"  # a word that training has fewer than twice; the end of a paragraph
HELD_OUT = 0.05  # of the paragraphs
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LEARNED = 1347  # digits; the other 450 are held out


class Prose(NamedTuple):
    """Running text as numbers of words: what is learned from, and what is not."""

    words: tuple[str, ...]  # the vocabulary
    train: Tensor  # (words of the text,)
    test: Tensor


def documented() -> Iterator[str]:
    """Docstrings of PyTorch's public functions and classes."""
    for place in PLACES:
        for name in sorted(getattr(place, "__all__", dir(place))):
            thing = getattr(place, name)
            if not name.startswith("_") and not isinstance(thing, ModuleType) and isinstance(thing.__doc__, str):
                yield inspect.cleandoc(thing.__doc__)


def plain(text: str) -> str:
    """A paragraph in one line, without its markup."""
    return re.sub(r"(?::[\w:]+:)?``?~?([^`<]*?)(?: ?<[^`]*>)?`?`_{0,2}", r"\1", " ".join(text.split()))


@cache
def paragraphs() -> tuple[str, ...]:
    """Those that are sentences, each once: much is said many times. Formulas, code and addresses are left out."""
    found = (plain(part) for text in documented() for part in re.split(r"\n\s*\n", text))
    return tuple(dict.fromkeys(part for part in found if re.fullmatch(r"[A-Z].{40,}[.:]", part) and not re.search(r"::|==|--|[\\$`{}|]|>>>|http", part)))


def split(text: str) -> list[str]:
    """Words, names such as `torch.nn` among them, and signs."""
    return re.findall(r"\w+(?:\.\w+)*(?:\(\))?|[^\w\s]", text)


def joined(words: list[str]) -> str:
    """Words and signs as a line of text."""
    line, quoted = "", False
    for word in words:
        tight = word in ".,;:)]'" or (word == '"' and quoted) or line[-1:] in ("", "(", "[", "'") or (line[-1:] == '"' and quoted)
        line += word if tight else f" {word}"
        quoted ^= word == '"'
    return line


def prose(seed: int) -> Prose:
    """Whole paragraphs are held out, at random."""
    parts = [[*split(text), END] for text in paragraphs()]
    held_out = set(np.random.default_rng([seed, 7]).permutation(len(parts))[: round(HELD_OUT * len(parts))].tolist())
    sides = [[word for number, part in enumerate(parts) if (number in held_out) == out for word in part] for out in (False, True)]
    counts = Counter(sides[0])
    words = (UNKNOWN, *sorted(word for word, count in counts.items() if count > 1))
    number = {word: place for place, word in enumerate(words)}
    train, test = (torch.tensor([number.get(word, 0) for word in side]) for side in sides)
    return Prose(words, train, test)


class Described(NamedTuple):
    """Digits, and what each looks like, in words."""

    pixels: Tensor  # (digits, 64), ink from 0 to 1
    digit: NDArray[np.int64]
    descriptions: list[str]
    kinds: Tensor  # (digits,): a number for each description, the same where the words are
    bags: Tensor  # (digits, words): which words a description has, as shares of them
    test: NDArray[np.int64]  # which are held out
    train: NDArray[np.int64]


def traits(x: Numbers) -> Numbers:
    """Of pictures (digits, 8, 8): ink, width, slant to the right, and how high the ink lies; (digits, 4)."""
    down, right = np.mgrid[:8, :8]
    ink = x.sum((1, 2))
    middle_x, middle_y = ((x * place).sum((1, 2)) / ink for place in (right, down))
    across, along = right - middle_x[:, None, None], middle_y[:, None, None] - down
    width = np.sqrt((x * across**2).sum((1, 2)) / ink)
    return np.stack([ink, width, (x * across * along).sum((1, 2)) / ink, -middle_y], 1)


WORDS = (("thin", "bold"), ("narrow", "wide"), ("leaning left", "leaning right"), ("heavy below", "heavy above"))  # the least third, and the largest


def description(digit: int, trait: Numbers, thirds: Numbers) -> str:
    """What stands out: `a bold three, leaning right`."""
    ink, width, slant, height = (
        "" if low <= value <= high else words[int(value > high)] for value, (low, high), words in zip(trait, thirds.T, WORDS, strict=True)
    )
    name = f"{', '.join(word for word in (ink, width) if word)} {DIGITS[digit]}".strip()
    return ", ".join(word for word in (f"a{'n' * name.startswith('eight')} {name}", slant, height) if word)


@cache
def described(seed: int) -> Described:
    """Every digit with its description; thirds are those of training."""
    x, digit = images()
    order = np.random.default_rng([seed, 8]).permutation(len(digit))
    train, test = order[:LEARNED], order[LEARNED:]
    trait = traits(x)
    thirds = np.quantile(trait[train], (1 / 3, 2 / 3), axis=0)
    descriptions = [description(int(d), t, thirds) for d, t in zip(digit, trait, strict=True)]
    spoken = [re.findall(r"\w+", text) for text in descriptions]
    number = {word: place for place, word in enumerate(sorted({word for words in spoken for word in words}))}
    bags: Any = np.zeros((len(digit), len(number)), dtype=np.float32)
    for bag, words in zip(bags, spoken, strict=True):
        for word in words:
            bag[number[word]] += 1.0 / len(words)
    kinds = torch.as_tensor(np.unique(descriptions, return_inverse=True)[1])
    return Described(torch.as_tensor(x.reshape(len(x), 64).astype(np.float32)), digit, descriptions, kinds, torch.as_tensor(bags), test, train)
