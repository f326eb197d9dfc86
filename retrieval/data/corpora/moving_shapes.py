"""Moving shapes: a small captioned corpus, written on the spot as H.264 files, that no time-blind model can solve.

Captions tell a shape's colour, texture, size, background, speed and moves (see `retrieval.data.scenes`). A share of the
videos comes in twins: the same frames once forward and once reversed, told apart by their moves alone.
A model that is blind to the order of frames can only guess between twins, so its expected R@1 is at most
1 - twin_share / 2. Every frame is coded on its own with one fixed quantiser, so that twins decode to the very same
frames and the codec gives nothing away. A sampler must be even in time for this to hold: `even_frames` is, where a
video lasts fewer seconds than frames are read of it.
"""

import csv
import hashlib
import json
import shutil
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8
from rich.progress import track

from retrieval.data import scenes
from retrieval.data.corpora.base import SPLITS, Corpus, Record
from retrieval.data.corpora.folder import Folder
from retrieval.data.scenes import Scene
from retrieval.errors import UserError
from retrieval.files import write_whole

_FORMAT = 2  # part of the folder's name: raise it whenever the same knobs give other videos
_WRITERS = 2


@dataclass(frozen=True)
class Video:
    """A video to write: its path under the corpus folder, its split, its scene, and the seed of its frames."""

    path: str
    split: str
    scene: Scene
    seed: tuple[int, int]
    is_reversed: bool = False


class MovingShapes(Corpus):
    """Generated videos of moving shapes under `root`/moving_shapes-<hash of the knobs>.

    Args:
        root: the folder that the corpus's folder is written to.
        seed: of the scenes; the same knobs give the same decoded frames.
        train, val, test: videos per split.
        size: side of the square frames in pixels, even.
        fps: frames per second.
        seconds: length of a video.
        twin_share: share of the videos that have a time-reversed twin in their split, 0 to 1.
        captions: captions per video, at most as many as there are wordings.

    Raises:
        UserError: a knob out of its range.
    """

    def __init__(
        self,
        root: str | Path,
        seed: int,
        train: int,
        val: int,
        test: int,
        size: int,
        fps: int,
        seconds: float,
        twin_share: float,
        captions: int,
    ) -> None:
        self.knobs = {
            "format": _FORMAT,
            "seed": seed,
            "videos": {"train": train, "val": val, "test": test},
            "size": size,
            "fps": fps,
            "seconds": float(seconds),
            "twin_share": float(twin_share),
            "captions": captions,
        }
        _check(min(train, val, test) >= 1, "train, val, test", (train, val, test), "at least 1 video each")
        _check(size >= 32 and size % 2 == 0, "size", size, "an even number of pixels, at least 32")
        _check(fps >= 1 and round(fps * seconds) >= 2, "fps, seconds", (fps, seconds), "2 frames or more")
        _check(0 <= twin_share <= 1, "twin_share", twin_share, "from 0 to 1")
        _check(1 <= captions <= len(scenes.TEMPLATES), "captions", captions, f"from 1 to {len(scenes.TEMPLATES)}")
        self.seed, self.videos = seed, {"train": train, "val": val, "test": test}
        self.size, self.fps, self.frames = size, fps, round(fps * seconds)
        self.twin_share, self.captions = twin_share, captions
        digest = hashlib.sha256(json.dumps(self.knobs, sort_keys=True).encode()).hexdigest()
        self.root = Path(root)
        self.folder = self.root / f"moving_shapes-{digest[:8]}"

    def prepare(self) -> None:
        """Write the corpus unless it is there; the folder gets its name only once it is whole."""
        if self.folder.is_dir():
            return
        partial = self.root / f".{self.folder.name}-{uuid.uuid4().hex[:8]}"
        try:
            partial.mkdir(parents=True)
        except OSError as error:
            raise UserError(f"data.root={self.root}: cannot write the corpus there: {error}") from error
        try:
            self._write(partial)
            partial.rename(self.folder)
        except OSError:
            if not self.folder.is_dir():  # else another run was faster
                raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def records(self, split: str) -> list[Record]:
        if not self.folder.is_dir():
            raise UserError(f"data.root={self.root}: {self.folder.name} is missing; prepare() writes it")
        return Folder(self.folder, "captions.csv").records(split)

    def plan(self) -> Iterator[Video]:
        """The videos to write; no scene, nor its reverse, comes a second time in any split (twins apart)."""
        random = np.random.default_rng(self.seed)
        seen: set[Scene] = set()
        for split in SPLITS:
            twins = round(self.videos[split] * self.twin_share / 2)
            for number in range(self.videos[split] - twins):
                scene = _new_scene(random, seen)
                seen |= {scene, scene.reversed()}
                path, seed = f"{split}/{number:05d}", (self.seed, len(seen))
                yield Video(f"{path}.mp4", split, scene, seed)
                if number < twins:
                    yield Video(f"{path}_reversed.mp4", split, scene.reversed(), seed, is_reversed=True)

    def _write(self, folder: Path) -> None:
        videos = list(self.plan())
        for split in SPLITS:
            (folder / split).mkdir()
        with ThreadPoolExecutor(_WRITERS) as pool:
            written = pool.map(lambda video: self._write_video(folder, video), videos)
            for _ in track(written, description=f"Writing {self.folder}", total=len(videos)):
                pass
        with (folder / "captions.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["video", "caption", "split"])
            for video in videos:
                table.writerows(
                    (video.path, text, video.split) for text in scenes.captions_of(video.scene, self.captions)
                )
        write_whole(folder / "manifest.json", json.dumps(self.knobs, indent=2) + "\n")

    def _write_video(self, folder: Path, video: Video) -> None:
        scene = video.scene.reversed() if video.is_reversed else video.scene
        frames = scenes.render(scene, self.frames, self.size, np.random.default_rng(video.seed))
        encode(folder / video.path, frames[::-1] if video.is_reversed else frames, self.fps)


def encode(path: Path, frames: UInt8[np.ndarray, "frame height width 3"], fps: int) -> None:
    """Write an H.264 file whose frames are each coded on their own, by one thread: the same bytes on every run."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"qp": "20", "g": "1", "threads": "1", "preset": "veryfast"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def _new_scene(random: np.random.Generator, seen: set[Scene]) -> Scene:
    while (scene := scenes.random_scene(random)) in seen:
        pass
    return scene


def _check(holds: bool, knob: str, value: object, limit: str) -> None:
    if not holds:
        raise UserError(f"data.corpus: {knob} = {value}, must be {limit}")
