"""Our towers with TempMe beside the published procedure: as they are, compiled, checkpointed, and what they spend."""

import os
import tempfile
from argparse import Namespace
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median
from time import perf_counter, process_time

import torch
from rich.table import Table
from torch.nn import functional as F
from torch.optim import AdamW
from torch.profiler import ProfilerActivity, profile

from retrieval.efficiency import in_clean_memory, peak_memory
from retrieval.efficiency.benchmark.materialised import materialise
from retrieval.efficiency.latency import random_videos
from retrieval.jobs.announcing import tell
from retrieval.model import CLIP, load_model
from retrieval.model.halves import checkpoint_blocks, compile_blocks
from retrieval.model.tuning import lora
from retrieval.reducers import TempMe

FRAMES, WORDS = 12, 32
Step = Callable[[], object]


@dataclass(frozen=True)
class Taken:
    """Seconds of a call on the clock, and those of all cores that worked on it; other programs slow the clock alone."""

    clock: float
    processor: float


def published(model: CLIP) -> None:
    """As the published code computes."""
    materialise(model)


def ours(model: CLIP) -> None:
    """As we do."""


def block_by_block(model: CLIP) -> None:
    """Compiled once for all blocks."""
    compile_blocks(model)


def whole_towers(model: CLIP) -> None:
    """Compiled, each tower to one graph for one shape."""
    model.visual.compile(dynamic=False)
    model.text.compile(dynamic=False)


PROFILED, DEAREST = ("published procedure", "ours"), 5
"""Ways whose operations are counted, and how many of these are shown."""
WAYS = {"published procedure": published, "ours": ours, "block by block": block_by_block, "whole towers": whole_towers}


def run(arguments: Namespace) -> None:
    """Measure and print the tables."""
    ways = {name: way for name, way in WAYS.items() if arguments.whole or way is not whole_towers}
    base = load_model(arguments.backbone)
    for stage in ("inference", "training"):
        steps = {name: _step(base, way, stage, arguments.videos) for name, way in ways.items()}
        tell(_beside(steps, stage, arguments.rounds))
        tell(_dearest(steps, stage))
    tell(_checkpoints(arguments.backbone, arguments.videos))
    tell(_first_calls(arguments.backbone, arguments.videos))


def _step(base: CLIP, way: Callable[[CLIP], None], stage: str, videos: int) -> Step:
    """Encode videos, adapters merged, which the published code does not do; or train the adapters on pairs."""
    model = base.with_reducer(TempMe(FRAMES))
    frames = random_videos(model, videos, FRAMES)
    if stage == "training" or way is published:
        lora(model)
    way(model)
    if stage == "inference":
        return partial(_encode, model.eval(), frames)
    optimizer = AdamW([each for each in model.parameters() if each.requires_grad], lr=0.0)
    return partial(_train, model.train(), optimizer, frames)


@torch.inference_mode()
def _encode(model: CLIP, frames: torch.Tensor) -> None:
    model.encode_video(frames)


def _train(model: CLIP, optimizer: AdamW, frames: torch.Tensor) -> None:
    optimizer.zero_grad()
    words = torch.ones(len(frames), WORDS, dtype=torch.long)
    logits = model.similarity(model.encode_text(words), model.encode_video(frames))
    F.cross_entropy(logits, torch.arange(len(frames))).backward()
    optimizer.step()


def _taken(step: Step) -> Taken:
    clock, processor = perf_counter(), process_time()
    step()
    return Taken(perf_counter() - clock, process_time() - processor)


def _beside(steps: dict[str, Step], stage: str, rounds: int) -> Table:
    """All ways take turns in each round, another one first; the first call of each does not count."""
    for step in steps.values():
        step()
    turns = deque(steps)
    taken: dict[str, list[Taken]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name in turns:
            taken[name].append(_taken(steps[name]))
        turns.rotate(1)
    result = Table(title=f"{stage}, fp32, {torch.get_num_threads()} threads, median of {rounds} rounds")
    for column in (stage, "seconds", "as fast", "processor seconds", "as fast"):
        result.add_column(column, justify="right" if result.columns else "left")
    theirs = next(iter(taken.values()))
    for name, each in taken.items():
        row = [name]
        for clock in ("clock", "processor"):
            ratios = [getattr(a, clock) / getattr(b, clock) for a, b in zip(theirs, each, strict=True)]
            row += [f"{median(getattr(one, clock) for one in each):.2f}", f"{median(ratios):.2f} x"]
        result.add_row(*row)
    return result


def _dearest(steps: dict[str, Step], stage: str) -> Table:
    """The operations that take most of a call's time, by the profiler's count of what each takes itself."""
    result = Table(title=f"{stage}: the dearest operations, share of the time of all")
    columns = []
    for name in PROFILED:
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            steps[name]()
        spent = {each.key: each.self_cpu_time_total for each in profiled.key_averages()}
        dearest = sorted(spent, key=lambda key: -spent[key])[:DEAREST]
        columns.append([f"{key.removeprefix('aten::')} {spent[key] / sum(spent.values()):.1%}" for key in dearest])
        result.add_column(name)
    for row in zip(*columns, strict=True):
        result.add_row(*row)
    return result


def _checkpoints(backbone: str, videos: int) -> Table:
    result = Table(title=f"A training step of all parameters, {videos} videos, each in a process of its own")
    for column in ("checkpoints", "peak MiB", "seconds", "processor seconds"):
        result.add_column(column, justify="right" if result.columns else "left")
    for name, every in (("none", False), ("every second block", 2), ("every block", True)):
        peak, taken = in_clean_memory("cpu", _peak, backbone, videos, every)
        result.add_row(name, f"{peak / 2**20:.0f}", f"{taken.clock:.2f}", f"{taken.processor:.2f}")
    return result


def _peak(backbone: str, videos: int, every: bool | int) -> tuple[int, Taken]:
    """Bytes that a step needs beyond the weights, and its time."""
    model = load_model(backbone, TempMe(FRAMES)).train()
    checkpoint_blocks(model, every)
    optimizer = AdamW(model.parameters(), lr=0.0)
    _train(model, optimizer, random_videos(model, 1, FRAMES))
    optimizer.zero_grad()
    before = peak_memory("cpu", reset=True)
    taken = _taken(partial(_train, model, optimizer, random_videos(model, videos, FRAMES)))
    return peak_memory("cpu") - before, taken


def _first_calls(backbone: str, videos: int) -> Table:
    """What the first call of a process costs, compiled block by block, by what earlier processes left."""
    result = Table(title="The first call, block by block, in a process of its own")
    for column in ("kept from before", "seconds", "processor seconds", "seconds of the next call"):
        result.add_column(column, justify="right" if result.columns else "left")
    for stage in ("inference", "training"):
        with tempfile.TemporaryDirectory() as folder:
            for kept, graphs in (("nothing", "one"), ("torch's compiled header", "two"), ("all graphs", "two")):
                first, second = in_clean_memory("cpu", _first_two, backbone, videos, stage, folder, graphs)
                result.add_row(f"{stage}: {kept}", *(f"{x:.1f}" for x in (first.clock, first.processor, second.clock)))
    return result


def _first_two(backbone: str, videos: int, stage: str, folder: str, graphs: str) -> tuple[Taken, Taken]:
    tempfile.tempdir = folder  # where torch keeps the header that all of a machine's graphs include
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{folder}/{graphs}"
    step = _step(load_model(backbone), block_by_block, stage, videos)
    return _taken(step), _taken(step)
