"""Two workers on this machine against one: folds a minute.

    python benchmarks/workers.py --data DIR --workers 2

Runs the same search (random, no cuts) with one worker and with the given number, each with a chief, threads shared out,
and a warm feature cache; prints the ratio of throughputs in steady state: each worker's first trial, in which it builds
and traces the network, is not counted. On a machine that does nothing else, or the ratio says little.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tyro
from support.side_by_side import machine

FLAGS = (
    "--model.weights none --pages.image-size 64 --training.frozen.epochs 3 --training.fine-tune.epochs 2 "
    "--training.augment none --folds 2 --race 0 --keep 0 --runtime.no-tensorboard"
)


def folds_a_minute(run: Path) -> tuple[int, float]:
    """Folds trained, and how many a minute all workers together train after the first trial of each."""
    records = [json.loads(path.read_text()) for path in sorted(run.glob("*/*/trials/*.json"))]
    rate = 0.0
    for worker in {record["worker"] for record in records}:
        later = sorted((r for r in records if r["worker"] == worker), key=lambda r: r["started"])[1:]
        seconds = [fold["seconds"] for record in later for fold in record["folds"]]
        rate += 60 * len(seconds) / sum(seconds) if seconds else 0.0
    return sum(len(record["folds"]) for record in records), rate


def main(
    data: Path | None = None,
    workers: int = 2,
    trials: int = 8,
    backbone: str = "resnet10",
    writers: int = 40,
    flags: str = FLAGS,
) -> int:
    """Prints both throughputs and their ratio.

    Args:
        data: pages; none makes a synthetic cohort.
        workers: of the second search.
        trials: of each.
        backbone: of the models.
        writers: of the synthetic cohort.
        flags: further flags of `tuning.search`.
    """
    print(machine())
    where = ["--data", str(data)] if data else ["--synthetic-writers", str(writers), "--bands", "25"]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        # The first run, which is not counted, fills the patch store and the feature cache.
        for name, team in (("warm-up", 1), ("one", 1), ("many", workers)):
            runs = Path(folder) / name
            command = [sys.executable, "-m", "tuning.search", *where, "--backbones", backbone, "--runs", str(runs)]
            command += ["--trials", str(trials), "--workers", str(team), *flags.split()]
            begin = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            found[name] = folds_a_minute(runs)
            print(
                f"{name}: {team} workers, {found[name][0]} folds, {found[name][1]:.1f} a minute, "
                f"{time.perf_counter() - begin:.0f} s with start and report",
                flush=True,
            )
    print(f"ratio of throughputs: {found['many'][1] / found['one'][1]:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(tyro.cli(main, description=__doc__))
