"""Videos per second from video files and from stored frames, beside what the model consumes."""

import os
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
import torch
from jaxtyping import Float
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader

from retrieval import load_model
from retrieval.data.corpora.base import Record
from retrieval.data.dataset import ClipReader, EvaluationVideos, Read
from retrieval.data.decoding import decode
from retrieval.data.sampling import even_frames
from retrieval.data.store import FrameStore
from retrieval.data.store.preparation import prepare
from retrieval.data.transforms import resize_and_crop
from retrieval.errors import UserError
from retrieval.model import CLIP

SECONDS, FPS, WIDTH, HEIGHT = 10, 30, 320, 240
NOISE = 10.0  # standard deviation of the camera's noise, in levels of 255


def configure(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--videos", type=Path, help="a folder of videos; default: generated ones of 10 s, 320 x 240")
    parser.add_argument("--count", type=int, default=16, help="videos that are generated (default 16)")
    parser.add_argument("--frames", type=int, default=12, help="frames per video (default 12)")
    parser.add_argument("--workers", type=int, nargs="+", help="worker counts (default 0, 1, 2, 4 … up to the cores)")
    parser.add_argument("--backbone", default="ViT-B-32", help="the model that consumes (default ViT-B-32)")
    parser.add_argument("--batch-size", type=int, default=8, help="videos per training step (default 8)")


def run(arguments: Namespace) -> None:
    """Measure, and print the tables."""
    console = Console()
    model = load_model(arguments.backbone)
    with TemporaryDirectory() as folder:
        paths = _videos(arguments, Path(folder))
        records = [Record(path.name, path, ("a video",)) for path in paths]
        store = FrameStore(Path(folder, "frames"), paths[0].parent, short_side=224, quality=95, rate=3.0)
        prepare(records, store, even_frames, arguments.frames, os.cpu_count() or 1)
        readers: dict[str, Read] = {"video": decode, "store": store.read}
        console.print(_core_table(paths, readers, arguments.frames))
        console.print(_loader_table(records, readers, arguments, model.image_size))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rate = consumption(model.to(device), arguments.frames, arguments.batch_size)
    console.print(f"{arguments.backbone} trains on {rate:.1f} videos/s of {arguments.frames} frames on {device}")


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


def core_seconds(read: Read, paths: Sequence[Path], frames: int) -> float:
    """CPU seconds of one core per video, the best of three rounds; files are in the cache after the first."""
    choose = partial(even_frames, count=frames)
    rounds = []
    for _ in range(3):
        start = time.process_time()
        for path in paths:
            read(path, choose)
        rounds.append((time.process_time() - start) / len(paths))
    return min(rounds)


def loading_rate(records: Sequence[Record], reader: ClipReader, num_workers: int) -> float:
    """Videos per second through a data loader, its start not counted."""
    loader = DataLoader(EvaluationVideos(records, reader, "raise"), batch_size=1, num_workers=num_workers)
    batches = iter(loader)
    next(batches)
    start = time.perf_counter()
    rest = sum(1 for _ in batches)
    return rest / (time.perf_counter() - start)


def consumption(model: CLIP, frames: int, batch_size: int, steps: int = 3) -> float:
    """Videos per second that training consumes: forward and backward through the video tower."""
    device = next(model.parameters()).device
    batch = torch.randn(batch_size, frames, 3, model.image_size, model.image_size, device=device)
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        model.encode_video(batch).sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return batch_size / min(seconds)


def _videos(arguments: Namespace, folder: Path) -> list[Path]:
    if arguments.videos is not None:
        paths = sorted(path for path in arguments.videos.iterdir() if path.is_file())
        if len(paths) < 2:
            raise UserError(f"--videos {arguments.videos}: needs 2 videos or more, there are {len(paths)}")
        return paths
    paths = [folder / f"{number}.mp4" for number in range(arguments.count)]
    for number, path in enumerate(paths):
        write_video(path, number)
    return paths


def _core_table(paths: Sequence[Path], readers: dict[str, Read], frames: int) -> Table:
    seconds = {name: core_seconds(read, paths, frames) for name, read in readers.items()}
    table = Table(title=f"{frames} frames of a video, on one core")
    for column in ("from", "ms a video", "videos/s", "faster"):
        table.add_column(column, justify="right" if column != "from" else "left")
    for name, value in seconds.items():
        table.add_row(name, f"{1000 * value:.1f}", f"{1 / value:.1f}", f"{seconds['video'] / value:.1f} x")
    return table


def _loader_table(records: Sequence[Record], readers: dict[str, Read], arguments: Namespace, size: int) -> Table:
    cores = os.cpu_count() or 1
    counts = arguments.workers or [0, *(2**power for power in range(cores.bit_length()) if 2**power <= cores)]
    table = Table(title=f"videos/s through the loader, resized to {size} pixels, {cores} cores")
    for column in ("workers", *readers):
        table.add_column(column, justify="right")
    for count in counts:
        clips = [ClipReader(arguments.frames, even_frames, resize_and_crop(size), read) for read in readers.values()]
        table.add_row(str(count), *(f"{loading_rate(records, reader, count):.1f}" for reader in clips))
    return table
