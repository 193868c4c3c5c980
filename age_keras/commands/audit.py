"""Audit whether a run's model reads the writing, or margins, paper, lines, scanner marks or the file."""

from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Ge

from age_keras.config.settings import Seed
from age_keras.errors import InputError


def main(
    run: tyro.conf.Positional[Path],
    model: str | None = None,
    data: Path | None = None,
    pages: Annotated[int, Ge(8)] = 40,
    seed: Seed = 0,
) -> None:
    """Audits a run's model for bias: prints one sentence per suspicion and writes audit.md and audit.json into the run.

    Args:
        run: A run's folder.
        model: A name in its predictions.csv. Defaults to the model with the smallest error.
        data: The folder of its pages. Defaults to the one it was trained from.
        pages: Largest number of scored pages that the model is probed on.
        seed: Seed of the pages that are drawn.
    """
    if not run.is_dir():
        raise InputError(f"There is no run {run}: give a folder such as runs/demo/1a2b3c4d.")
    from age_keras.explain.audit.run import audit_run

    found = audit_run(run, model, data, pages, seed)
    marks = {True: "FOUND", False: "  -  ", None: "  ?  "}
    for suspicion in found:
        print(f"{marks[suspicion.found]}  {suspicion.verdict}")
    print(f"\nAudit: {run / 'audit.md'}")
