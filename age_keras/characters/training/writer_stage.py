"""From digits to their writer: how a writer's digits differ from the average, and how much they vary.

One digit says little about its writer; the spread over many digits of one writer says what no single digit can.
"""

import numpy as np
import pandas as pd

STRENGTHS = (0.1, 1.0, 10.0, 100.0)


class WriterStage:
    """A logistic regression on each writer's mean and standard deviation of what was measured on their digits.

    Measures are taken relative to the mean of their class of character, so that it does not matter which characters a
    writer wrote. It learns from bags of some of a writer's digits, and a writer's score is the mean over such bags, so
    that writers of a hundred digits and of twenty are measured alike.

    Args:
        bag: Approximate number of digits in a bag. Defaults to 20.
        seed: Seed of the assignment to bags. Defaults to 0.
    """

    def __init__(self, bag: int = 20, seed: int = 0):
        self.bag, self.seed = bag, seed

    def fit(
        self, measures: np.ndarray, classes: np.ndarray, writers: np.ndarray, truth: np.ndarray, folds: int = 5
    ) -> "WriterStage":
        """Fits the regression; its regularisation is chosen by cross-validation over the writers.

        Args:
            measures: `(N, K)`, one row per digit, from models that have not seen its writer.
            classes: `(N,)` of 0, 1, ...: which digit it is.
            writers: `(N,)`.
            truth: `(N,)` of 0 and 1: the group of the digit's writer.
            folds: Number of folds of that cross-validation. Defaults to 5.
        """
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import StratifiedGroupKFold, cross_val_score
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        self.usual = np.tile(measures.mean(axis=0), (classes.max() + 1, 1))
        for k in np.unique(classes):
            self.usual[k] = measures[classes == k].mean(axis=0)
        bags = self._deal(writers)
        _, summary = self._summary(measures, classes, bags)
        first = np.unique(bags, return_index=True)[1]
        owner, group = writers[first], truth[first]
        folds = min(folds, *(len(np.unique(owner[group == g])) for g in (0, 1)))

        def regression(strength):
            return make_pipeline(
                StandardScaler(),
                LogisticRegression(C=strength, class_weight="balanced", solver="newton-cholesky", max_iter=200),
            )

        def auc(strength):
            split = StratifiedGroupKFold(folds)
            scores = cross_val_score(regression(strength), summary, group, groups=owner, cv=split, scoring="roc_auc")
            return scores.mean()

        self.strength = max(STRENGTHS, key=auc)
        self.model = regression(self.strength).fit(summary, group)
        return self

    def score(self, measures: np.ndarray, classes: np.ndarray, writers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The writers, ascending, and the log-odds that each is of group 1."""
        bags = self._deal(writers)
        _, summary = self._summary(measures, classes, bags)
        owner = writers[np.unique(bags, return_index=True)[1]]
        names, place = np.unique(owner, return_inverse=True)
        return names, np.bincount(place, self.model.decision_function(summary)) / np.bincount(place)

    def _deal(self, writers: np.ndarray) -> np.ndarray:
        """A number for each digit's bag, no bag of two writers."""
        _, place, counts = np.unique(writers, return_inverse=True, return_counts=True)
        bags = np.maximum(1, np.round(counts / self.bag)).astype(int)
        order = np.lexsort((np.random.default_rng(self.seed).random(len(writers)), place))
        within = np.empty(len(writers), int)
        within[order] = np.arange(len(writers)) - np.repeat(np.cumsum(counts) - counts, counts)
        return place * bags.max() + within % bags[place]

    def _summary(self, measures, classes, groups) -> tuple[np.ndarray, np.ndarray]:
        """The groups (writers or bags), and `(groups, 2 K)`: mean and standard deviation against the usual."""
        names, place, counts = np.unique(groups, return_inverse=True, return_counts=True)
        apart = (measures - self.usual[classes]).astype(np.float64)
        total, squares = np.zeros((len(names), apart.shape[1])), np.zeros((len(names), apart.shape[1]))
        np.add.at(total, place, apart)
        mean = total / counts[:, None]
        np.add.at(squares, place, (apart - mean[place]) ** 2)
        deviation = np.sqrt(squares / np.maximum(counts - 1, 1)[:, None])
        return names, np.concatenate([mean, deviation], axis=1)


def staged_scores(
    training: pd.DataFrame,
    measures: np.ndarray,
    fold: np.ndarray,
    test: pd.DataFrame,
    test_measures: list[np.ndarray],
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Scores test writers by a stage fitted on all training writers, and training writers by one fitted on the others.

    Args:
        training: The training digits, a table with the columns `Writer`, `Student` (truth), `Digit`.
        measures: `(N, K)` of them, from models that have not seen their writers.
        fold: `(N,)`, the fold of each digit's writer.
        test: The test digits, with the same columns; the truth is not used.
        test_measures: Their measures, once per model. (A mean over the models would vary less than what the stage
            was fitted on.)
        seed: Seed of the bags. Defaults to 0.

    Returns:
        The log-odds of "student" of the test's and of the training's writers, both in ascending order of the writers.
    """
    digit, writer, truth = (training[c].to_numpy() for c in ("Digit", "Writer", "Student"))
    stage = WriterStage(seed=seed).fit(measures, digit, writer, truth)
    of_test = [stage.score(m, test["Digit"].to_numpy(), test["Writer"].to_numpy())[1] for m in test_measures]
    found = {}
    for k in np.unique(fold):
        rest, held = fold != k, fold == k
        stage = WriterStage(seed=seed).fit(measures[rest], digit[rest], writer[rest], truth[rest])
        found |= dict(zip(*stage.score(measures[held], digit[held], writer[held]), strict=True))
    return np.mean(of_test, axis=0), np.array([found[name] for name in np.unique(writer)])
