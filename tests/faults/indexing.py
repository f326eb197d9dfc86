"""Kills (SIGKILL) at random moments while 60 small videos are indexed, and a disk that is full on the way.

One process imports everything, but for LanceDB, whose threads do not survive a fork, and is forked for every job and
every look at the index. Every opening of a video is noted. After a kill the index must be readable, and the jobs that
follow may not open a video again that was written by then. When the last job has ended, the index must hold what that
of a job without a kill holds: to the last bit, nothing twice, nothing besides.

`python -m tests.faults.indexing 3 12` tries three kills and twelve videos.
"""

import os
import pickle
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from retrieval import load_model
from retrieval.data.corpora.moving_shapes import encode
from retrieval.data.decoder import VideoFile, open_pyav
from retrieval.errors import UserError
from retrieval.reducers import TempMe
from retrieval.search import Index
from retrieval.search.cutting import Cut
from retrieval.search.encoder import Encoder

KILLS, VIDEOS = 20, 60
FRAMES = 4
Kept = dict[str, Any]


class Case:
    """Videos, a model, and what an index of them holds that nobody disturbed."""

    def __init__(self, folder: Path, videos: int) -> None:
        self.folder, self.films, self.notes = folder, folder / "films", folder / "opened"
        self.films.mkdir()
        pixels = np.random.default_rng(0).integers(0, 255, (videos, 24, 32, 32, 3), np.uint8)
        for number, frames in enumerate(pixels):
            encode(self.films / f"{number}.mp4", frames[: 8 + number % 16], fps=4)
        self.encoder = Encoder(load_model("ViT-tiny-8", TempMe(FRAMES, [8, 9], [2, 2])), FRAMES, words=8)
        self.seconds = 0.0
        self.run(folder / "whole")
        self.whole = in_a_fork(lambda: contents(folder / "whole", self.encoder))

    def open(self, path: Path) -> VideoFile:
        with self.notes.open("a") as notes:
            notes.write(f"{path}\n")
        return open_pyav(path)

    def index(self, place: Path, workers: int = 2) -> None:
        """What `retrieval.index` does."""
        make = Index.open if Index.exists(place) else Index.create
        cut = {} if make == Index.open else {"cut": Cut(2.0, 1.0)}
        make(place, self.encoder, **cut).add(self.films, batch_size=4, workers=workers, open=self.open)

    def run(self, place: Path, kill_after: float | None = None) -> int:
        """Index in a process of its own; its exit code, below 0 the signal that ended it.

        Args:
            place: of the index.
            kill_after: share of the time that all videos take without a kill, from the first one on; None: no kill.
        """
        child = forked(lambda: self.index(place))
        ended = (0, 0)
        while not (self.notes.exists() or ended[0]):
            time.sleep(0.002)
            ended = os.waitpid(child, os.WNOHANG)
        start = time.monotonic()
        if kill_after is not None and not ended[0]:
            time.sleep(kill_after * self.seconds)
            os.kill(child, signal.SIGKILL)
        _, status = ended if ended[0] else os.waitpid(child, 0)
        self.seconds = self.seconds or time.monotonic() - start
        return os.waitstatus_to_exitcode(status)

    def opened(self) -> list[str]:
        """The videos that were opened since the last call."""
        lines = self.notes.read_text().splitlines() if self.notes.exists() else []
        self.notes.unlink(missing_ok=True)
        return lines


def main() -> None:
    """Try them; exit code 1 where one did not hold."""
    torch.set_num_threads(1)
    kills, videos = (int(word) for word in sys.argv[1:3]) if len(sys.argv) > 2 else (KILLS, VIDEOS)
    with tempfile.TemporaryDirectory() as name:
        case, luck = Case(Path(name), videos), random.Random(0)
        print(f"{videos} videos, {len(case.whole['rows'])} moments, {case.seconds:.1f} s for all without a kill")
        found: list[bool] = []
        while len(found) < kills:
            found += killed(case, luck, kills - len(found))
        found += full_disk(case)
    print(f"indexing: held {sum(found)} of {len(found)}")
    sys.exit(not all(found))


def killed(case: Case, luck: random.Random, most: int) -> list[bool]:
    """Jobs on one index that are killed, until one ends by itself; whether each kill, and the end, were held."""
    place, held = Path(tempfile.mkdtemp(dir=case.folder)) / "index", []
    written: set[str] = set()
    case.opened()
    while True:
        is_last = len(held) == most
        code = case.run(place, None if is_last else luck.uniform(0, 0.5))
        opened = case.opened()
        again = written & set(opened)
        there = in_a_fork(lambda: contents(place, case.encoder))
        in_flight = len(set(opened) - there["files"].keys())
        if code == 0:
            same = there == case.whole and there["raw"] == len(there["rows"])
            print(f"{word(same and not again)}: the index equals that of a job that was not killed")
            return [*held[:-1], held[-1] and same and not again] if held else []
        held.append(not again and len(opened) == len(set(opened)) and code == -signal.SIGKILL)
        print(
            f"{word(held[-1])}: killed with {len(there['files'])} videos written, {in_flight} in flight; {len(again)} "
            "that had been written were read again",
            flush=True,
        )
        written = set(there["files"])


def full_disk(case: Case) -> list[bool]:
    """A limit on the size of files stands in for the full disk."""
    place = case.folder / "full"

    def with_little_room() -> str:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        Index.create(place, case.encoder, Cut(2.0, 1.0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, resource.RLIM_INFINITY))
        try:
            case.index(place, workers=0)  # the limit is for shared memory, too
        except UserError as error:
            return str(error)
        return "nothing was refused"

    told = in_a_fork(with_little_room)
    there = in_a_fork(lambda: contents(place, case.encoder))
    refused = "cannot be written, is the disk full?" in told
    print(f"{word(refused)}: a full disk ends the job in one line: {told}")
    readable = there["raw"] >= len(there["rows"]) and there["shape"] is not None
    print(f"{word(readable)}: the index can be read, with {len(there['files'])} videos")
    same = case.run(place) == 0 and in_a_fork(lambda: contents(place, case.encoder)) == case.whole
    print(f"{word(same)}: with room the same command goes on to the same index")
    return [refused, readable, same]


def contents(place: Path, encoder: Encoder) -> Kept:
    """All that an index holds: its files, its moments as a reader sees them, and how many rows there are."""
    if not Index.exists(place):
        return {"files": {}, "rows": {}, "raw": 0, "shape": None}
    index = Index.open(place, encoder)
    pictures = index.thumbnails(list(index.moments))
    rows = {
        (moment.path, moment.start, moment.end): (index.vectors[moment.number].numpy().tobytes(), picture)
        for moment, picture in zip(index.moments, pictures, strict=True)
    }
    return {"files": index.files, "rows": rows, "raw": index.storage.count(), "shape": tuple(index.vectors.shape[1:])}


def in_a_fork(look: Callable[[], Any]) -> Any:
    """What a function returns in a process of its own."""
    with tempfile.NamedTemporaryFile() as file:

        def write() -> None:
            Path(file.name).write_bytes(pickle.dumps(look()))

        _, status = os.waitpid(forked(write), 0)
        if status:
            raise RuntimeError(f"ended with {os.waitstatus_to_exitcode(status)}")
        return pickle.loads(Path(file.name).read_bytes())


def forked(work: Callable[[], object]) -> int:
    """The id of a process that does `work`."""
    sys.stdout.flush()
    if child := os.fork():
        return child
    try:
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), 1)
            work()
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def word(held: bool) -> str:
    return "held" if held else "NOT HELD"


if __name__ == "__main__":
    main()
