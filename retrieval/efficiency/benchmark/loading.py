"""Videos per second by each decoder and from stored frames, side by side on the same files, and in training steps."""

import os
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import av
import numpy as np
import torch
from jaxtyping import Float
from rich.table import Table
from torch.optim import SGD
from torch.utils.data import DataLoader

from retrieval import load_model
from retrieval.data.batches import collate_videos
from retrieval.data.corpora.base import Record
from retrieval.data.dataset import EvaluationVideos, FrameReader, Open
from retrieval.data.decoder import VideoError, find_torchcodec, open_decord, open_pyav
from retrieval.data.sampling import even_frames
from retrieval.data.store import FrameStore
from retrieval.data.store.preparation import prepare
from retrieval.data.transforms import resize_and_crop
from retrieval.efficiency.latency import random_videos, timed
from retrieval.efficiency.profile.settings import Case
from retrieval.efficiency.profile.training import train_step
from retrieval.errors import UserError
from retrieval.jobs.announcing import tell
from retrieval.model import CLIP

SECONDS, FPS, WIDTH, HEIGHT = 10, 30, 320, 240
NOISE = 10.0  # standard deviation of the camera's noise, in levels of 255
ROUNDS = 3
Rates = Mapping[int, Mapping[str, float]]
"""Videos per second through a loader, by its workers and by what the frames are read from."""


def run(arguments: Namespace) -> None:
    """Measure, and print the tables."""
    model = load_model(arguments.backbone)
    with TemporaryDirectory() as folder:
        decoders = _decoders()
        root = arguments.videos or _generated(Path(folder, "videos"), arguments.count)
        paths = readable(root, decoders)
        records = [Record(str(path.relative_to(root)), path, ("a video",)) for path in paths]
        store = FrameStore(Path(folder, "frames"), root, short_side=224, quality=95, rate=3.0)
        prepare(records, store, open_pyav, even_frames, arguments.frames, os.cpu_count() or 1)
        readers = {
            name: FrameReader(arguments.frames, even_frames, resize_and_crop(model.image_size), read_from)
            for name, read_from in (decoders | {"store": store.open}).items()
        }
        tell(_core_table(core_seconds(readers, records), arguments.frames))
        rates = _loader_rates(records, readers, arguments.workers)
        tell(_loader_table(rates, model.image_size))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    step = step_seconds(model.to(device), arguments.frames, arguments.batch_size)
    tell(f"{arguments.backbone} on {device}: a training step of {arguments.batch_size} videos takes {step:.3f} s")
    tell(_share_table(rates, arguments.batch_size / step))
    tell(advice(rates, arguments.batch_size / step))


def readable(root: Path, decoders: Mapping[str, Open]) -> list[Path]:
    """The files under `root` and its folders that every decoder reads; the others are told.

    Raises:
        UserError: fewer than 2.
    """
    paths, left_out = [], []
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        try:
            for open_video in decoders.values():
                open_video(path).read([0])
            paths.append(path)
        except VideoError as error:
            left_out.append(str(error))
    for message in left_out:
        tell(f"left out: {message}")
    if len(paths) < 2:
        raise UserError(f"--videos {root}: needs 2 videos or more, there are {len(paths)}")
    return paths


def core_seconds(readers: Mapping[str, FrameReader], records: Sequence[Record]) -> dict[str, list[float]]:
    """CPU seconds of one core per video in each round; in a round all take turns at every video."""
    rounds: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(ROUNDS):
        spent = dict.fromkeys(readers, 0.0)
        for record in records:
            for name, reader in readers.items():
                start = time.process_time()
                reader(record)
                spent[name] += time.process_time() - start
        for name, seconds in spent.items():
            rounds[name].append(seconds / len(records))
    return rounds


def loading_rate(records: Sequence[Record], reader: FrameReader, num_workers: int) -> float:
    """Videos per second through a data loader, its start not counted."""
    videos = EvaluationVideos(records, reader, "raise")
    batches = iter(DataLoader(videos, batch_size=1, num_workers=num_workers, collate_fn=collate_videos))
    next(batches)
    start = time.perf_counter()
    rest = sum(1 for _ in batches)
    return rest / (time.perf_counter() - start)


def step_seconds(model: CLIP, frames: int, batch_size: int, steps: int = 3) -> float:
    """Seconds of a training step, the fastest of some: both towers, the loss, and all gradients."""
    videos = random_videos(model, batch_size, frames)
    captions = torch.ones(batch_size, 32, dtype=torch.long, device=videos.device)
    step = partial(
        train_step, model, SGD(model.parameters(), lr=0.0), videos, captions, Case("none", batch_size, "fp32", False)
    )
    return min(timed(step, videos.device) for _ in range(steps))


def advice(rates: Rates, consumed: float) -> str:
    """Which knob to turn so that reading does not hold training up.

    Args:
        rates: as `_loader_rates` measures them, from video files and from the store.
        consumed: videos per second of a training step that never waits.
    """
    rates = {count: sources for count, sources in rates.items() if count}  # without workers each step waits
    if not rates:
        return "reading holds training up: with data.num_workers=0 each step waits for its batch: take 1 or more"
    for source, knob in (("decord", "data.frames_from=video"), ("store", "data.frames_from=store")):
        enough = [count for count, sources in rates.items() if sources[source] >= consumed]
        if enough:
            return f"reading keeps up with training from data.num_workers={min(enough)} on, with {knob}"
    most = max(rates, key=lambda count: rates[count]["store"])
    share = rates[most]["store"] / consumed
    return (
        f"reading holds training up: from stored frames (data.frames_from=store) with data.num_workers={most} it "
        f"delivers {100 * share:.0f} % of what a step takes: give the job more cores, or lower data.frames or "
        "data.short_side"
    )


def write_video(path: Path, seed: int) -> None:
    """A moving texture under camera noise, in H.264 with one key frame: every frame needs all before it.

    With as much noise as makes decoding cost about what a busy real clip of this size does; calm ones cost less.
    """
    random = np.random.default_rng(seed)
    picture = landscape(random)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"g": str(SECONDS * FPS), "sc_threshold": "0"}
        for step in range(SECONDS * FPS):
            window = picture[step : step + HEIGHT, step : step + WIDTH]
            noisy = window + random.normal(0, NOISE, window.shape).astype(np.float32)
            frame = noisy.clip(0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def landscape(random: np.random.Generator) -> Float[np.ndarray, "height width 3"]:
    """A picture larger than a frame whose detail falls off as nature's does: each octave half as strong as the last."""
    size = (HEIGHT + SECONDS * FPS, WIDTH + SECONDS * FPS)
    picture = np.full((*size, 3), 128.0, np.float32)
    for scale in (64, 32, 16, 8, 4):
        grid = torch.from_numpy(random.normal(0, scale, (1, 3, size[0] // scale, size[1] // scale)).astype(np.float32))
        octave = torch.nn.functional.interpolate(grid, size, mode="bicubic")[0].permute(1, 2, 0)
        picture += octave.numpy()
    return picture


def _decoders() -> dict[str, Open]:
    decoders: dict[str, Open] = {"decord": open_decord, "pyav": open_pyav}
    try:
        decoders["torchcodec"] = find_torchcodec()
    except UserError as error:
        tell(f"not measured: {error}")
    return decoders


def _generated(folder: Path, count: int) -> Path:
    if count < 2:
        raise UserError(f"--count {count}: needs 2 videos or more")
    folder.mkdir()
    for number in range(count):
        write_video(folder / f"{number}.mp4", number)
    return folder


def _core_table(rounds: Mapping[str, Sequence[float]], frames: int) -> Table:
    """Times are medians over rounds; the ratio to decord is the median of the rounds' ratios."""
    seconds = {name: median(values) for name, values in rounds.items()}
    decoder = min((name for name in seconds if name != "store"), key=lambda name: seconds[name])
    fastest = min(seconds, key=lambda name: seconds[name])
    caption = f"fastest: {fastest}; of the decoders: {decoder} (data/decoder={decoder})"
    table = Table(title=f"{frames} frames of a video, on one core", caption=caption)
    for column in ("from", "ms a video", "videos/s", "speed-up over decord"):
        table.add_column(column, justify="right" if column != "from" else "left")
    for name, values in rounds.items():
        ratio = median(theirs / ours for theirs, ours in zip(rounds["decord"], values, strict=True))
        table.add_row(name, f"{1000 * seconds[name]:.1f}", f"{1 / seconds[name]:.1f}", f"{ratio:.2f} x")
    return table


def _loader_rates(
    records: Sequence[Record], readers: Mapping[str, FrameReader], workers: Sequence[int] | None
) -> Rates:
    cores = os.cpu_count() or 1
    counts = workers or [0, *(2**power for power in range(cores.bit_length()) if 2**power <= cores)]
    return {count: {name: loading_rate(records, reader, count) for name, reader in readers.items()} for count in counts}


def _loader_table(rates: Rates, size: int) -> Table:
    title = f"videos/s through the loader, resized to {size} pixels, {os.cpu_count()} cores"
    return _by_workers(title, rates, lambda rate: f"{rate:.1f}")


def _share_table(rates: Rates, consumed: float) -> Table:
    """Reading a batch beside the training step that takes it: above 100 % the step waits."""
    return _by_workers("reading, in % of the step", rates, lambda rate: f"{100 * consumed / rate:.0f}")


def _by_workers(title: str, rates: Rates, shown: Callable[[float], str]) -> Table:
    table = Table(title=title)
    for column in ("workers", *next(iter(rates.values()))):
        table.add_column(column, justify="right")
    for count, sources in rates.items():
        table.add_row(str(count), *map(shown, sources.values()))
    return table
