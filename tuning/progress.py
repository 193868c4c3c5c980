"""What a search says while it runs: one bar over all folds of all trials, with the time left."""

from tqdm import tqdm

from tuning.trials import CUT, ENDED, FAILED, TrialRecord, Trials


class SearchBar:
    """One bar; folds of finished, cut and failed trials count as done. What was done before says nothing of the speed.

    Args:
        trials: the records.
        folds: that all trials train; 0 where it is not known.
        show: whether to.
    """

    def __init__(self, trials: Trials, folds: int, show: bool = True):
        self.trials = trials
        self.bar = tqdm(
            total=folds or None,
            initial=self._done(),
            desc="search",
            unit="fold",
            disable=not show,
            dynamic_ncols=True,
            smoothing=0.05,
        )
        self.said: set[str] = {record.trial for record in trials.all() if record.status in ENDED}

    def on_event(self, record: TrialRecord, logs: dict | None) -> None:
        """For `CrossValidated.on_event`: an epoch, a fold or a trial has ended."""
        if logs is None:
            self.refresh()
            self.bar.set_description(f"trial {record.trial}, fold {min(len(record.folds) + 1, record.wanted)}")
        else:
            epoch = record.furthest[1]
            name = "val_mae" if "val_mae" in logs else "val_accuracy"
            self.bar.set_postfix_str(f"epoch {epoch}, {name} {logs.get(name, float('nan')):.3g}{self._best()}")

    def refresh(self) -> None:
        """Reads the records again, says which trials have ended, and moves the bar."""
        for record in self.trials.all():
            if record.status in ENDED and record.trial not in self.said:
                self.said.add(record.trial)
                self.bar.write(describe(record))
        self._move()

    def close(self) -> None:
        self.bar.close()

    def _move(self) -> None:
        done = self._done()
        if self.bar.total is not None:
            # Several workers may begin a bracket of Hyperband early, and have it not ended at the end.
            self.bar.total = max(self.bar.total, done)
        if done != self.bar.n:
            self.bar.update(done - self.bar.n)

    def _done(self) -> int:
        done = 0
        for record in self.trials.all():
            folds = record.wanted if record.status in ENDED else len(record.folds)
            # Those of Hyperband's round before are counted there.
            done += max(0, folds - int(record.values.get("tuner/initial_epoch") or 0))
        return done

    def _best(self) -> str:
        ranked = self.trials.ranked()
        return f", best {ranked[0].objective:.3f}" if ranked else ""


def describe(record: TrialRecord) -> str:
    """A line on an ended trial."""
    values = ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in record.parameters.items()
    )
    if record.status == FAILED:
        return f"trial {record.trial} failed: {record.reason} ({values})"
    if record.status == CUT:
        return f"trial {record.trial} cut {record.reason} ({values})"
    return f"trial {record.trial}: {record.objective:.3f} ± {record.sd or 0:.3f} ({values})"
