"""The verdict: what a reader must know, in one sentence, before any table."""

import numpy as np

from age_keras.evaluation.evaluate import Evaluation
from age_keras.evaluation.metrics import slope

# A page ten years older is predicted less than this many tenths of a year older: the model answers about the mean.
COLLAPSED_SLOPE = 0.25


def verdict(result: Evaluation) -> str:
    """One sentence: does the best model beat the best constant, by how much, and what is wrong with it."""
    sentence = _sentence(result)
    if not result.facts.synthetic:
        return sentence
    return "On synthetic pages, " + ("a constant" + sentence[10:] if sentence.startswith("A constant") else sentence)


def interval_text(interval: np.ndarray, digits: int = 2) -> str:
    """`95% interval 0.10 to 0.25`, or a word where there is none."""
    if not np.isfinite(interval).all():
        return "no interval from one writer"
    low, high = (f"{v + 0.0:.{digits}f}".replace("-", "−") for v in np.round(interval, digits))
    return f"95% interval {low} to {high}"


def collapsed(result: Evaluation) -> np.ndarray:
    """Which models' predictions hardly follow the age, bool (M,). A constant does not at all."""
    return slope(result.aligned.truth, result.aligned.predictions) < COLLAPSED_SLOPE


def source_skill(result: Evaluation) -> float:
    """The skill of knowing only a page's source; NaN where pages have no several sources."""
    names = [c.name for c in result.constants]
    if "source_median" not in names:
        return float("nan")
    m = len(result.models)
    return float(1 - result.scores["MAE"][m + names.index("source_median")] / result.scores["MAE"][m + result.best])


def led_by_source(result: Evaluation) -> np.ndarray:
    """Which models owe half of their skill or more to what the source alone tells, bool (M,)."""
    return (result.skill > 0) & (source_skill(result) >= result.skill / 2)


def _sentence(result: Evaluation) -> str:
    models, best = result.models, result.best_model
    name, constant = models[best], result.best_constant
    mae = result.headline("MAE")
    model_mae, constant_mae = mae[best], mae[len(models) + result.best]
    over = f" ± {result.deviation('MAE')[best]:.2f}" if result.folds is not None else ""
    many = len(models) > 1
    skill = f"skill {result.skill[best]:.2f}".replace("-", "−") + f", {interval_text(result.skill_interval[best])}"
    source = f", the {constant.label}" if constant.hindsight else ""
    source += " chosen in hindsight," if constant.hindsight else ""
    of = f"of {constant.years} years (MAE {constant_mae:.2f})"
    if model_mae >= constant_mae:
        if not many:
            return f"A constant {of}{source} beats {name} (MAE {model_mae:.2f}{over}; {skill})."
        tail = f"the best of {len(models)}, {name}, has MAE {model_mae:.2f}{over} ({skill})"
        return f"A constant {of}{source} beats every model; {tail}."
    who = f"{name}, the best of {len(models)} models," if many else name
    if not result.skill_interval[best][0] > 0:
        reason = (
            "is not shown to be better than" if np.isfinite(result.skill_interval[best]).all() else "is compared with"
        )
        return f"{who} (MAE {model_mae:.2f}{over} years) {reason} a constant {of}{source.rstrip(',')}: {skill}."
    sentence = (
        f"{who} estimates the age of {result.n_writers} writers with an MAE of {model_mae:.2f}{over} years, "
        f"better than a constant {of}{source.rstrip(',')}: {skill}"
    )
    if led_by_source(result)[best]:
        return f"{sentence}; but knowing only the source of a page gives a skill of {source_skill(result):.2f}."
    if collapsed(result)[best]:
        per_year = slope(result.aligned.truth, result.aligned.predictions[best])
        sentence += (
            f"; but it collapses to the mean: ten years more of age move its answer by {10 * per_year:.1f} years"
        )
    return sentence + "."
