"""The verdict: what a reader must know, in one sentence, before any table."""

import numpy as np

from age_keras.evaluation.evaluate import Evaluation
from age_keras.evaluation.metrics import spread

# A page ten years older is predicted less than this many tenths of a year older: the model answers about the mean.
COLLAPSED_SLOPE = 0.25


def verdict(result: Evaluation) -> str:
    """One sentence: does the best model beat the best constant, by how much, and what is wrong with it."""
    sentence = _sentence(result)
    if not result.synthetic:
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
    return spread(result.aligned.truth, result.aligned.predictions)["slope"] < COLLAPSED_SLOPE


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
    if collapsed(result)[best]:
        slope = spread(result.aligned.truth, result.aligned.predictions[best])["slope"]
        sentence += f"; but it collapses to the mean: ten years more of age move its answer by {10 * slope:.1f} years"
    return sentence + "."
