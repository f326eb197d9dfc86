"""Files of weights: reading them without running anything in them, and filling a module with exactly what it wants."""

import pickle
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from retrieval.errors import UserError

WEIGHT_FILES = (".pt", ".pth", ".tar", ".bin", ".ckpt", ".safetensors")


def is_weights_file(source: str) -> bool:
    """Whether a backbone's source is a file, by its ending or by being there, and not open_clip's name."""
    return source.endswith(WEIGHT_FILES) or Path(source).is_file()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a weights file; no Python in it is run.

    Raises:
        UserError: no such file, a damaged one, or one that holds more than tensors and plain values.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such weights file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix == ".pt" and _is_torchscript(path):
            return torch.jit.load(path, map_location="cpu").state_dict()
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, KeyError, zipfile.BadZipFile) as error:
        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{path}: damaged or not a weights file ({cause})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a weights file, but a {type(content).__name__}")
    return content


def fill(module: nn.Module, weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor], source: str) -> None:
    """Load `weights` into `module`, which must be exactly what is `wanted` of it.

    Raises:
        UserError: names that are missing or surplus, or shapes that differ.
    """
    mismatches = {
        "missing": sorted(wanted.keys() - weights.keys()),
        "surplus": sorted(weights.keys() - wanted.keys()),
        "of another shape": [
            f"{name} {tuple(weights[name].shape)} for {tuple(wanted[name].shape)}"
            for name in sorted(wanted.keys() & weights.keys())
            if weights[name].shape != wanted[name].shape
        ],
    }
    found = [f"{len(names)} {what} ({listing(names)})" for what, names in mismatches.items() if names]
    if found:
        raise UserError(f"{source}: the weights do not fit the model: {'; '.join(found)}")
    module.load_state_dict(weights, strict=False)


def listing(names: Collection[str], most: int = 3) -> str:
    """The first few names."""
    return ", ".join(sorted(names)[:most]) + (" …" if len(names) > most else "")


def _is_torchscript(path: Path) -> bool:
    """OpenAI's own files are TorchScript archives.

    Raises:
        UserError: one that would run code as it is read.
    """
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        code = [name for name in names if name.endswith(".py")]
        if any(b"__setstate__" in archive.read(name) for name in code):
            raise UserError(f"{path}: refused, for this TorchScript archive runs code of its own as it is read")
    return any(name.endswith("/constants.pkl") for name in names)
