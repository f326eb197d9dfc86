"""Models from all that users have: open_clip's names, OpenAI's weights files, published checkpoints and our own."""

import logging
import pickle
import re
import zipfile
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip
import torch
from hydra.utils import instantiate
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from retrieval import reducers
from retrieval.errors import UserError
from retrieval.model.clip import CLIP
from retrieval.model.families.open_clip import Architecture
from retrieval.model.tuning import lora, new_weights
from retrieval.reducers import Reducer

WEIGHT_FILES = (".pt", ".pth", ".tar", ".bin", ".ckpt", ".safetensors")
TEMPME_NAMES = (
    (r"^visual\.transformer\.resblocks\.(\d+)\.TVPt_Video_Positional_embedding$", r"visual.reducer.positions.\1"),
    (r"^visual\.transformer\.resblocks\.(\d+)\.attn\.TVPt_LoRA_a$", r"visual.blocks.\1.attn.qkv.lora_A.default.weight"),
    (r"^visual\.transformer\.resblocks\.(\d+)\.attn\.TVPt_LoRA_b$", r"visual.blocks.\1.attn.qkv.lora_B.default.weight"),
    (r"^transformer\.resblocks\.(\d+)\.attn\.TVPt_LoRA_a$", r"text.blocks.\1.attn.qkv.lora_A.default.weight"),
    (r"^transformer\.resblocks\.(\d+)\.attn\.TVPt_LoRA_b$", r"text.blocks.\1.attn.qkv.lora_B.default.weight"),
)
"""TempMe's names for its trained parameters, and ours."""
_log = logging.getLogger(__name__)


def load_model(source: str | Path, reducer: Reducer | None = None, lora_rank: int | None = None) -> CLIP:
    """A CLIP for videos, in evaluation mode.

    Args:
        source: one of
            `"ViT-B-32-quickgelu/openai"`, open_clip's name and weights, or `"ViT-tiny-8"`, a name with random weights;
            a file of weights under OpenAI's names (`.pt`, `.safetensors`), its architecture read off the shapes;
            a published checkpoint (the same names behind `clip.`): TempMe's, with `TVPt_…` among them, or CenterCLIP's,
            whose `state_dict` may also stand behind `module.`; what matches, is missing or surplus is logged by name;
            a checkpoint of ours (`.ckpt`).
        reducer: the token reducer; None takes the one a checkpoint of ours was trained with, else none.
        lora_rank: rank of the adapters; None adds none but keeps those that a checkpoint brings.

    Raises:
        UserError: no such file.
        UserError: an unknown name, an unreadable file, or weights that do not fit; with their names.
    """
    if str(source).endswith(WEIGHT_FILES) or Path(source).is_file():
        content = read_checkpoint(Path(source))
        load = _from_checkpoint if "architecture" in content else _from_openai_names
        model = load(content, str(source), reducer)
    else:
        model = _from_open_clip(str(source), reducer or Reducer())
    if lora_rank is not None:
        lora(model, lora_rank)
    return model.eval()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a weights file; no Python in it is run.

    Raises:
        UserError: no such file.
        UserError: a damaged file, or one that holds more than tensors and plain values.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such weights file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if _is_torchscript(path):
            return torch.jit.load(path, map_location="cpu").state_dict()
        return torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{path}: damaged or not a weights file ({cause})") from error


def _is_torchscript(path: Path) -> bool:
    """OpenAI's own files are TorchScript archives."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _from_open_clip(source: str, reducer: Reducer) -> CLIP:
    name, _, weights = source.partition("/")
    config = open_clip.get_model_config(name)
    if config is None:
        raise UserError(
            f"unknown backbone {source!r}: neither a model that open_clip.list_models() names nor a weights file"
        )
    tags = open_clip.list_pretrained_tags_by_model(name)
    if weights and weights not in tags:
        raise UserError(f"unknown weights {weights!r} of {name}: open_clip has {', '.join(tags) or 'none'}")
    architecture = Architecture(config)
    if not weights:
        return CLIP(architecture.build(), architecture, reducer)
    clip = open_clip.create_model(name, pretrained=weights)
    preprocess = open_clip.get_model_preprocess_cfg(clip)
    mean, std = tuple(preprocess["mean"]), tuple(preprocess["std"])
    return CLIP(clip, replace(architecture, image_mean=mean, image_std=std), reducer)


def _from_openai_names(content: dict[str, Any], source: str, reducer: Reducer | None) -> CLIP:
    weights, surplus = _clip_weights(content.get("state_dict", content))
    if not all(name in weights for name in Architecture.READ_OFF):
        raise UserError(
            f"{source}: no CLIP vision transformer under OpenAI's names, but {', '.join(list(weights)[:4])} …"
        )
    trained = {name: value for name, value in weights.items() if "TVPt_" in name}
    plain = {name: value for name, value in weights.items() if name not in trained}
    architecture = Architecture.from_openai_weights(plain)
    clip = architecture.build()
    _fill(clip, plain, clip.state_dict(), source)
    model = CLIP(clip, architecture, reducer or Reducer())
    if trained:
        _fill_tempme(model, trained, source)
    _report(source, weights.keys(), () if trained else new_weights(model).keys(), surplus)
    return model


def _clip_weights(content: dict[str, Any]) -> tuple[dict[str, Tensor], list[str]]:
    """CLIP's weights under OpenAI's names, and the names of what a published system has beside its CLIP."""
    tensors = {
        name.removeprefix("module."): value.float()
        for name, value in content.items()
        if isinstance(value, Tensor) and name not in ("input_resolution", "context_length", "vocab_size")
    }
    clip = {name.removeprefix("clip."): value for name, value in tensors.items() if name.startswith("clip.")}
    return (clip, [name for name in tensors if not name.startswith("clip.")]) if clip else (tensors, [])


def _report(source: str, matching: Collection[str], missing: Collection[str], surplus: Collection[str]) -> None:
    """Tell what a weights file gave; a warning where the model and the file differ."""
    level = logging.WARNING if missing or surplus else logging.INFO
    parts = {
        "match": matching,
        "missing, left as they start": missing,
        "surplus, left out": surplus,
    }
    told = (f"{len(names)} {what}{f' ({_listing(names)})' if names else ''}" for what, names in parts.items())
    _log.log(level, "%s: %s", source, "; ".join(told))
    _log.debug("%s: %s", source, {what: sorted(names) for what, names in parts.items()})


def _listing(names: Collection[str], most: int = 3) -> str:
    return ", ".join(sorted(names)[:most]) + (" …" if len(names) > most else "")


def _fill_tempme(model: CLIP, trained: dict[str, Tensor], source: str) -> None:
    """Put a published checkpoint's adapters and temporal positions in their places."""
    for theirs, ours in TEMPME_NAMES:
        trained = {re.sub(theirs, ours, name): value for name, value in trained.items()}
    rank = next((len(value) for name, value in trained.items() if ".lora_A." in name), None)
    if rank is not None:
        lora(model, rank)
    _fill(model, trained, new_weights(model), source)


def _from_checkpoint(content: dict[str, Any], source: str, reducer: Reducer | None) -> CLIP:
    architecture = Architecture(**content["architecture"])
    model = CLIP(architecture.build(), architecture, reducer or _saved_reducer(content["reducer"], source))
    if content["lora_rank"] is not None:
        lora(model, content["lora_rank"])
    weights = {name.removeprefix("model."): value for name, value in content["state_dict"].items()}
    _fill(model, weights, model.state_dict(), source)
    return model


def _saved_reducer(config: dict[str, Any] | None, source: str) -> Reducer:
    """Build the reducer that a checkpoint names, provided that it is one of ours: a file may not choose what runs."""
    if config is None:
        raise UserError(f"{source}: the checkpoint does not tell its reducer: name it")
    ours = {f"retrieval.reducers.{name}" for name in reducers.__all__}
    for target in _targets(config):
        if target not in ours:
            raise UserError(f"{source}: made with {target}, which is not a reducer of this package: name the reducer")
    return instantiate(config, _convert_="all")


def _targets(config: Any) -> list[str]:
    if isinstance(config, dict):
        here = [config["_target_"]] if "_target_" in config else []
        return here + [target for value in config.values() for target in _targets(value)]
    return [target for value in config for target in _targets(value)] if isinstance(config, list) else []


def _fill(module: nn.Module, weights: dict[str, Tensor], wanted: dict[str, Tensor], source: str) -> None:
    """Load `weights` into `module`, which must be exactly what is `wanted` of it."""
    mismatches = {
        "missing": sorted(wanted.keys() - weights.keys()),
        "surplus": sorted(weights.keys() - wanted.keys()),
        "of another shape": [
            f"{name} {tuple(weights[name].shape)} for {tuple(wanted[name].shape)}"
            for name in sorted(wanted.keys() & weights.keys())
            if weights[name].shape != wanted[name].shape
        ],
    }
    found = [f"{len(names)} {what} ({_listing(names)})" for what, names in mismatches.items() if names]
    if found:
        raise UserError(f"{source}: the weights do not fit the model and its reducer: {'; '.join(found)}")
    module.load_state_dict(weights, strict=False)
