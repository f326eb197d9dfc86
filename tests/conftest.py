"""Reference values and the tiny CLIP that they were made with; tests/references/ holds both."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

NUMBERS = Path(__file__).parent / "references"
TINY_CLIP = NUMBERS / "tiny_clip.safetensors"


@dataclass(frozen=True)
class Reference:
    """A file of reference values: tensors by name, settings as they were published."""

    tensors: dict[str, Tensor]
    config: dict[str, Any]
    tokens_per_block: list[list[int]]

    @property
    def frames(self) -> Tensor:
        return self.tensors["input.frames"].float()


def read_reference(name: str) -> Reference:
    with safe_open(NUMBERS / f"{name}.safetensors", "pt") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    return Reference(tensors, json.loads(metadata["config"]), json.loads(metadata["tokens_per_block"]))


def read_cases(name: str, case: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """One case of a file that holds several: its tensors and the inputs of all, and its settings."""
    with safe_open(NUMBERS / f"{name}.safetensors", "pt") as file:
        names = [key for key in file.keys() if key.startswith((f"{case}.", "input."))]  # noqa: SIM118
        tensors = {key.removeprefix(f"{case}."): file.get_tensor(key) for key in names}
        return tensors, json.loads(file.metadata()[case])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
