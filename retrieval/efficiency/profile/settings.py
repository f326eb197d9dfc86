"""What a profile measures: the `profile` part of `conf/profile.yaml`, checked."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch

from retrieval.errors import UserError
from retrieval.model.halves import check_checkpointing
from retrieval.training.micro_batches import check_micro_batch

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
STAGES = ("inference", "training")
AXES = (
    "reducers",
    "stages",
    "tunings",
    "batch_sizes",
    "precisions",
    "compile",
    "micro_batches",
    "checkpointing",
)


@dataclass(frozen=True)
class Case:
    """One measurement: a reducer, by its label, at a batch size and a precision, compiled or not.

    `tuning` is the label of that of a training step, None where a batch is encoded; `micro_batch` is how many of its
    pairs are encoded at a time, None: all; `checkpointing` is that of its blocks.
    """

    reducer: str
    batch_size: int
    precision: str
    compiled: bool
    tuning: str | None = None
    micro_batch: int | None = None
    checkpointing: bool | int = False


@dataclass(frozen=True)
class Settings:
    """The knobs of a profile; for their meaning see `conf/profile.yaml`.

    Raises:
        UserError: a knob out of its range, or CUDA where there is none.
    """

    reducers: Sequence[str | dict[str, Any]]
    stages: Sequence[str]
    tunings: Sequence[str | dict[str, Any]] | None
    batch_sizes: Sequence[int]
    precisions: Sequence[str]
    compile: Sequence[Any]
    micro_batches: Sequence[int | None]
    checkpointing: Sequence[bool | int]
    memory: bool
    cards: Sequence[float | int]
    device: str
    rounds: int
    warmup: int
    pretrained: bool

    def __post_init__(self) -> None:
        for knob in AXES:
            values = getattr(self, knob)
            if values is None or (knob == "batch_sizes" and not values):
                continue
            if not values or any(value in values[:place] for place, value in enumerate(values)):
                raise UserError(f"profile.{knob}={list(values)}: name one or more, each once")
        _check_choices("precisions", self.precisions, tuple(PRECISIONS))
        _check_choices("stages", self.stages, STAGES)
        _check_choices("compile", self.compile, (False, True))
        _check_choices("device", [self.device], ("auto", "cpu", "cuda"))
        if min(self.batch_sizes, default=1) < 1:
            raise UserError(f"profile.batch_sizes={list(self.batch_sizes)}: a batch has at least 1 video")
        for size in self.micro_batches:
            check_micro_batch(size, "profile.micro_batches")
        for every in self.checkpointing:
            check_checkpointing(every, "profile.checkpointing")
        piece = max((size for size in self.micro_batches if size), default=0)
        larger = [size for size in self.batch_sizes if size > piece]
        if self.cards and not (self.memory and "training" in self.stages and len(larger) > 1):
            raise UserError(
                f"profile.cards={list(self.cards)}: what fits is computed from the peaks of training steps at two "
                "batch sizes or more, larger than a micro-batch: set profile.memory=true, profile.stages=[training] "
                f"and profile.batch_sizes=[{2 * max(piece, 1)},{4 * max(piece, 1)}]"
            )
        if self.rounds == 1 or self.rounds < 0 or (self.rounds == 0 and not self.memory):
            raise UserError(
                f"profile.rounds={self.rounds}: one round cannot tell a faster reducer from a busy machine; take 2 or "
                "more, 10 for numbers to report, or 0 with profile.memory=true to weigh memory alone"
            )
        if self.warmup < 0:
            raise UserError(f"profile.warmup={self.warmup}: 0 rounds or more")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise UserError("profile.device=cuda: PyTorch finds no CUDA device here: set profile.device=cpu")

    @property
    def place(self) -> str:
        """The device that is measured."""
        return self.device if self.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"

    def cases(self, labels: Sequence[str], trained: Collection[tuple[str, str]]) -> list[Case]:
        """Everything to measure; the cases that take turns are neighbours.

        Args:
            labels: of the reducers.
            trained: reducers and tunings, by their labels, with parameters to train.
        """
        tunings: list[str | None] = [None] if "inference" in self.stages else []
        if "training" in self.stages:
            tunings += dict.fromkeys(tuning for _, tuning in trained)
        ways = list(product(self.micro_batches, self.checkpointing))
        cases = [
            Case(label, size, precision, compiled, tuning, *way)
            for tuning, size, precision, compiled in product(tunings, self.batch_sizes, self.precisions, self.compile)
            for way in (ways if tuning else [()])
            for label in labels
        ]
        return [case for case in cases if case.tuning is None or (case.reducer, case.tuning) in trained]


def _check_choices(knob: str, values: Sequence[Any], choices: Sequence[Any]) -> None:
    unknown = [value for value in values if value not in choices]
    if unknown:
        named, known = (", ".join(map(str, each)) for each in (unknown, choices))
        raise UserError(f"profile.{knob}: unknown {named}; choose from {known}")
