"""Why a trial failed: a cause, by which failures are compared, and a sentence for people."""

import re

from age_keras.errors import InputError


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
    line, numbers left out: what it has in common with the same failure of another trial.
    """
    lines = str(error).strip().splitlines()
    first = lines[0][:300] if lines else ""
    name = type(error).__name__
    if isinstance(error, RefusedError):
        return error.cause, f"{error.cause}: {first}"
    if isinstance(error, MemoryError) or name == "ResourceExhaustedError":
        return "memory", f"memory: {first or 'not enough of it'}"
    pattern = re.sub(r"[\d.]+(?:e[+-]?\d+)?", "#", first)
    if isinstance(error, InputError):
        return f"space: {pattern}", f"space: {first}"
    return f"{name}: {pattern}", f"{name}: {first}"
