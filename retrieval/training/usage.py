"""Time and memory of a run, which differ from run to run and are therefore no part of its results."""

from pathlib import Path
from time import perf_counter
from typing import Any

import lightning as L

from retrieval.efficiency.memory import peak_memory
from retrieval.jobs.files import write_json

FILE = "usage.json"


class Usage(L.Callback):
    """Writes `usage.json`: seconds and peak bytes of training and of testing.

    Seconds of a run that was interrupted are those of all its parts, what was lost left out. Bytes are those of tensors
    on the first device with CUDA, and of the whole process elsewhere.

    Args:
        folder: the run's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.since: float | None = None
        self.training: dict[str, float] = {"training_seconds": 0.0, "training_peak_bytes": 0}
        self.kind = "cpu"

    def on_fit_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._begin(trainer)

    def on_fit_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.training, self.since = self._so_far(), None

    def on_test_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._begin(trainer)

    def on_test_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert self.since is not None
        testing = {"testing_seconds": perf_counter() - self.since, "testing_peak_bytes": peak_memory(self.kind)}
        self.since = None
        if trainer.is_global_zero:
            write_json(self.folder / FILE, {"device": self.kind} | self.training | testing)

    def state_dict(self) -> dict[str, Any]:
        return self._so_far()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.training = dict(state_dict)

    def _begin(self, trainer: L.Trainer) -> None:
        self.kind = "cuda" if trainer.strategy.root_device.type == "cuda" else "cpu"
        if self.kind == "cuda":
            peak_memory(self.kind, reset=True)
        self.since = perf_counter()

    def _so_far(self) -> dict[str, float]:
        if self.since is None:
            return self.training
        seconds, peak = self.training["training_seconds"], self.training["training_peak_bytes"]
        return {
            "training_seconds": seconds + perf_counter() - self.since,
            "training_peak_bytes": max(peak, peak_memory(self.kind)),
        }
