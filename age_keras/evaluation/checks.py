"""Coded checks: what can make a good figure worthless, and what to do about it. docs/checks.md explains each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from age_keras.evaluation.baselines import training_rows
from age_keras.evaluation.evaluate import Evaluation
from age_keras.evaluation.groups import MIN_WRITERS
from age_keras.evaluation.metrics import slope
from age_keras.evaluation.report.verdict import collapsed, led_by_source, source_skill
from age_keras.evaluation.text import and_list
from age_keras.predictions.labels import match_pages


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


def run_checks(result: Evaluation) -> list[Check]:
    """Every check that found something, by code."""
    found = [check for find in _CHECKS for check in find(result)]
    return sorted(found, key=lambda check: check.code)


def _writer_leak(e: Evaluation) -> Iterator[Check]:
    pages, shared, pages_shared, where = e.aligned.pages, set(), 0, "the training labels"
    if (pages.Fold > 0).any():
        if pages.ImageID.is_unique:  # In repeated cross-validation every writer is in several folds, rightly.
            folds = pages.groupby("Writer").Fold.nunique()
            shared, where = set(folds[folds > 1].index), "more than one fold"
    elif e.labels is not None and not e.label_splits.get("train"):
        training = training_rows(e.labels)
        pages_shared = int((match_pages(pages.ImageID, training) >= 0).sum())
        shared = set(pages.Writer) & set(training.Writer) if e.writers_from != "page" else set()
    if n_train := e.label_splits.get("train", 0) if not (pages.Fold > 0).any() else 0:
        yield _leak(f"{n_train} of the {len(pages)} scored pages are training pages in the labels.")
    elif shared or pages_shared:
        pages_text = f" and {pages_shared} scored pages are training pages" if pages_shared else ""
        example = f" (such as {sorted(map(str, shared))[0]})" if shared else ""
        count = f"{len(shared)} scored writers{example}" if len(shared) != 1 else f"One scored writer{example}"
        yield _leak(f"{count} {'are' if len(shared) != 1 else 'is'} also in {where}{pages_text}.")


def _leak(message: str) -> Check:
    advice = "Split by writer and train again: the error on a writer seen in training says nothing about new writers."
    return Check("AK001", "Writer leak", "error", message, advice)


def _worse_than_constant(e: Evaluation) -> Iterator[Check]:
    mae = e.headline("MAE")
    worse = [m for m, v in zip(e.models, mae, strict=False) if v >= mae[len(e.models) + e.best]]
    if worse:
        constant = f"a constant of {e.best_constant.years} years (MAE {mae[len(e.models) + e.best]:.2f})"
        message = f"{_listed(worse, len(e.models))} {_verb(worse, 'has', 'have')} a larger MAE than {constant}."
        advice = "Do not use it to estimate ages; look at the error by band and at the training curves."
        yield Check("AK003", "Worse than a constant", "error", message, advice, tuple(worse))


def _collapsed_to_mean(e: Evaluation) -> Iterator[Check]:
    flat = collapsed(e)
    if flat.any():
        models = [m for m, f in zip(e.models, flat, strict=True) if f]
        slopes = 10 * slope(e.aligned.truth, e.aligned.predictions)[flat]
        years = f"{slopes.min():.1f}" + (f" to {slopes.max():.1f}" if len(models) > 1 else "")
        message = (
            f"{_listed(models, len(e.models))} {_verb(models, 'answers', 'answer')} near the mean whatever the page: "
            f"ten years more of age move the answer by {years} years."
        )
        advice = "Read the error by band, weight rare ages (LDS), or collect more pages of older writers."
        yield Check("AK004", "Predictions collapsed to the mean", "warning", message, advice, tuple(models))


def _not_significant(e: Evaluation) -> Iterator[Check]:
    better = e.skill > 0
    unsure = [m for m, b, low in zip(e.models, better, e.skill_interval[:, 0], strict=True) if b and not low > 0]
    if unsure:
        message = (
            f"The 95% interval of the skill of {_listed(unsure, len(e.models), of=True)} includes 0: "
            "on other writers a constant might do as well."
        )
        advice = "Claim no improvement over a constant; score more writers."
        yield Check("AK005", "Not significantly better than a constant", "warning", message, advice, tuple(unsure))


def _thin_bands(e: Evaluation) -> Iterator[Check]:
    thin = [f"{band} ({v['writers']})" for band, v in e.bands.items() if band != "macro" and v["writers"] < MIN_WRITERS]
    if thin:
        message = (
            f"Fewer than {MIN_WRITERS} writers are scored in the age band{'s' * (len(thin) > 1)} {and_list(thin)}."
        )
        advice = "Do not read much into these bands' figures and intervals, nor into the macro average."
        yield Check("AK006", "Too few writers in a band", "warning", message, advice)


def _missing_pages(e: Evaluation) -> Iterator[Check]:
    if lacking := e.aligned.missing:
        each = and_list([f"{model} ({n})" for model, n in lacking.items()])
        message = f"Pages are missing for {each}; every model is scored on the {len(e.aligned.pages)} that all have."
        advice = "Predict the missing pages: a model may not choose which pages it is judged on."
        yield Check("AK009", "Missing pages", "warning", message, advice, tuple(lacking))


def _duplicates(e: Evaluation) -> Iterator[Check]:
    if n := e.aligned.repeated:
        message = f"{n} row{'s' * (n > 1)} repeat{'s' * (n == 1)} a page of the same model and fold; they are averaged."
        yield Check("AK010", "Duplicated rows", "warning", message, "Give each page one row for each model and fold.")


def _unknown_writers(e: Evaluation) -> Iterator[Check]:
    if e.writers_from == "page":
        message = (
            "The writers are not known, so each page counts as its own writer and the intervals may be too narrow."
        )
        advice = "Add a column Writer, or give labels that have one with --train."
        yield Check("AK011", "Writers unknown", "note", message, advice)


def _source_for_age(e: Evaluation) -> Iterator[Check]:
    led = [n for n, by_source in zip(e.models, led_by_source(e), strict=True) if by_source]
    if led:
        message = (
            f"Knowing only the source of a page gives a skill of {source_skill(e):.2f}, at least half of that of "
            f"{_listed(led, len(e.models), of=True)}: the source may stand in for the age."
        )
        advice = "Judge each source by itself (table of sources), or train and score within one source."
        yield Check("AK013", "The source stands in for the age", "warning", message, advice, tuple(led))


def _hindsight(e: Evaluation) -> Iterator[Check]:
    if e.best_constant.hindsight:
        message = (
            "Without training labels the constant is the best one for the scored pages themselves, "
            "which is a little harder to beat than any that was learnt."
        )
        yield Check("AK014", "Constant chosen in hindsight", "note", message, "Give the training labels with --train.")


def _thin_groups(e: Evaluation) -> Iterator[Check]:
    thin = [g for g in e.groups if g["few_writers"] and "×" not in g["attribute"] and g["attribute"] != "Age band"]
    if thin:
        each = and_list([f"{g['attribute']} {g['group']} ({g['writers']})" for g in thin])
        message = f"Fewer than {MIN_WRITERS} writers are scored in the group{'s' * (len(thin) > 1)} {each}."
        yield Check("AK015", "Too few writers in a group", "warning", message, "Draw no conclusion about these groups.")


def _worse_by_writer(e: Evaluation) -> Iterator[Check]:
    m, by_writer = len(e.models), e.writer_scores["MAE"]
    eligible = [i for i, c in enumerate(e.constants) if c.counts]
    constant = min(eligible, key=lambda i: by_writer[m + i])
    worse = [n for n, s, v in zip(e.models, e.skill, by_writer, strict=False) if s > 0 and v >= by_writer[m + constant]]
    if worse:
        message = (
            f"{_listed(worse, m)} {_verb(worse, 'beats', 'beat')} the constants by page but not by writer: with each "
            f"writer's pages averaged a constant of {e.constants[constant].years} years has MAE "
            f"{by_writer[m + constant]:.2f}."
        )
        advice = "The gain comes from the few writers with many pages; judge by writer."
        yield Check("AK017", "Better by page, not by writer", "warning", message, advice, tuple(worse))


# How a run was trained and on what, from what it recorded; silent for a bare table of predictions.


def _selection_set(e: Evaluation) -> Iterator[Check]:
    advice = "Score pages that had no part in choosing the model, its epoch or its settings."
    val = e.label_splits.get("val", 0)
    if e.split == "val" or (e.label_splits and val == len(e.aligned.pages)):
        message = "The scored pages are the validation split, on which models are usually chosen."
        yield Check("AK002", "Scored on the selection set", "warning", message, advice)
    elif e.facts.setting("folds", "selection") == "published":
        message = "The best epoch was chosen on the very pages that are scored (`published` selection)."
        yield Check("AK002", "Scored on the selection set", "error", message, advice)


def _unshuffled(e: Evaluation) -> Iterator[Check]:
    if e.facts.setting("training", "shuffle") is False:
        message = "The training pages were not shuffled, so that a batch held the patches of a few pages."
        yield Check("AK007", "Unshuffled training", "warning", message, "Train again with shuffling.")


def _input_range(e: Evaluation) -> Iterator[Check]:
    if e.facts.setting("model", "preprocessing") == "published":
        scaling = e.facts.environment.get("input_scaling", {})  # Of the pixels / 255 that the published weights expect.
        wrong = sorted(name for name, facts in scaling.items() if any(facts["mean"]) or set(facts["std"]) != {1})
        if wrong:
            message = f"The study's preprocessing (pixels / 255) does not suit {and_list(wrong)}."
            advice = "Train with `native` preprocessing, unless you reproduce the study."
            yield Check("AK008", "Input range", "warning", message, advice)


def _synthetic(e: Evaluation) -> Iterator[Check]:
    if e.facts.synthetic:
        message = "The pages are synthetic: these figures say that the pipeline works, nothing about handwriting."
        yield Check("AK012", "Synthetic data", "note", message, "Judge a model on pages that people wrote.")


def _skipped_pages(e: Evaluation) -> Iterator[Check]:
    n = len(e.facts.skipped)
    if n:
        message = (
            f"{n} page{'s were' if n > 1 else ' was'} skipped because {'they' if n > 1 else 'it'} could not be used."
        )
        advice = "See environment.json for the reasons, and fix the files or labels."
        yield Check("AK016", "Skipped pages", "note", message, advice)


_CHECKS: tuple[Callable[[Evaluation], Iterator[Check]], ...] = (
    _writer_leak,
    _worse_than_constant,
    _collapsed_to_mean,
    _not_significant,
    _thin_bands,
    _missing_pages,
    _duplicates,
    _unknown_writers,
    _source_for_age,
    _hindsight,
    _thin_groups,
    _worse_by_writer,
    _selection_set,
    _unshuffled,
    _input_range,
    _synthetic,
    _skipped_pages,
)


def _listed(models: list[str], of_all: int, of: bool = False) -> str:
    """Models by name, or `All 5 models` (after "of": `every model (5)`) where it is all."""
    if len(models) == of_all > 2:
        return f"every model ({len(models)})" if of else f"All {len(models)} models"
    return and_list(models)


def _verb(models: list[str], one: str, many: str) -> str:
    """The verb that fits one model or many."""
    return one if len(models) == 1 else many
