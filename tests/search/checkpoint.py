"""A checkpoint of ours without a training."""

from pathlib import Path
from typing import Any

import torch

from retrieval.model import CLIP


def write(path: Path, model: CLIP, knobs: dict[str, Any]) -> Path:
    """Of a model with TempMe for four frames."""
    joins = {"frames": 4, "join_blocks": [8, 9], "join_clips": [2, 2]}
    content = {
        "state_dict": {f"model.{name}": value for name, value in model.state_dict().items()},
        "architecture": model.architecture.to_dict(),
        "lora_rank": None,
        "reducer": {"_target_": "retrieval.reducers.TempMe", **joins},
        "head": {"_target_": "retrieval.heads.Mean"},
        "experiment": {"choices": {"data/sampler": "even"}, "knobs": {**knobs, "data.sampler.rate": 1.0}},
    }
    torch.save(content, path)
    return path
