"""A run's folder: what was asked, with which versions, and all that came of it.

    runs/<experiment>/<run>/   config.json  environment.json  history.csv  predictions.csv  metrics.json  report.md
                               figures/*.png  checkpoints/*.keras  tensorboard/<fold>/{train,validation}  state/

The run is named after its configuration, so the same command finds its own folder again and goes on where it stopped.
"""

import datetime
import importlib.metadata
import json
import os
import platform
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from age_keras.config.serialization import differences, digest, to_dict
from age_keras.errors import InputError
from age_keras.files import write_json

PACKAGES = (
    "age_keras",
    "tensorflow",
    "keras",
    "keras-tuner",
    "numpy",
    "pandas",
    "scikit-learn",
    "scipy",
    "opencv-python-headless",
)
# Environment variables that can change a result: TensorFlow's and Keras' switches, and which GPUs are seen.
VARIABLES = ("TF_", "KERAS_", "XLA_", "CUDA_VISIBLE_DEVICES")


@dataclass(frozen=True)
class Run:
    """One run's folder. Made by `Run.open`.

    Attributes:
        path: the folder.
    """

    path: Path

    @classmethod
    def open(
        cls, root: str | Path, experiment: str, config: Any, name: str | None = None, fresh: bool = False, **facts: Any
    ) -> "Run":
        """Makes the folder of a run, or finds the one to go on with.

        Args:
            root: the folder of all runs, usually `runs`.
            experiment: the experiment's name.
            config: its configuration (a dataclass).
            name: the run's name. Defaults to a hash of the configuration.
            fresh: start over; what the folder held is deleted.
            **facts: written into environment.json. A run cannot go on with another `data_fingerprint`.

        Raises:
            InputError: a folder of this name holds another configuration, or cannot be written.
        """
        path = Path(root) / experiment / (name or digest(config))
        try:
            if fresh and path.exists():
                shutil.rmtree(path)
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"The run's folder {path} cannot be made: {error.strerror}; choose another with --runs."
            ) from None
        run, wanted = cls(path), json.loads(json.dumps(to_dict(config)))
        if (path / "config.json").exists():
            changed = differences(run.read_json("config.json"), wanted)
            if changed:
                raise InputError(
                    f"{path} holds a run with another configuration ({'; '.join(changed[:3])}): "
                    "give another --run name, or --fresh to start over."
                )
        else:
            run.write_json("config.json", wanted)
        run._record_environment(facts)
        return run

    def _record_environment(self, facts: dict[str, Any]) -> None:
        old = self.read_json("environment.json") if (self.path / "environment.json").exists() else {}
        if old.get("data_fingerprint", facts.get("data_fingerprint")) != facts.get("data_fingerprint"):
            raise InputError(
                f"{self.path} was started with other data: give another --run name, or --fresh to start over."
            )
        started = [*old.get("started", []), datetime.datetime.now().astimezone().isoformat(timespec="seconds")]
        environment = {
            "command": shlex.join([Path(sys.executable).name, *sys.orig_argv[1:]]),
            "started": started,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "cpus": os.cpu_count(),
            "packages": versions(),
            "variables": {name: os.environ[name] for name in sorted(os.environ) if name.startswith(VARIABLES)},
        }
        self.write_json("environment.json", {**old, **environment, **facts})

    def file(self, *parts: str) -> Path:
        """A path in the run's folder; its parent is made."""
        path = self.path.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write_json(self, name: str, value: Any) -> None:
        """Writes a JSON file into the folder, atomically."""
        write_json(self.path / name, value)

    def read_json(self, name: str) -> Any:
        """Reads a JSON file of the folder. Raises `InputError` where it is missing or broken."""
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(
                f"{self.path} has no {name}: it is not the folder of a run, or the run has not come so far."
            ) from None
        except json.JSONDecodeError as error:
            raise InputError(
                f"{self.path / name} is not valid JSON ({error}); delete the run's folder and run again."
            ) from None


def versions() -> dict[str, str]:
    """The installed version of every package that can change a result."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
