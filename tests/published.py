"""Published checkpoints, put together from the reference files."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from retrieval.reducers import TempMe
from tests.conftest import TINY_CLIP, Reference


def published_tempme(reference: Reference, folder: Path) -> Path:
    """A checkpoint as its authors publish them: OpenAI's names behind `clip.`, trained parameters among them."""
    clip = {f"clip.{name}": value for name, value in load_file(TINY_CLIP).items()}
    parameters = reference.tensors.items()
    trained = {name.removeprefix("parameter."): value for name, value in parameters if name.startswith("parameter.")}
    path = folder / "tempme.bin"
    torch.save(clip | trained, path)
    return path


def published_centerclip(folder: Path, **beside: torch.Tensor) -> Path:
    """A checkpoint as its authors publish them: OpenAI's names behind `module.clip.` in a `state_dict`."""
    weights = {f"module.clip.{name}": value for name, value in load_file(TINY_CLIP).items()}
    path = folder / "ckpt.best.pth.tar"
    torch.save({"epoch": 4, "best_acc1": 44.2, "state_dict": weights | beside, "optimizer": {"state": {}}}, path)
    return path


def tempme_of(config: dict) -> TempMe:
    """Our reducer for settings under their published names."""
    merge_percent, intra_percent = map(int, config["prop"].split("-"))
    return TempMe(
        frames=config["frames"],
        join_blocks=[int(block) for block in config["layers"].split("-")],
        join_clips=[int(clips) for clips in config["clips"].split("-")],
        image_merge=config["r"],
        merge_ratio=merge_percent / 100,
        intra_merge_ratio=intra_percent / 100,
        positions=bool(config["pos"]),
    )
