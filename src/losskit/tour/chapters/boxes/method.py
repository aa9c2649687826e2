"""What of the experiment is the paper's, and what is not."""

from losskit.tour.chapter import Text
from losskit.tour.chapters.boxes.experiment import CENTRE, PATIENCE, POINTS, STEPS
from losskit.tour.texts import texts

TEXTS = texts("boxes")


def method(points: int) -> Text:
    """What is the paper's, and what is not."""
    return TEXTS("method", centre=CENTRE, points=points, all_points=POINTS, steps=STEPS, patience=PATIENCE)
