"""Files of weights: reading them without running anything in them, and filling a module with exactly what it wants."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from retrieval.errors import UserError
from retrieval.model.integrity import check_archive, check_hash, is_archive, runs_code
from retrieval.plain import shortened

WEIGHT_FILES = (".pt", ".pth", ".tar", ".bin", ".ckpt", ".safetensors")


def is_weights_file(source: str) -> bool:
    """Whether a backbone's source is a file, by its ending or by being there, and not open_clip's name."""
    return source.endswith(WEIGHT_FILES) or Path(source).is_file()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a weights file, checked against what it was written with; no Python in it is run.

    Raises:
        UserError: no such file, a damaged one, or one that holds more than tensors and plain values.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such weights file")
    try:
        content = _read(path)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a damaged file raises nearly anything
        lines = str(error).strip().splitlines()
        cause = shortened(lines[0] if lines else type(error).__name__)
        raise UserError(f"{path}: damaged or not a weights file ({cause}){_beside(path)}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a weights file, but a {type(content).__name__}")
    return content


def tensors_of(content: Any, source: str) -> dict[str, Tensor]:
    """The tensors of a state dict by their names; other values that lie among them are left out.

    Raises:
        UserError: it is no dict of names.
    """
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        raise UserError(f"{source}: no weights by their names in it, but a {type(content).__name__}")
    return {name: value for name, value in content.items() if isinstance(value, Tensor)}


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


def _read(path: Path) -> Any:
    """What is in a file, whole.

    Raises:
        UserError: one that would run code as it is read.
        Exception: whatever its reader raises.
    """
    if path.suffix == ".safetensors":
        tensors = load_file(path)
        check_hash(path, tensors)
        return tensors
    names = check_archive(path) if is_archive(path) else []
    if path.suffix == ".pt" and any(name.endswith("/constants.pkl") for name in names):  # OpenAI's own: TorchScript
        if runs_code(path, names):
            raise UserError(f"{path}: refused, for this TorchScript archive runs code of its own as it is read")
        return torch.jit.load(path, map_location="cpu").state_dict()
    return torch.load(path, map_location="cpu", weights_only=True)


def _beside(path: Path) -> str:
    """The whole checkpoints in the folder of a damaged one, in words."""
    if path.suffix != ".ckpt":
        return ""
    others = (other for other in sorted(path.parent.glob("*.ckpt")) if other.name != path.name)
    whole = [other.name for other in others if _is_whole(other)]
    return f"; beside it and whole: {', '.join(whole)}" if whole else ""


def _is_whole(path: Path) -> bool:
    try:
        return is_archive(path) and bool(check_archive(path))
    except Exception:  # a damaged file raises nearly anything
        return False
