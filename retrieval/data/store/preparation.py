"""Checks every video of a corpus and stores its frames, over as many processes as wanted; may be killed at any moment.

Workers decode and encode, one process writes, a video a transaction: a kill leaves a whole store that lacks the videos
in flight, at most two a worker. What is stored is never decoded again unless its file has changed, or it is damaged.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import lmdb
from rich.progress import track
from torch.utils.data import Dataset

from retrieval.data.corpora.base import Record
from retrieval.data.decoder import Damage, Decoder, VideoError, VideoFile, video_opener
from retrieval.data.decoder.guarded import Open
from retrieval.data.loading import Loader, start_worker
from retrieval.data.sampling import PartError, Sampler, is_variable
from retrieval.data.store.database import PREPARE, environment, lengthen, writable
from retrieval.data.store.entries import Entry, get_entry, put_entry, signature
from retrieval.data.store.frames import FrameStore, encode_jpeg
from retrieval.data.store.repair import examine
from retrieval.errors import UserError

CHUNK = 128  # frames decoded at a time
SHORTFALL = 0.1  # share of its claimed length that a video may lack

Encoded = tuple[Path, Entry, list[bytes]]


@dataclass
class Findings:
    """What was found: how many videos are stored, how many of them by this run, and messages by kind.

    Attributes:
        stored: videos with all their frames in the store.
        decoded: videos that this run decoded.
        missing: no such file.
        unreadable: nothing is stored of them.
        short: end before their container or their annotation says; what there is, is stored.
        damaged: by video, what decoding all of it showed; unless data.check=full, what can be decoded is stored.
        incomplete: lack frames in the store; empty unless the store was tampered with.
        repaired: what was damaged in the store; it is stored again.
    """

    stored: int = 0
    decoded: int = 0
    missing: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    short: list[str] = field(default_factory=list)
    damaged: dict[str, Damage] = field(default_factory=dict)
    incomplete: list[str] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)


class VideoEncoder(Dataset[Encoded]):
    """Videos, each given by its records, to their entries and JPEGs."""

    def __init__(
        self,
        videos: Sequence[Sequence[Record]],
        store: FrameStore,
        open: Open,
        check: str,
        sampler: Sampler,
        frames: int,
    ) -> None:
        self.videos, self.store, self.open, self.check = videos, store, open, check
        self.sampler, self.frames = sampler, frames

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> Encoded:
        records = self.videos[index]
        path = records[0].path
        size, time = signature(path)
        try:
            video = self.open(path)
            damage = None if self.check == "none" else video.examine()
            if damage is not None and self.check == "full":
                raise VideoError(f"{path}: damaged, {damage}; data.check=header stores it all the same")
            kept = self._choose(video, records)
            frames = self._encode(video, kept)
        except VideoError as error:
            return path, Entry(size, time, error=str(error)), []
        found: dict[str, Any] = {"examined": self.check != "none", "damage": None if damage is None else asdict(damage)}
        return path, Entry(size, time, video.total, video.fps, video.claimed, kept, **found, **_timing(video)), frames

    def _choose(self, video: VideoFile, records: Sequence[Record]) -> list[int]:
        """Which of the video's frames to store."""
        kept = set(grid(video.total, video.fps, self.store.rate))
        for record in records:
            with suppress(PartError):  # a part that lies beyond the end: reading it raises
                kept.update(
                    self.sampler(video.total, video.fps, self.frames, record.start, record.end, None, video.times)
                )
        return sorted(kept)

    def _encode(self, video: VideoFile, kept: Sequence[int]) -> list[bytes]:
        parts = (kept[start : start + CHUNK] for start in range(0, len(kept), CHUNK))
        return [encode_jpeg(frame, self.store.quality) for part in parts for frame in video.read(part)]


def _timing(video: VideoFile) -> dict[str, Any]:
    """The fields of an entry that tell when frames are shown: by number where that is what a sampler goes by."""
    times = list(video.times)
    return {"first": times[0], "variable_times": times if is_variable(times, video.fps) else None}


def grid(total: int, fps: float, rate: float | None) -> list[int]:
    """Frames at `rate` a second, from the first on; None: all."""
    if rate is None or rate >= fps:
        return list(range(total))
    return [index for number in range(total) if (index := round(number * fps / rate)) < total]


def prepare(
    records: Iterable[Record],
    store: FrameStore,
    decoder: Decoder,
    sampler: Sampler,
    frames: int,
    num_workers: int,
    check: str = "header",
    deadline: float | None = None,
) -> Findings:
    """Store the frames of all videos of `records`, and check what is stored.

    Args:
        records: of all splits.
        store: where to; made where it is missing.
        decoder: what opens the videos.
        sampler: what it picks in evaluation is stored besides the frames at the store's own rate.
        frames: how many it picks.
        num_workers: processes that decode; 0: this one.
        check: "full": refuse what is damaged; "header": store it and say so; "none": do not decode all of a video.
        deadline: seconds after which a decoder that hangs is killed; None: it is waited for.

    Raises:
        UserError: a store that was written with other settings.
        UserError: the disk is full; what was stored before is kept and can be read.
    """
    store.create()
    environment.cache_clear()  # LMDB opens a file only once in a process
    videos: dict[Path, list[Record]] = {}
    for record in records:
        videos.setdefault(record.path, []).append(record)
    present = {path: parts for path, parts in videos.items() if path.is_file()}
    examined = examine(store, list(present), check)
    todo = [parts for path, parts in present.items() if path not in examined.whole]
    opener = video_opener(decoder, store.short_side, check, deadline)
    encoder = VideoEncoder(todo, store, opener, check, sampler, frames)
    loader = Loader(encoder, batch_size=None, num_workers=num_workers, in_order=False, worker_init_fn=start_worker)
    encoded = iter(loader)  # starts the workers before the store is open: LMDB's handles do not survive a fork
    with writable(str(store.folder)) as database:
        for done, (path, entry, jpegs) in enumerate(track(encoded, "Storing frames", total=len(todo))):
            _write(database, store, path, entry, jpegs, done)
        findings = _checked(database, store, present)
    findings.decoded = len(todo)
    findings.repaired = examined.damage
    findings.missing = [f"{path}: no such file" for path in videos if path not in present]
    return findings


def _write(
    database: lmdb.Environment, store: FrameStore, path: Path, entry: Entry, jpegs: Sequence[bytes], done: int
) -> None:
    try:
        with database.begin(write=True) as transaction:
            put_entry(transaction, store.name(path), entry, jpegs)
        lengthen(str(store.folder))
    except (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.PanicError) as error:
        raise UserError(
            f"data.store.folder={store.folder} is damaged ({error}): delete it, or give another, and {PREPARE}"
        ) from error
    except (lmdb.Error, OSError) as error:
        raise UserError(
            f"data.store.folder={store.folder}: cannot write, is the disk full? ({error}); the {done} videos that this "
            "run has stored can be read, and the same command goes on once there is room"
        ) from error


def _checked(database: lmdb.Environment, store: FrameStore, present: dict[Path, list[Record]]) -> Findings:
    """Go through all that is stored."""
    findings = Findings()
    with database.begin(buffers=True) as transaction:
        for path, records in present.items():
            name = store.name(path)
            entry = get_entry(transaction, name)
            if entry is None or entry.error is not None:
                findings.unreadable.append(str(entry.error if entry else path))
            elif any(transaction.get(entry.key(name, index)) is None for index in entry.stored):
                findings.incomplete.append(f"{path}: frames are missing in {store.folder}; delete the store")
            else:
                findings.stored += 1
                if entry.damage is not None:
                    findings.damaged[str(path)] = Damage(**entry.damage)
                findings.short += _shortfall(path, entry, records)
    return findings


def _shortfall(path: Path, entry: Entry, records: Sequence[Record]) -> list[str]:
    claimed = max(entry.claimed, *(record.end or record.duration or 0.0 for record in records))
    seconds = entry.total / entry.fps
    return [f"{path}: {seconds:.2f} s, not {claimed:.2f} s"] if seconds < (1 - SHORTFALL) * claimed else []
