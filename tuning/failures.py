"""Why a trial failed: a cause, by which failures are compared, and a sentence for people."""

import re

from age_keras.errors import InputError

GRAPH = "Graph execution error"
PLACES = re.compile(r"\s*(\[\[\{\{.*?\}\}.*?\]\]|\[Op:[^\]]*\]|\{\{\w+ [^}]*\}\})")
"""TensorFlow's marks of nodes, operations and functions: other ones in each trial."""
HEADS = re.compile(rf"$|\s|{GRAPH}|Detected at node|<stack traces|\d+ root error")
"""Lines before a graph error's message: its title, and where in the program the node was made."""


class RefusedError(Exception):
    """A trial that cannot be judged.

    Args:
        cause: its kind, one word.
        reason: a sentence.
    """

    def __init__(self, cause: str, reason: str):
        super().__init__(reason)
        self.cause = cause


def cause_of(error: BaseException) -> tuple[str, str]:
    """The cause and the reason of a failure.

    The cause is `memory`, `nan`, `killed`, `space` (the configuration is refused), or the error's type with its first
    line, numbers left out: what it has in common with the same failure of another trial. Of an error in a TensorFlow
    graph it is the first line that follows the place in the graph.
    """
    first = _message(str(error))[:300]
    name = type(error).__name__
    if isinstance(error, RefusedError):
        return error.cause, f"{error.cause}: {first}"
    if isinstance(error, MemoryError) or name == "ResourceExhaustedError":
        return "memory", f"memory: {first or 'not enough of it'}"
    pattern = re.sub(r"[\d.]+(?:e[+-]?\d+)?", "#", first)
    if isinstance(error, InputError):
        return f"space: {pattern}", f"space: {first}"
    return f"{name}: {pattern}", f"{name}: {first}"


def _message(text: str) -> str:
    lines = PLACES.sub("", text.strip()).splitlines()
    if text.strip().startswith(GRAPH):
        # Of several root errors the first; else the first line that is neither empty, indented nor a heading.
        roots = [line.split(None, 1)[1] for line in lines if re.match(r"\s*\(0\) \S", line)]
        lines = roots or [line for line in lines if not HEADS.match(line)] or lines
    return lines[0].strip() if lines else ""
