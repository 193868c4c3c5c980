"""One search at a time in a run's folder."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from age_keras.errors import InputError

PATIENCE = 10.0
"""Seconds to wait for a search that is just ending, as when its supervisor was killed and its chief has noticed."""


@contextlib.contextmanager
def only_search(run: Path, patience: float | None = None) -> Iterator[None]:
    """Holds the lock of a run, which its chief, or a search in one process, has for as long as it lives.

    The file stands beside the folder, `.<run>.lock`: `--fresh` deletes the folder only after it has the lock. The
    system releases it when its process dies, whatever kills it.

    Args:
        run: the folder, which need not be there yet.
        patience: seconds to wait for the lock. Defaults to `PATIENCE`.

    Raises:
        InputError: another process has it, or the folder of all runs cannot be written.
    """
    try:
        run.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(run.parent / f".{run.name}.lock")
        held: contextlib.AbstractContextManager = lock.acquire(timeout=PATIENCE if patience is None else patience)
    except Timeout:
        raise InputError(
            f"Another search runs in {run}: wait until it has ended, or end it, or give another --run name."
        ) from None
    except NotImplementedError:  # A file system without locks.
        held = contextlib.nullcontext()
    except OSError as error:
        raise InputError(f"{run.parent} cannot be written: {error.strerror}; choose another with --runs.") from None
    with held:
        yield
