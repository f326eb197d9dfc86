"""What the GPU's benchmark measures, the cases that its targets need first."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

from retrieval.efficiency.benchmark.straightforward import StraightforwardKMedoids
from retrieval.reducers import KMedoids, Reducer, TempMe

STRAIGHTFORWARD, FP32, BF16, COMPILED, GRAPHS = "straightforward fp32", "fp32", "bf16", "bf16 compiled", "CUDA graphs"
STAGES = ("inference", "training step")
LONG = 60
"""Frames of the case of k-medoids' memory, in 12 segments."""


@dataclass(frozen=True)
class Case:
    """A measurement: how many videos a batch, of how many frames, in which way.

    `way` is how the towers run: the straightforward implementation of the published procedure, or ours in a precision,
    compiled block by block, or whole as CUDA graphs (in bf16).
    """

    backbone: str
    reducer: str
    stage: str
    way: str
    batch: int
    frames: int = 12

    def __str__(self) -> str:
        return f"{self.backbone}, {self.reducer}, {self.stage}, {self.way}, {self.batch} x {self.frames} frames"


def plan(device: str) -> list[Case]:
    """All cases for a device; on the CPU a few in fp32, since most processors emulate bf16."""
    if device == "cpu":
        return [*long_videos("ViT-tiny-8", FP32, 1), *grid(["ViT-tiny-8"], [STRAIGHTFORWARD, FP32], [2])]
    backbones, batches = ["ViT-B-16-quickgelu", "ViT-B-32-quickgelu"], [32, 1, 128]
    cases = [*grid(backbones, [STRAIGHTFORWARD, FP32, BF16, COMPILED], batches), *long_videos(backbones[1], BF16, 8)]
    graphs = grid(backbones, [GRAPHS], sorted(batches))
    return sorted(cases, key=lambda case: backbones.index(case.backbone)) + graphs


def grid(backbones: list[str], ways: list[str], batches: list[int]) -> list[Case]:
    """All combinations."""
    combined = product(backbones, batches, STAGES, ways, ("none", "tempme", "kmedoids"))
    return [Case(backbone, reducer, stage, way, batch) for backbone, batch, stage, way, reducer in combined]


def long_videos(backbone: str, way: str, batch: int) -> list[Case]:
    """Memory and time of k-medoids where videos are long."""
    return [Case(backbone, each, stage, way, batch, LONG) for stage in STAGES for each in ("none", "kmedoids")]


def reducer_of(case: Case) -> Reducer:
    """The reducer as its paper has it for the backbone."""
    return _REDUCERS[case.reducer](case)


def _tempme(case: Case) -> Reducer:
    if "B-16" in case.backbone:
        return TempMe(case.frames, image_merge=10, merge_ratio=0.4, intra_merge_ratio=0.2)
    return TempMe(case.frames)


def _kmedoids(case: Case) -> Reducer:
    kind = StraightforwardKMedoids if case.way == STRAIGHTFORWARD else KMedoids
    clusters = 160 if "B-16" in case.backbone else 49
    return kind(case.frames, num_segments=12 if case.frames == LONG else 4, num_clusters=clusters)


_REDUCERS: dict[str, Callable[[Case], Reducer]] = {
    "none": lambda case: Reducer(),
    "tempme": _tempme,
    "kmedoids": _kmedoids,
}
