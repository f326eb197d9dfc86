"""Decoding in a process of its own, which is killed where a file takes too long.

A call that hangs in C cannot be interrupted from within its process: no exception and no signal handler gets in. So
each process that reads videos forks one child, which opens and decodes and hands the frames back in shared memory. It
serves video after video; only after a kill a new one is forked. A crash of the decoder, too, is then an error of that
video and not the end of the run.
"""

import mmap
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch._utils import ExceptionWrapper

from retrieval.data.decoder.base import Damage, Decoder, StuckError, VideoFile
from retrieval.errors import UserError
from retrieval.orphans import end_with_parent

Open = Callable[[Path], VideoFile]
SHARED = 2**28  # bytes of memory for frames, taken only as far as they fill it; what is larger goes through a socket


class Guarded:
    """`open`, called in a child process that has `deadline` seconds for each answer.

    Pickles without its child, and forks its own in each process that it finds itself in.
    """

    child: tuple[int, int, Connection] | None = None  # parent, child, and the parent's end
    shared: mmap.mmap | None = None
    is_asked = False  # and has not answered yet

    def __init__(self, open: Open, deadline: float) -> None:
        self.open, self.deadline = open, deadline

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"child": None, "shared": None, "is_asked": False}

    def __call__(self, path: Path) -> VideoFile:
        """The opened video; its frames are decoded in the child.

        Raises:
            StuckError: opening it takes longer than `deadline`, or ends the child.
        """
        return GuardedFile(self, path, *self.ask("describe", path))

    def ask(self, request: str, path: Path, *arguments: Any) -> Any:
        """The child's answer; a child that has died for reasons of its own is replaced once.

        Raises:
            StuckError: see `__call__`.
        """
        for is_last in (False, True):
            connection = self._connection()
            try:
                self.is_asked = True
                connection.send((request, path, *arguments))
                if not connection.poll(self.deadline):
                    self._end()
                    raise StuckError(f"{path}: given up, not read within {self.deadline:g} seconds (data.deadline)")
                answer = _received(connection, self.shared)
            except (EOFError, ConnectionError) as error:
                status = self._end()
                if is_last:
                    raise StuckError(f"{path}: the decoder crashed on it ({_ended(status)})") from error
            else:
                self.is_asked = False
                return _opened(answer)
        raise AssertionError("unreachable")

    def _connection(self) -> Connection:
        """To this process's child; a call that an interrupt cut off has left an answer that nobody wants."""
        if self.child is not None and self.child[0] == os.getpid() and self.is_asked:
            self._end()
        if self.child is None or self.child[0] != os.getpid():
            self.child = self._forked()
        return self.child[2]

    def _forked(self) -> tuple[int, int, Connection]:
        ours, theirs = Pipe()
        self.shared = mmap.mmap(-1, SHARED)
        parent = os.getpid()
        with warnings.catch_warnings():
            # Python warns of forks beside threads; the child, like a data worker, takes up none of their work.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            ours.close()
            _serve(self.open, theirs, self.shared, parent)
        theirs.close()
        return parent, child, ours

    def _end(self) -> int:
        """Kill the child; its exit status. One that waits for a disk for ever cannot be killed, and is left."""
        assert self.child is not None
        _, child, connection = self.child
        self.child, self.is_asked = None, False
        connection.close()
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(child, signal.SIGKILL)
            for _ in range(100):
                ended, status = os.waitpid(child, os.WNOHANG)
                if ended:
                    return status
                time.sleep(0.01)
        return 0

    def __del__(self) -> None:
        if self.child is not None and self.child[0] == os.getpid():
            self._end()


def video_opener(decoder: Decoder, short_side: int | None, check: str, deadline: float | None) -> Open:
    """`decoder` with its settings, guarded where there is a deadline (seconds).

    Raises:
        UserError: a deadline of no time.
    """
    opener: Open = partial(decoder, short_side=short_side, check=check)
    if deadline is None:
        return opener
    if not deadline > 0:
        raise UserError(f"data.deadline={deadline} seconds, must be positive, or null to wait for ever")
    return Guarded(opener, deadline) if hasattr(os, "fork") else opener


class GuardedFile(VideoFile):
    """A video that a child process reads."""

    def __init__(self, guard: Guarded, path: Path, facts: dict[str, Any], times: Sequence[float]) -> None:
        self.guard, self.path, self._times = guard, path, times
        self.total, self.fps, self.claimed, self.size = (facts[name] for name in ("total", "fps", "claimed", "size"))

    @property
    def times(self) -> Sequence[float]:
        return self._times

    def read(self, indices: Sequence[int]) -> UInt8[Tensor, "frame 3 height width"]:
        return self.guard.ask("read", self.path, list(indices))

    def examine(self) -> Damage | None:
        return self.guard.ask("examine", self.path)


def _serve(open_: Open, connection: Connection, shared: mmap.mmap, parent: int) -> NoReturn:
    """The child's life: one request after the other, until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to both: the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)  # a forked process must not use its parent's pool of threads
    end_with_parent()  # even while it hangs
    opened: tuple[Path, VideoFile] | None = None
    try:
        while os.getppid() == parent:
            request, path, *arguments = connection.recv()
            try:
                if opened is None or request == "describe" or opened[0] != path:
                    opened = (path, open_(path))
                _answer(connection, shared, opened[1], request, *arguments)
            except UserError as error:
                connection.send(error)
            except Exception:
                connection.send(ExceptionWrapper(where="in the process that decodes"))
    except (EOFError, ConnectionError):
        pass
    finally:
        sys.stderr.flush()
        os._exit(0)  # nothing of the parent's is to be run at this exit


def _answer(connection: Connection, shared: mmap.mmap, video: VideoFile, request: str, *arguments: Any) -> None:
    if request == "describe":
        names = ("total", "fps", "claimed", "size")
        connection.send(({name: getattr(video, name) for name in names}, list(video.times)))
    elif request == "examine":
        connection.send(video.examine())
    else:
        frames = video.read(*arguments).permute(0, 2, 3, 1).contiguous()  # as decoders lay them out: no copy
        if 0 < frames.numel() <= SHARED:
            torch.frombuffer(shared, dtype=torch.uint8, count=frames.numel()).copy_(frames.flatten())
        connection.send(frames.shape)
        if frames.numel() > SHARED:
            connection.send_bytes(frames.numpy().data.cast("B"))


def _received(connection: Connection, shared: mmap.mmap | None) -> Any:
    answer = connection.recv()
    if not isinstance(answer, torch.Size):
        return answer
    frames = torch.empty(answer, dtype=torch.uint8)
    if frames.numel() > SHARED:
        connection.recv_bytes_into(frames.numpy().data.cast("B"))
    elif shared is not None and frames.numel():
        frames.copy_(torch.frombuffer(shared, dtype=torch.uint8, count=frames.numel()).reshape(answer))
    return frames.permute(0, 3, 1, 2)


def _opened(answer: Any) -> Any:
    """What was answered, raised here where it was raised there."""
    if isinstance(answer, UserError):
        raise answer
    if isinstance(answer, ExceptionWrapper):
        answer.reraise()
    return answer


def _ended(status: int) -> str:
    return f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit code {os.WEXITSTATUS(status)}"
