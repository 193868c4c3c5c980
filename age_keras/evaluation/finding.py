"""What a check says, and the words it says it in."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """A check that found something.

    Attributes:
        code: `AK001` ... title: of its entry in docs/checks.md.
        severity: `error` (the figures must not be believed), `warning` or `note`.
        message: what was found, one sentence. advice: what to do, one sentence.
        models: which models it is about; empty for all.
    """

    code: str
    title: str
    severity: str
    message: str
    advice: str
    models: tuple[str, ...] = ()


def listed(models: list[str], of_all: int, of: bool = False) -> str:
    """Models by name, or `All 5 models` (after "of": `every model (5)`) where it is all."""
    if len(models) == of_all > 2:
        return f"every model ({len(models)})" if of else f"All {len(models)} models"
    return and_list(models)


def verb(models: list[str], one: str, many: str) -> str:
    """The verb that fits one model or many."""
    return one if len(models) == 1 else many


def and_list(parts: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
