"""Latency of a sweep's models, measured side by side: all take turns in one run."""

import json
import logging
from collections.abc import Callable, Mapping
from math import isqrt
from pathlib import Path
from statistics import median
from typing import Any

import torch
from jaxtyping import UInt8
from omegaconf import DictConfig
from rich.progress import Progress
from torch import Tensor

from retrieval.efficiency.latency import interleaved, random_videos
from retrieval.errors import UserError
from retrieval.jobs.files import write_json
from retrieval.model import CLIP
from retrieval.model.saved import build_saved
from retrieval.plain import shortened
from retrieval.reducers import Reducer
from retrieval.sweeps.outline import backbone_of
from retrieval.training.building import plain

VIDEOS, ROUNDS, WARMUP = 4, 15, 2
MOST_FRAMES = 1024
FILE = "latency.json"
_log = logging.getLogger(__name__)


def latencies(folder: Path, configs: Mapping[str, DictConfig], left: Mapping[str, float]) -> dict[str, Any]:
    """Milliseconds a video of each model that can be built, and how they were measured.

    They are read from the sweep's `latency.json` if it has them all from this machine, else measured into it.

    Args:
        folder: the sweep's.
        configs: a job's config for each model, by name, as read from its folder.
        left: of those whose tokens depend on the pixels how many a video has had in the end, on average.
    """
    path = folder / FILE
    how = {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "threads": torch.get_num_threads(),
        "videos": VIDEOS,
        "rounds": ROUNDS,
    }
    known = {name: config for name, config in configs.items() if is_known(name, config, folder)}
    backbones = {name: config.backbone.source for name, config in known.items()}
    left = {name: left[name] for name in known if name in left}
    if found := _stored(path, how, backbones, left):
        return found
    measured = how | {"backbones": backbones, "tokens": left, "milliseconds": measure(known, left)}
    write_json(path, measured)
    return measured


def is_known(name: str, config: DictConfig, folder: Path) -> bool:
    """Whether a config asks for a backbone, a number of frames and a reducer; a warning where it does not."""
    try:
        source, frames = config.backbone.source, config.data.frames
        if not isinstance(source, str) or type(frames) is not int or not 0 < frames <= MOST_FRAMES:
            raise UserError(f"{folder}: backbone.source={shortened(source)}, data.frames={shortened(frames)}")
        _reducer(config, str(folder))
    except Exception as error:  # what a file says may be anything, and the report has other rows
        _log.warning("nothing is measured of %s: %s", shortened(name), error)
        return False
    return True


def _stored(
    path: Path, how: dict[str, Any], backbones: dict[str, str], left: dict[str, float]
) -> dict[str, Any] | None:
    """What an earlier report has measured; None if that is damaged, of other models, or measured in another way."""
    try:
        found = json.loads(path.read_text())
        same = found["backbones"].items() >= backbones.items() and found["milliseconds"].keys() >= backbones.keys()
        same &= found["tokens"].items() >= left.items()
        numbers = all(type(each) in (int, float) for each in found["milliseconds"].values())
        return found if same and numbers and how.items() <= found.items() else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def measure(configs: Mapping[str, DictConfig], left: Mapping[str, float] | None = None) -> dict[str, float]:
    """Milliseconds a video, the median over rounds, of towers of the configs' sizes with random weights.

    One that cannot be built, or does not run, has none.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    models: dict[str, CLIP] = {}
    tokens = left or {}
    tried = {name: _call(name, config, models, device, tokens.get(name)) for name, config in configs.items()}
    calls = {name: call for name, call in tried.items() if call is not None}
    if not calls:
        return {}
    with Progress() as progress, torch.inference_mode():
        task = progress.add_task("Measuring latency", total=(ROUNDS + WARMUP) * len(calls))
        seconds = interleaved(
            calls, rounds=ROUNDS, warmup=WARMUP, device=device, finished=lambda _: progress.advance(task)
        )
    return {name: round(1000 * median(each) / VIDEOS, 3) for name, each in seconds.items()}


def _call(
    name: str, config: DictConfig, models: dict[str, CLIP], device: str, left: float | None
) -> Callable[[], Tensor] | None:
    """One call of a config's video tower, without a head, which has run once; None, with a warning, where it cannot.

    Towers of the same backbone share their weights. Where the tokens depend on the pixels, as much of the videos stands
    still as leaves so many of them.
    """
    source = config.backbone.source
    try:
        if source not in models:
            models[source] = backbone_of(source, device).to(device)
        model = models[source].with_reducer(_reducer(config, name))
        frames = random_videos(model, VIDEOS, config.data.frames)
        frames = frames if left is None else standing_still(frames, left, model.visual.shape.patches)
        with torch.inference_mode():
            model.visual(model.pixels(frames))
    except Exception as error:  # what a file says may be anything, and the report has other rows
        _log.warning("no latency of %s: %s", shortened(name), " ".join(str(error).split()) or type(error).__name__)
        return None
    return lambda: model.visual(model.pixels(frames))


def standing_still(
    frames: UInt8[Tensor, "video frame 3 size size"], left: float, patches: int
) -> UInt8[Tensor, "video frame 3 size size"]:
    """The same videos, but in every frame only as many patches differ from the frame before as leave so many tokens.

    Args:
        frames: in which no patch stands still.
        left: tokens of a video without its patches that stand still, a class token a frame among them.
        patches: of a frame, as many in a row as in a column.
    """
    count, side = frames.shape[1], isqrt(patches)
    moving = round((left - count - patches) / max(1, count - 1))
    places = torch.randperm(patches, generator=torch.Generator().manual_seed(0)).to(frames.device)
    mask = (places < moving).view(side, side)
    mask = mask.repeat_interleave(frames.shape[-1] // side, 0).repeat_interleave(frames.shape[-1] // side, 1)
    return frames.where(mask, frames[:, :1])


def _reducer(config: DictConfig, source: str) -> Reducer:
    """The reducer of a config that was read from a file: like a checkpoint's, of known classes alone."""
    saved = plain(config.get("reducer"))
    return Reducer() if saved is None else build_saved(saved, Reducer, source)
