"""How a job ends that is told to: SIGTERM from a scheduler, SIGINT from the keyboard, Slurm's signal to requeue."""

import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(SystemExit):
    """A signal ends the job, with the exit code by which shells know that: 128 and the signal's number.

    Args:
        number: the signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number
        self.is_told = False

    def tell(self, way: str = "the same command starts again") -> str:
        """Tell once, in one line, what has ended the job and what to do about it; returns the line."""
        line = f"{self}; {way}"
        if not self.is_told:
            print(line, file=sys.stderr)
        self.is_told = True
        return line

    def __str__(self) -> str:
        return f"stopped by {signal.Signals(self.number).name}"

    def __reduce__(self) -> tuple[Any, ...]:  # a sweep's processes send it to each other
        return Stopped, (self.number,)


class Reaction:
    """A signal's handler; processes that are forked inherit it and do not react by it (see `_leave_to_parent`).

    Args:
        react: is called with the signal's number.
    """

    def __init__(self, react: Callable[[int], None]) -> None:
        self.react = react

    def __call__(self, number: int, frame: FrameType | None = None) -> None:
        self.react(number)


def stop(number: int) -> None:
    """End the job here and now.

    Raises:
        Stopped: always.
    """
    raise Stopped(number)


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGTERM and SIGINT raise `Stopped`, wherever the job is; a signal that others ignore or handle is theirs."""
    free = (signal.SIG_DFL, signal.default_int_handler)
    ours = [number for number in SIGNALS if signal.getsignal(number) in free]
    if threading.current_thread() is not threading.main_thread():
        ours = []
    before = {number: signal.signal(number, Reaction(stop)) for number in ours}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def command_to_go_on(name: str, output: str) -> str:
    """The command that this process was started by, as it goes on from the last checkpoint of the run.

    Args:
        name: of the run.
        output: folder of all runs.
    """
    again = {"name": name, "output": output, "ckpt_path": "last"}
    module = getattr(sys.modules["__main__"], "__spec__", None)
    program = ["python", "-m", module.name] if module else sys.argv[:1]
    kept = [argument for argument in sys.argv[1:] if argument.partition("=")[0] not in again]
    return shlex.join([*program, *kept, *(f"{knob}={value}" for knob, value in again.items())])


def _leave_to_parent() -> None:
    """A forked process is ended by its parent (SIGTERM), and what is meant for the job is not its business."""
    for number in (*SIGNALS, signal.SIGUSR1):
        if isinstance(signal.getsignal(number), Reaction):
            signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)


os.register_at_fork(after_in_child=_leave_to_parent)
