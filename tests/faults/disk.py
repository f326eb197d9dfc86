"""A disk that is full in the middle of a training, and one that may only be read.

Both are a small filesystem in memory that a namespace of one's own may mount without being root. Where the system does
not allow that, a limit on the size of files stands in for the full disk, and a folder without permission for the other.
"""

import contextlib
import io
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from retrieval.model import read_checkpoint
from retrieval.prepare import main as prepare
from retrieval.train import main as train
from tests.jobs.commands import call, knobs

DATA = ["data.corpus.train=16", "data.corpus.val=8", "data.corpus.test=8", "data.num_workers=0"]
SMALL = [*DATA, "data.batch_size=8", "trainer.max_epochs=3"]
NAMESPACE = 'mount -t tmpfs -o size=1g tmpfs "$1" && exec "$2" -m tests.faults.disk "$1"'


def main() -> None:
    """Try them; exit code 1 where one did not hold."""
    with tempfile.TemporaryDirectory() as folder:
        if len(sys.argv) == 1 and _may_mount(folder):
            line = ["unshare", "-Urm", "sh", "-c", NAMESPACE, "sh", folder, sys.executable]
            sys.exit(subprocess.run(line).returncode)
        place = Path(sys.argv[1] if len(sys.argv) > 1 else folder)
        mounted = len(sys.argv) > 1
        found = list(_trials(place, _Mounted(place) if mounted else _Limited(place)))
    held = sum(found)
    print(f"disk: held {held} of {len(found)}")
    sys.exit(held < len(found))


class _Mounted:
    """A filesystem of our own, whose size can be changed."""

    what = "a mounted filesystem"

    def __init__(self, place: Path) -> None:
        self.place = place

    @contextlib.contextmanager
    def with_room(self, size: int) -> Iterator[None]:
        used = sum(path.stat().st_blocks * 512 for path in self.place.rglob("*"))
        self._mount(f"size={used + size}")
        yield
        self._mount("size=1g")

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        self._mount("ro")
        yield
        self._mount("rw")

    def _mount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.place)], check=True)


class _Limited:
    """Limits of this process alone."""

    what = "limits of a process"

    def __init__(self, place: Path) -> None:
        self.place = place

    @contextlib.contextmanager
    def with_room(self, size: int) -> Iterator[None]:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, resource.RLIM_INFINITY))
        yield
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        if os.geteuid() == 0:  # whom no permission stops
            os.chown(self.place, 65534, 65534)
            os.seteuid(65534)
        self.place.chmod(0o500)
        yield
        self.place.chmod(0o700)


def _trials(place: Path, disk: _Mounted | _Limited) -> Iterator[bool]:
    print(f"on {disk.what}")
    data = Path(tempfile.mkdtemp(dir=place))
    run = [*knobs(place / "runs", "full")[:2], f"data.root={data}", *SMALL]
    told = _told(train, *run, "trainer.max_epochs=1")
    yield _held("one epoch is trained", told == (0, ""), told)
    (folder,) = (place / "runs" / "full").iterdir()
    best, last = folder / "checkpoints" / "best.ckpt", folder / "checkpoints" / "last.ckpt"
    whole = [path.read_bytes() for path in (best, last)]
    with disk.with_room(last.stat().st_size // 2):
        code, text = told = _told(train, *run, "ckpt_path=last")
    yield _held(
        "a full disk ends training in one line that says where and what to do",
        code == 1 and f"{folder}/checkpoints" in text and "make room" in text and "ckpt_path=last" in text,
        told,
    )
    names = sorted(path.name for path in (folder / "checkpoints").iterdir())
    yield _held("no half checkpoint is left", names == ["best.ckpt", "last.ckpt"], names)
    yield _held("the last good ones are as they were", [path.read_bytes() for path in (best, last)] == whole, "changed")
    told = _told(train, *run, "ckpt_path=last")
    yield _held("with room the run goes on to its end", told == (0, ""), told)
    yield _held("all three epochs are trained", read_checkpoint(last)["epoch"] == 2, read_checkpoint(last)["epoch"])
    with disk.read_only():
        refused = {"train": _told(train, *run, "name=other"), "prepare": _told(prepare, *_storing(place, data))}
    for command, (code, text) in refused.items():
        yield _held(f"{command} names what it may not write", code == 1 and f"{place}/" in text, (code, text))


def _storing(place: Path, data: Path) -> list[str]:
    """`prepare` whose run is elsewhere: only the store may not be written."""
    elsewhere = tempfile.mkdtemp(dir="/dev/shm")
    return [f"output={elsewhere}", f"data.root={data}", f"data.store.folder={place / 'store'}", *DATA]


def _told(job: Callable[[], None], *arguments: str) -> tuple[int, str]:
    """A job's exit code and error line; a traceback counts as 2."""
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output):
            call(job, *arguments)
    except SystemExit as end:
        return (1, str(end.code)) if isinstance(end.code, str) else (int(end.code or 0), "")
    except Exception as error:
        return 2, f"{type(error).__name__}: {error}"
    return 0, ""


def _held(what: str, held: bool, found: object) -> bool:
    print(f"{'held' if held else 'NOT HELD'}: {what}{'' if held else f'; found {found}'}", flush=True)
    return held


def _may_mount(folder: str) -> bool:
    line = ["unshare", "-Urm", "mount", "-t", "tmpfs", "tmpfs", folder]
    return shutil.which("unshare") is not None and subprocess.run(line, capture_output=True).returncode == 0


if __name__ == "__main__":
    main()
