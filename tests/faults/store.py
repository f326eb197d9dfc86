"""`python -m tests.faults.store`: stores cut short and with flipped bits, read and mended in processes of their own.

Held: no process ends by a signal, and no picture is another than was stored.
"""

import multiprocessing
import random
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from retrieval.data.corpora.base import Record
from retrieval.data.corpora.moving_shapes import encode
from retrieval.data.decoder import open_pyav
from retrieval.data.sampling import even_frames
from retrieval.data.store import FrameStore
from retrieval.data.store.database import environment
from retrieval.data.store.preparation import prepare
from retrieval.errors import UserError

CUTS, FLIPS = 40, 120
VIDEOS, FRAMES = 4, 12
SAME, REFUSED, OTHER = 0, 10, 11  # exit codes
WORDS = {SAME: "the same pictures", REFUSED: "refused in words", OTHER: "OTHER PICTURES"}
FORK = multiprocessing.get_context("fork")


def main() -> None:
    """Damage a small store again and again; exit code 1 where anything did not hold."""
    torch.set_num_threads(1)
    luck = random.Random(0)
    with TemporaryDirectory() as name:
        case = Case(Path(name))
        size = len(case.content)
        damages = [("cut", case.content[: luck.randrange(size)]) for _ in range(CUTS)]
        damages += [("flipped", flip(case.content, luck.randrange(8 * size))) for _ in range(FLIPS)]
        ends = Counter(end for kind, content in damages for end in case.ends(kind, content))
    for (kind, step, code), count in sorted(ends.items()):
        print(f"{kind}, {step}: {WORDS.get(code, f'ENDED WITH {code}')}: {count}")
    held = sum(count for (_, step, code), count in ends.items() if code == SAME or (code, step) == (REFUSED, "read"))
    print(f"store: held {held} of {ends.total()}")
    sys.exit(held < ends.total())


class Case:
    """A small store, whole, and what is read from it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.records = folder, []
        pixels = np.random.default_rng(0).integers(0, 255, (VIDEOS, FRAMES, 64, 64, 3), np.uint8)
        for number, frames in enumerate(pixels):
            path = folder / f"{number}.mp4"
            encode(path, frames, fps=4)
            self.records.append(Record(path.name, path, ("noise",)))
        self.store = FrameStore(folder / "frames", folder, short_side=32, quality=90, rate=None)
        self.mend()
        self.data = folder / "frames" / "data.mdb"
        self.content = self.data.read_bytes()
        self.pictures = [self.store.open(record.path).read(range(FRAMES)).clone() for record in self.records]
        environment.cache_clear()

    def ends(self, kind: str, content: bytes) -> list[tuple[str, str, int]]:
        """Exit codes of reading a damaged store, and of preparing it again and reading then."""
        shutil.rmtree(self.data.parent)
        self.store.create()
        self.data.write_bytes(content)
        return [(kind, "read", self.alone(self.read)), (kind, "prepared and read", self.alone(self.mend_and_read))]

    def alone(self, step: Callable[[], int]) -> int:
        """The exit code of a step in a process of its own; below 0 the signal that ended it."""
        process = FORK.Process(target=lambda: sys.exit(step()))
        process.start()
        process.join(60)
        process.kill()
        return process.exitcode if process.exitcode is not None else -signal.SIGALRM

    def read(self) -> int:
        """All pictures: the same, others, or none."""
        refused = 0
        for record, pictures in zip(self.records, self.pictures, strict=True):
            try:
                if not self.store.open(record.path).read(range(FRAMES)).equal(pictures):
                    return OTHER
            except UserError:
                refused += 1
        return REFUSED if refused else SAME

    def mend(self) -> None:
        """Prepare the store."""
        with redirect_stdout(StringIO()):
            prepare(self.records, self.store, open_pyav, even_frames, FRAMES, 0)

    def mend_and_read(self) -> int:
        """Prepare the store and read it."""
        self.mend()
        return self.read()


def flip(content: bytes, place: int) -> bytes:
    """With another bit at `place`."""
    flipped = bytearray(content)
    flipped[place // 8] ^= 1 << place % 8
    return bytes(flipped)


if __name__ == "__main__":
    main()
