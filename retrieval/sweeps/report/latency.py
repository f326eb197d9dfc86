"""Latency of a sweep's models, measured side by side: all take turns in one run."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch
from omegaconf import DictConfig
from rich.progress import Progress
from torch import Tensor

from retrieval.efficiency.latency import interleaved, random_videos
from retrieval.jobs.files import write_json
from retrieval.model import CLIP
from retrieval.reducers import Reducer
from retrieval.sweeps.outline import outline
from retrieval.training.building import built, plain

VIDEOS, ROUNDS, WARMUP = 4, 15, 2
FILE = "latency.json"


def latencies(folder: Path, configs: Mapping[str, DictConfig]) -> dict[str, Any]:
    """Milliseconds a video of each model, and how they were measured.

    They are read from the sweep's `latency.json` if it has them all from this machine, else measured into it.

    Args:
        folder: the sweep's.
        configs: a job's config for each model, by name.
    """
    path = folder / FILE
    how = {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "threads": torch.get_num_threads(),
        "videos": VIDEOS,
        "rounds": ROUNDS,
    }
    backbones = {name: config.backbone.source for name, config in configs.items()}
    if found := _stored(path, how, backbones):
        return found
    measured = how | {"backbones": backbones, "milliseconds": measure(configs)}
    write_json(path, measured)
    return measured


def _stored(path: Path, how: dict[str, Any], backbones: dict[str, str]) -> dict[str, Any] | None:
    """What an earlier report has measured; None if that is damaged, of other models, or measured in another way."""
    try:
        found = json.loads(path.read_text())
        same = found["backbones"].items() >= backbones.items() and found["milliseconds"].keys() >= backbones.keys()
        return found if same and how.items() <= found.items() else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def measure(configs: Mapping[str, DictConfig]) -> dict[str, float]:
    """Milliseconds a video, the median over rounds, of towers of the configs' sizes with random weights."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    models: dict[str, CLIP] = {}
    calls = {name: _call(config, models, device) for name, config in configs.items()}
    with Progress() as progress, torch.inference_mode():
        task = progress.add_task("Measuring latency", total=(ROUNDS + WARMUP) * len(calls))
        seconds = interleaved(
            calls, rounds=ROUNDS, warmup=WARMUP, device=device, finished=lambda _: progress.advance(task)
        )
    return {name: round(1000 * median(each) / VIDEOS, 3) for name, each in seconds.items()}


def _call(config: DictConfig, models: dict[str, CLIP], device: str) -> Callable[[], Tensor]:
    """One call of a config's video tower, without its head; towers of the same backbone share their weights."""
    source = config.backbone.source
    if source not in models:
        models[source] = outline(config, device).to(device)
    model = models[source].with_reducer(built(plain(config.get("reducer"))) or Reducer())
    frames = random_videos(model, VIDEOS, config.data.frames)
    return lambda: model.visual(model.pixels(frames))
