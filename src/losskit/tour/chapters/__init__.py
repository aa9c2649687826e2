"""The chapters of the tour, in order: a folder per task.

A chapter offers `work()` and `build(seed, effort, advance)`; adding one means writing it and listing it in `CHAPTERS`. In its folder are

- `experiment.py`: what is trained and measured, and `data.py`: on what;
- `example.py`: numbers small enough to check by hand;
- `verdict.py`: what the numbers say, `tables.py` and `figures.py`: how they are shown;
- `texts.toml`: all the words, in both languages; the code hands in the numbers (see `losskit.tour.texts`).
"""

from losskit.tour.chapter import ChapterModule
from losskit.tour.chapters import boxes, coins, digits, imbalance, products, regression, segmentation

CHAPTERS: tuple[ChapterModule, ...] = (regression, imbalance, digits, segmentation, boxes, coins, products)
