"""Who is alive: how a worker, a chief and their supervisor notice that one of the others has ended.

A worker's heartbeat is a file whose content changes; the chief reads it by its own clock. A worker tries the chief's
port. What a supervisor starts looks at its parent process.
"""

import _thread
import contextlib
import os
import socket
import sys
import threading
import time
from pathlib import Path

from age_keras.files import atomic_write

LOST_CHIEF_EXIT = 3
"""Exit code of a worker that lost its chief, and of a search whose chief died."""
ALL_DIED_EXIT = 1
"""Exit code of a search whose workers have all died too often."""
BEAT_SECONDS = 1.0

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


class Heartbeat:
    """A file whose content changes every second while this process lives.

    Args:
        folder: of all workers' files.
        name: the worker's.
    """

    def __init__(self, folder: Path, name: str):
        self.path, self.stopped = folder / f"{name}.beat", threading.Event()
        self.thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "Heartbeat":
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.stopped.set()
        self.thread.join()
        self.path.unlink(missing_ok=True)

    def _beat(self) -> None:
        beats = 0
        while not self.stopped.is_set():
            with atomic_write(self.path) as file:
                file.write(f"{os.getpid()} {beats}")
            beats += 1
            self.stopped.wait(BEAT_SECONDS)


class ChiefWatch:
    """Interrupts this process when nothing listens at the chief's address for `patience` seconds.

    A process that does not hear that, deep in a long computation, is ended after as many seconds more.

    Args:
        host, port: the chief's.
        patience: seconds.
        said: what such an end says.
    """

    def __init__(self, host: str, port: int, patience: float, said: str = ""):
        self.address, self.patience, self.said, self.lost = (host, port), patience, said, False
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "ChiefWatch":
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.stopped.set()

    def _watch(self) -> None:
        answered = time.monotonic()
        while not self.stopped.wait(min(2.0, self.patience / 4)):
            try:
                socket.create_connection(self.address, timeout=2.0).close()
                answered = time.monotonic()
            except OSError:
                if time.monotonic() - answered > self.patience:
                    self.lost = True
                    # Also out of a long trial; what it has trained is in its state.
                    _thread.interrupt_main()
                    if not self.stopped.wait(self.patience):
                        print(self.said, file=sys.stderr, flush=True)
                        os._exit(LOST_CHIEF_EXIT)
                    return


class Heartbeats:
    """Which workers live: those whose file changed lately, by the chief's own clock.

    Args:
        folder: of the workers' files.
        patience: seconds.
    """

    def __init__(self, folder: Path, patience: float):
        self.folder, self.patience = folder, patience
        self.seen: dict[str, tuple[str, float]] = {}

    def alive(self) -> set[str]:
        """Names of the workers whose hearts beat."""
        self._look()
        now = time.monotonic()
        return {name for name, (_, at) in self.seen.items() if now - at <= self.patience}

    def silent(self, names: set[str]) -> set[str]:
        """Those of some workers that have had their time and do not beat."""
        self._look()
        now = time.monotonic()
        for name in names:
            self.seen.setdefault(name, ("", now))  # Begun before this chief, or not beating yet.
        return names - self.alive()

    def died(self, name: str) -> bool:
        """Whether a silent worker was killed: it beat in this chief's time, and did not end in order.

        One that ends in order, or is interrupted, takes its file away.
        """
        return bool(self.seen.get(name, ("", 0.0))[0]) and (self.folder / f"{name}.beat").exists()

    def _look(self) -> None:
        for path in self.folder.glob("*.beat"):
            try:
                beat = path.read_text(encoding="utf-8")
            except FileNotFoundError:
                continue
            if self.seen.get(path.stem, ("", 0.0))[0] != beat:
                self.seen[path.stem] = (beat, time.monotonic())
