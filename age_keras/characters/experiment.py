"""What every experiment on characters is told: where they are, how many to take, and the folder of its run."""

import dataclasses
from pathlib import Path

from age_keras.characters.data.characters import Characters
from age_keras.run.folder import Run


@dataclasses.dataclass(frozen=True, kw_only=True)
class CharacterRun:
    """The settings that all experiments on characters share.

    Args:
        path: the characters' file or folder.
        limit: take only so many training characters (0: all).
        runs: folder of all runs.
        run: the run's name; by default a hash of the configuration.
        fresh: start over.
    """

    path: Path | None = None
    limit: int = 0
    runs: Path = Path("runs")
    run: str | None = None
    fresh: bool = False

    def open(self, experiment: str, characters: Characters, **changes) -> Run:
        """The folder of this experiment's run, new or to go on with.

        Args:
            experiment: its name.
            characters: what it works on; a run cannot go on with others.
            **changes: fields that are recorded otherwise than they were given.
        """
        settings = dataclasses.replace(self, runs=Path(), run=None, fresh=False, **changes)
        fingerprint = characters.fingerprint
        return Run.open(self.runs, experiment, settings, self.run, self.fresh, data_fingerprint=fingerprint)
