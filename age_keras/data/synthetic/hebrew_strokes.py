"""Skeletons of the cursive (handwritten) Hebrew letters, and text with the letter frequencies of Hebrew.

The skeletons are our own: for each of the 22 letters and 5 final forms, the strokes in the order a hand draws them,
each a few points that the pen passes through. Units are x-heights: the baseline is y = 0, the top of most letters
y = 1, x grows to the right from the letter's left edge. A point given twice running is a corner.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

Stroke = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Letter:
    """One letter: its width and its strokes, in x-heights."""

    width: float
    strokes: tuple[Stroke, ...]


# fmt: off
LETTERS: dict[str, Letter] = {
    "א": Letter(.74, (((.70, .98), (.44, .80), (.20, .50), (.40, .17), (.72, .00)),
                      ((.14, 1.02), (.10, .50), (.07, .00)))),
    "ב": Letter(.78, (((.10, .82), (.30, 1.0), (.56, .93), (.60, .66), (.42, .32), (.10, .03), (.10, .03), (.42, .05),
                       (.80, .02)),)),
    "ג": Letter(.52, (((.24, 1.08), (.36, .74), (.46, .34), (.40, -.04), (.22, -.12), (.06, .08), (.08, .34)),)),
    "ד": Letter(.64, (((.02, .76), (.20, .99), (.46, .95), (.50, .72), (.24, .50), (.24, .50), (.28, .24), (.42, .04),
                       (.66, .03)),)),
    "ה": Letter(.70, (((.04, .93), (.34, 1.01), (.60, .84), (.64, .48), (.52, .00)),
                      ((.22, .56), (.21, .30), (.16, .01)))),
    "ו": Letter(.16, (((.10, 1.0), (.09, .50), (.06, .00)),)),
    "ז": Letter(.52, (((.28, 1.08), (.17, .74), (.08, .34), (.14, -.03), (.34, -.10), (.49, .08), (.46, .34)),)),
    "ח": Letter(.68, (((.06, .00), (.10, .50), (.12, .93), (.12, .93), (.36, 1.02), (.58, .86), (.63, .40),
                       (.60, .00)),)),
    "ט": Letter(.82, (((.34, 1.34), (.14, .92), (.06, .42), (.24, .03), (.56, .05), (.74, .46), (.62, .86), (.42, .78),
                       (.40, .54)),)),
    "י": Letter(.16, (((.12, 1.0), (.11, .80), (.05, .58)),)),
    "כ": Letter(.60, (((.08, .98), (.38, .98), (.56, .66), (.54, .30), (.34, .03), (.04, .02)),)),
    "ך": Letter(.56, (((.05, .88), (.28, 1.02), (.48, .86), (.48, .40), (.44, -.20), (.42, -.76)),)),
    "ל": Letter(.58, (((.52, 1.72), (.30, 1.40), (.13, 1.0), (.12, .68), (.36, .70), (.52, .44), (.44, .12),
                       (.14, .00)),)),
    "מ": Letter(.82, (((.06, .00), (.09, .50), (.15, 1.0), (.15, 1.0), (.36, .54), (.60, .04), (.60, .04), (.66, .50),
                       (.80, 1.02)),)),
    "ם": Letter(.72, (((.04, 1.10), (.18, .93), (.46, .99), (.65, .70), (.60, .20), (.34, .00), (.16, .20), (.17, .60),
                       (.26, .93)),)),
    "נ": Letter(.40, (((.30, 1.0), (.34, .50), (.33, .08), (.33, .08), (.04, .00)),)),
    "ן": Letter(.18, (((.14, .96), (.12, .34), (.10, -.28), (.06, -.76)),)),
    "ס": Letter(.72, (((.52, 1.04), (.22, .90), (.06, .50), (.20, .08), (.48, .04), (.66, .45), (.54, .88),
                       (.28, .98)),)),
    "ע": Letter(.70, (((.06, .96), (.18, .60), (.40, .22), (.46, -.06), (.28, -.16), (.20, .04), (.40, .50),
                       (.66, .98)),)),
    "פ": Letter(.70, (((.30, .50), (.13, .62), (.20, .92), (.46, 1.0), (.64, .66), (.58, .22), (.34, .01),
                       (.04, .04)),)),
    "ף": Letter(.56, (((.10, .02), (.34, .40), (.46, 1.0), (.40, 1.56), (.22, 1.66), (.12, 1.34), (.26, 1.02),
                       (.50, .92)),)),
    "צ": Letter(.62, (((.10, .95), (.36, 1.03), (.50, .82), (.22, .56), (.22, .56), (.50, .44), (.54, .12), (.30, -.04),
                       (.02, .04)),)),
    "ץ": Letter(.58, (((.52, 1.66), (.28, 1.50), (.10, 1.10), (.24, .84), (.46, .74), (.20, .52), (.20, .52),
                       (.46, .40), (.48, .12), (.26, -.03), (.04, .06)),)),
    "ק": Letter(.64, (((.06, .92), (.32, 1.02), (.56, .84), (.56, .42), (.38, .10)),
                      ((.18, .56), (.16, .00), (.12, -.70)))),
    "ר": Letter(.56, (((.04, .90), (.26, 1.02), (.48, .84), (.52, .42), (.46, .00)),)),
    "ש": Letter(.74, (((.12, .46), (.42, .52), (.60, .74), (.46, 1.0), (.20, .86), (.08, .46), (.26, .05),
                       (.70, .10)),)),
    "ת": Letter(.90, (((.00, .06), (.14, .02), (.22, .40), (.24, .92), (.24, .92), (.48, 1.02), (.70, .86), (.76, .40),
                       (.72, .00)),)),
    ".": Letter(.12, (((.04, .04), (.08, .00)),)),
    ",": Letter(.16, (((.12, .06), (.10, -.08), (.03, -.24)),)),
}

FINAL_FORMS = {"כ": "ך", "מ": "ם", "נ": "ן", "פ": "ף", "צ": "ץ"}

# Percent of the letters of running Hebrew text, final forms counted with their letter.
FREQUENCIES = {
    "י": 11.1, "ה": 10.9, "ו": 10.4, "מ": 7.4, "ל": 7.4, "א": 6.3, "ר": 5.6, "ת": 5.0, "ב": 4.7, "ש": 4.4, "נ": 4.0,
    "כ": 3.5, "ע": 3.2, "ד": 2.6, "ח": 2.5, "ק": 2.1, "פ": 2.0, "ס": 1.5, "צ": 1.4, "ז": 1.3, "ט": 1.2, "ג": 1.2,
}
WORD_LENGTHS = {1: .02, 2: .13, 3: .23, 4: .26, 5: .19, 6: .11, 7: .06}
# fmt: on


def pseudo_words(rng: np.random.Generator, count: int) -> list[str]:
    """Draws words of Hebrew letters, in reading order, with final forms, full stops and commas where they belong."""
    letters = list(FREQUENCIES)
    weight = np.array([FREQUENCIES[letter] for letter in letters])
    lengths = rng.choice(list(WORD_LENGTHS), size=count, p=list(WORD_LENGTHS.values()))
    drawn = rng.choice(len(letters), size=int(lengths.sum()), p=weight / weight.sum())
    mark = rng.random(count)
    words, start = [], 0
    for length, m in zip(lengths, mark, strict=True):
        word = [letters[i] for i in drawn[start : start + length]]
        start += length
        if length > 1:
            word[-1] = FINAL_FORMS.get(word[-1], word[-1])
        words.append("".join(word) + ("." if m < 0.07 else "," if m < 0.12 else ""))
    return words


@lru_cache(maxsize=64)
def spline_basis(points: int, steps: int = 9) -> np.ndarray:
    """The matrix that takes control points to points on the Catmull-Rom spline through them.

    Being linear in its points, a spline is a matrix product, and mixing this matrix with that of `polygon_basis` makes
    a hand rounder or more angular.

    Args:
        points: Number of control points (at least 2).
        steps: Samples between two control points.

    Returns:
        float64 ((points - 1) * steps + 1, points).
    """
    matrix = [[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]]
    t = np.linspace(0, 1, steps, endpoint=False)
    weights = 0.5 * np.stack([np.ones_like(t), t, t**2, t**3], 1) @ np.array(matrix)
    # One point is added before the first and one after the last, on the straight lines through the ends.
    extended = np.zeros((points + 2, points))
    extended[1:-1] = np.eye(points)
    extended[0, :2] = (2, -1)
    extended[-1, -2:] = (-1, 2)
    rows = [weights @ extended[i : i + 4] for i in range(points - 1)]
    return np.concatenate([*rows, np.eye(points)[-1:]])


@lru_cache(maxsize=64)
def polygon_basis(points: int, steps: int = 9) -> np.ndarray:
    """As `spline_basis`, for the straight lines between the control points."""
    t = np.linspace(0, points - 1, (points - 1) * steps + 1)
    return np.maximum(0, 1 - np.abs(t[:, None] - np.arange(points)[None]))
