"""Figures, lists and tables as text."""

from collections.abc import Sequence

import numpy as np
from tabulate import tabulate


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, padded so that it can be read as plain text; all columns but the first to the right."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
    align = ("left", *["right"] * (len(header) - 1))
    return tabulate(cells[1:], cells[0], tablefmt="pipe", disable_numparse=True, colalign=align)


def number(value: float, digits: int = 2) -> str:
    """`2.65`; `–` where there is none."""
    return f"{np.round(value, digits) + 0.0:.{digits}f}" if np.isfinite(value) else "–"


def bounds(interval: np.ndarray, digits: int = 2) -> str:
    """`1.90 to 2.31`; `–` where there is none."""
    return f"{number(interval[0], digits)} to {number(interval[1], digits)}" if np.isfinite(interval).all() else "–"


def and_list(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
