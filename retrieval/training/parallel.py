"""Several processes that train one model, and what ends them where one is lost or no longer answers."""

import logging
import os
import re
import signal
import time
from datetime import timedelta
from typing import Any

from lightning.pytorch.strategies import DDPStrategy
from torch.distributed import DistError

from retrieval.data.loading import GO_ON
from retrieval.errors import UserError
from retrieval.jobs.processes import GRACE, STARTED_BY, is_first_process

MEMORY = "mostly because memory ran out: lower data.batch_size or data.num_workers, or ask for more"
OBSERVER = "lightning.fabric.strategies.launchers.subprocess_script"
"""Lightning's log of a thread that kills the first process, without a word to be seen, 5 s after another has ended."""
_OBSERVED = re.compile(r"rank: (\d+)\] Child process with PID (\d+) terminated with code (-?\d+)")
_LOST = re.compile(r"gloo/|Connection (closed|reset) by peer|Broken pipe|remote process exited")
_SILENT = re.compile(r"time[d]?[- ]?out", re.IGNORECASE)


class DDP(DDPStrategy):
    """Lightning's, where a process that is killed, or does not answer for too long, ends the others with one line.

    Args:
        timeout: seconds that a process waits for the others.
        settings: Lightning's own.

    Raises:
        UserError: no time at all.
    """

    def __init__(self, timeout: float | int, **settings: Any) -> None:
        if timeout <= 0:
            raise UserError(f"trainer.strategy.timeout={timeout} seconds, must be positive")
        super().__init__(timeout=timedelta(seconds=timeout), **settings)
        self.seconds = timeout
        logging.getLogger(OBSERVER).addFilter(_tell_loss)

    def on_exception(self, exception: BaseException) -> None:
        """End the processes that this one has started; the first one alone tells what has become of them.

        Raises:
            UserError: instead of what the library says of a lost process.
        """
        super().on_exception(exception)
        if not isinstance(exception, Exception):  # who is interrupted ends in a way of its own
            return
        reason = self._reason(str(exception)) if _is_loss(exception) else None
        self._end_others()
        if reason:
            raise UserError(f"{reason}; {GO_ON}") from exception

    def _reason(self, message: str) -> str:
        """What has become of the others, which this process can know of those that it has started."""
        if lost := self._lost() if self._started else _first_process_is_gone():
            return lost
        if _SILENT.search(message):
            return (
                f"process {self.global_rank} has waited {self.seconds:g} s for another one: it hangs or was stopped; "
                "trainer.strategy.timeout=<seconds> waits longer"
            )
        return f"process {self.global_rank} has lost its connection to another one, which has ended or was killed"

    def _lost(self) -> str | None:
        """Which of the processes that this one has started has ended, once it has."""
        end = time.monotonic() + GRACE / 5
        while time.monotonic() < end:
            for rank, process in enumerate(self._started, 1):
                if process.poll():
                    return _fate(rank, process.pid, process.returncode)
            time.sleep(0.05)
        return None

    def _end_others(self) -> None:
        for process in self._started:
            process.kill()
        self._started.clear()  # Lightning's observer of these has nothing left to do

    @property
    def _started(self) -> list[Any]:
        return getattr(self.launcher, "procs", [])


def _is_loss(exception: Exception) -> bool:
    """Whether a library says that another process is gone or silent; gloo raises no type of its own."""
    return isinstance(exception, DistError) or (
        isinstance(exception, RuntimeError) and _LOST.search(str(exception)) is not None
    )


def _first_process_is_gone() -> str | None:
    """Leave it to the first process to tell, where it has started this one: it ends this one then."""
    first = os.environ.get(STARTED_BY)
    if first is None or is_first_process():
        return None
    end = time.monotonic() + GRACE / 2
    while str(os.getppid()) == first and time.monotonic() < end:
        time.sleep(0.05)
    return None if str(os.getppid()) == first else _fate(0, int(first), -signal.SIGKILL)


def _fate(rank: int, pid: int, code: int) -> str:
    if code < 0:
        return f"process {rank} of the training (pid {pid}) was killed by {signal.Signals(-code).name}, {MEMORY}"
    return f"process {rank} of the training (pid {pid}) has ended with an error, which stands above"


def _tell_loss(record: logging.LogRecord) -> bool:
    """Let Lightning's word on a lost process be seen, as an error of ours."""
    if found := _OBSERVED.search(record.getMessage()):
        record.msg, record.args = f"{_fate(*map(int, found.groups()))}; {GO_ON}", ()
        record.levelno, record.levelname = logging.ERROR, "ERROR"
    return True
