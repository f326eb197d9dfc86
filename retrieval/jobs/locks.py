"""One run at a time in a folder: a lock that the operating system takes back when its holder ends, however that ends.

Where the filesystem lets machines lock files for each other (NFS from version 4, Lustre with `flock`, most others) it
holds between machines too. Reading needs no lock.
"""

import errno
import getpass
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from retrieval.errors import UserError
from retrieval.jobs.files import ELSEWHERE, refusals
from retrieval.jobs.processes import is_first_process

LOCK = ".lock"
"""The file that is locked; it stays when the lock is released, for deleting it would let two others in at once."""
PATIENCE = 0.5  # seconds: someone may only be looking whether the lock is held
UNSUPPORTED = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}
_held: dict[Path, FileLock] = {}
"""What this process holds: a lock is the process' own, whichever of its functions took it."""
_log = logging.getLogger(__name__)


@contextmanager
def lock(folder: Path, what: str = "job", way_out: str = ELSEWHERE) -> Iterator[None]:
    """Keep others out of a folder, which is made where it is missing; what this process holds already stays held.

    Args:
        folder: to work in.
        what: is done there, in words for those who are kept out.
        way_out: for who may not write there, in words.

    Raises:
        UserError: another process works there; it is told who, where and since when.
        UserError: the folder cannot be written.
    """
    with until_the_end():
        hold(folder, what, way_out)
        yield


@contextmanager
def until_the_end() -> Iterator[None]:
    """Release in the end what was taken meanwhile by `hold`."""
    before = set(_held)
    try:
        yield
    finally:
        for folder in _held.keys() - before:
            _held.pop(folder).release()


def hold(folder: Path, what: str = "job", way_out: str = ELSEWHERE) -> None:
    """The same as `lock`, until `until_the_end` or the process ends; of the processes of a training the first does."""
    folder = folder.absolute()
    if folder in _held or not is_first_process():
        return
    taken = _file_lock(folder)
    with refusals(folder / LOCK, way_out):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            taken.acquire(timeout=PATIENCE)
        except Timeout as error:
            raise UserError(f"{folder}: {_holder(folder)}; wait for its end, or end it") from error
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            _log.warning("%s: the filesystem has no locks (%s); start no other job there", folder, error.strerror)
        (folder / LOCK).write_text(json.dumps(_ourselves(what)), encoding="utf-8")  # in place: it is what is locked
    _held[folder] = taken


def holds(folder: Path) -> bool:
    """Whether this process has locked the folder."""
    return folder.absolute() in _held


def holder(folder: Path) -> str | None:
    """Who works in a folder, where and since when, in words; None where nobody does, this process apart."""
    if holds(folder) or not (folder / LOCK).is_file():
        return None
    probe = _file_lock(folder)
    try:
        probe.acquire(timeout=0)
    except Timeout:
        return _holder(folder)
    except OSError:  # no locks there, or none for who may only read: it is not known
        return None
    probe.release()
    return None


def _file_lock(folder: Path) -> FileLock:
    return FileLock(folder / LOCK, thread_local=False, fallback_to_soft=False)


def _ourselves(what: str) -> dict[str, str | int]:
    since = datetime.now().strftime("%Y-%m-%d %H:%M:%S")
    return {"what": what, "user": _user(), "host": socket.gethostname(), "pid": os.getpid(), "since": since}


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return str(os.getuid())


def _holder(folder: Path) -> str:
    try:
        who = json.loads((folder / LOCK).read_text(encoding="utf-8"))
        return "in use by the {what} of {user} on {host} (pid {pid}) since {since}".format(**who)
    except (OSError, ValueError, KeyError, TypeError):  # it has not written its name yet
        return "in use by another process"
