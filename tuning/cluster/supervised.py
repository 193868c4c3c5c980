"""What a chief or a worker knows of the supervisor that started it: that there is one, and when it is no more."""

import contextlib
import os
import sys
import threading
import time

SUPERVISOR = "AGE_KERAS_SUPERVISOR"
"""Environment variable, set by the supervisor for the processes that it starts: its own process number."""
LOOK_SECONDS = 1.0


def is_supervised() -> bool:
    """Whether a supervisor of this machine started this process."""
    return SUPERVISOR in os.environ


def end_with_the_supervisor(code: int) -> None:
    """Ends this process, once its supervisor is no more, as if it were killed: what it has finished is kept.

    A supervisor that is killed cannot end its chief and workers. Left alone they would go on beside those that the
    same command starts next. Without a supervisor this does nothing.

    Args:
        code: to end with.
    """
    # Elsewhere than on POSIX a process may be the grandchild of the one that started it.
    if not is_supervised() or os.name != "posix":
        return
    supervisor = int(os.environ[SUPERVISOR])

    def watch() -> None:
        while os.getppid() == supervisor:
            time.sleep(LOOK_SECONDS)
        with contextlib.suppress(OSError):  # Who read it may be gone too.
            print("The supervisor of this search is gone: this process ends with it.", file=sys.stderr, flush=True)
        os._exit(code)

    threading.Thread(target=watch, daemon=True).start()
