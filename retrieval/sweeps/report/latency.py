"""Latency of a sweep's models, measured side by side: all take turns in one run."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.progress import Progress
from torch import Tensor

from retrieval.efficiency.latency import interleaved
from retrieval.model import CLIP
from retrieval.sweeps.outline import outline

VIDEOS, ROUNDS, WARMUP = 4, 15, 2
FILE = "latency.json"


def latencies(folder: Path, configs: Mapping[str, DictConfig]) -> dict[str, Any]:
    """Milliseconds a video of each model, from the sweep's `latency.json` if it has them all, else measured into it.

    Args:
        folder: the sweep's.
        configs: a job's config for each model, by name.
    """
    path = folder / FILE
    if path.is_file():
        found = json.loads(path.read_text())
        if found["milliseconds"].keys() >= configs.keys():
            return found
    measured = measure(configs)
    path.write_text(json.dumps(measured, indent=2) + "\n")
    return measured


def measure(configs: Mapping[str, DictConfig]) -> dict[str, Any]:
    """Measure models of the configs' sizes with random weights; the median over rounds, and where it was measured."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    models: dict[str, CLIP] = {}
    calls = {name: _call(config, models, device) for name, config in configs.items()}
    with Progress() as progress, torch.inference_mode():
        task = progress.add_task("Measuring latency", total=(ROUNDS + WARMUP) * len(calls))
        seconds = interleaved(
            calls,
            rounds=ROUNDS,
            warmup=WARMUP,
            synchronize=torch.cuda.synchronize if device == "cuda" else None,
            finished=lambda _: progress.advance(task),
        )
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else "CPU",
        "threads": torch.get_num_threads(),
        "videos": VIDEOS,
        "rounds": ROUNDS,
        "milliseconds": {name: round(1000 * median(each) / VIDEOS, 3) for name, each in seconds.items()},
    }


def _call(config: DictConfig, models: dict[str, CLIP], device: str) -> Callable[[], Tensor]:
    """One call of a config's video tower; models of the same backbone share their weights."""
    source = config.backbone.source
    if source not in models:
        models[source] = outline(config, device).to(device)
    model = models[source].with_reducer(instantiate(config.reducer, _convert_="all"))
    shape = (VIDEOS, config.data.frames, 3, model.image_size, model.image_size)
    frames = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
    return partial(model.encode_video, frames)
