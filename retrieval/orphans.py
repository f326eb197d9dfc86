"""No process outlives the one that started it: an orphan would go on writing into folders that others use by then."""

import ctypes
import os
import signal
import sys
import threading
import time

PARENT_DEATH = 1  # PR_SET_PDEATHSIG of prctl(2)
PERIOD = 0.5  # seconds between two looks at the parent


def end_with_parent() -> None:
    """Let this process be killed when its parent ends, however that ends: at once on Linux, soon elsewhere.

    Call it first thing in a process that the parent's main thread has started: Linux means the thread.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PARENT_DEATH, signal.SIGKILL)
    else:
        watch(os.getppid())


def watch(parent: int, grace: float = 0, last_words: str = "") -> None:
    """End this process when its parent ends, on any system, by a thread that looks at the parent.

    Args:
        parent: its process id.
        grace: seconds for this process to end by itself.
        last_words: what is told on standard error in the end.
    """
    threading.Thread(target=_end_after, args=(parent, grace, last_words), daemon=True).start()


def _end_after(parent: int, grace: float, last_words: str) -> None:
    while os.getppid() == parent:
        time.sleep(PERIOD)
    time.sleep(grace)
    if last_words:
        print(last_words, file=sys.stderr, flush=True)
    os._exit(1)
