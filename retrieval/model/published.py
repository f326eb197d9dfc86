"""Weights under OpenAI's names: its own files, and the checkpoints that CenterCLIP's and TempMe's authors publish."""

import logging
import re
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from retrieval.errors import UserError
from retrieval.heads import Head
from retrieval.model.clip import CLIP
from retrieval.model.families.open_clip import Architecture
from retrieval.model.tuning import lora, new_weights
from retrieval.model.weights import fill, listing, tensors_of
from retrieval.plain import shortened
from retrieval.reducers import Reducer

TEMPME_NAMES = (
    (r"^visual\.transformer\.resblocks\.(\d+)\.TVPt_Video_Positional_embedding$", r"visual.reducer.positions.\1"),
    (r"^visual\.transformer\.resblocks\.(\d+)\.attn\.TVPt_LoRA_a$", r"visual.blocks.\1.attn.qkv.lora_A.default.weight"),
    (r"^visual\.transformer\.resblocks\.(\d+)\.attn\.TVPt_LoRA_b$", r"visual.blocks.\1.attn.qkv.lora_B.default.weight"),
    (r"^transformer\.resblocks\.(\d+)\.attn\.TVPt_LoRA_a$", r"text.blocks.\1.attn.qkv.lora_A.default.weight"),
    (r"^transformer\.resblocks\.(\d+)\.attn\.TVPt_LoRA_b$", r"text.blocks.\1.attn.qkv.lora_B.default.weight"),
)
"""TempMe's names for its trained parameters, and ours."""
_log = logging.getLogger(__name__)


def from_openai_names(content: dict[str, Any], source: str, reducer: Reducer, head: Head) -> CLIP:
    """A model of the architecture that the shapes of the weights tell; what matches, is missing or surplus is logged.

    Raises:
        UserError: no CLIP vision transformer, or weights of CLIP or of TempMe that are missing or surplus.
    """
    weights, surplus = _clip_weights(tensors_of(content.get("state_dict", content), source))
    if not all(name in weights for name in Architecture.READ_OFF):
        raise UserError(
            f"{source}: no CLIP vision transformer under OpenAI's names, but {', '.join(list(weights)[:4])} …"
        )
    trained = {name: value for name, value in weights.items() if "TVPt_" in name}
    plain = {name: value for name, value in weights.items() if name not in trained}
    try:
        architecture = Architecture.from_openai_weights(plain)
        clip = architecture.build()
    except (ValueError, IndexError, ArithmeticError, RuntimeError, AssertionError) as error:
        raise UserError(f"{source}: its weights have no shapes of a CLIP's ({shortened(str(error))})") from error
    fill(clip, plain, clip.state_dict(), source)
    model = CLIP(clip, architecture, reducer, head)
    if trained:
        _fill_tempme(model, trained, source)
    _tell(source, weights.keys(), () if trained else new_weights(model).keys(), surplus)
    return model


def _clip_weights(content: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """CLIP's weights under OpenAI's names, and the names of what a published system has beside its CLIP."""
    tensors = {
        name.removeprefix("module."): value.float()
        for name, value in content.items()
        if name not in ("input_resolution", "context_length", "vocab_size")
    }
    clip = {name.removeprefix("clip."): value for name, value in tensors.items() if name.startswith("clip.")}
    return (clip, [name for name in tensors if not name.startswith("clip.")]) if clip else (tensors, [])


def _fill_tempme(model: CLIP, trained: dict[str, Tensor], source: str) -> None:
    """Put a published checkpoint's adapters and temporal positions in their places."""
    for theirs, ours in TEMPME_NAMES:
        trained = {re.sub(theirs, ours, name): value for name, value in trained.items()}
    rank = next((len(value) for name, value in trained.items() if ".lora_A." in name), None)
    if rank is not None:
        lora(model, rank)
    fill(model, trained, new_weights(model), source)


def _tell(source: str, matching: Collection[str], missing: Collection[str], surplus: Collection[str]) -> None:
    """Log what a weights file gave; a warning where the model and the file differ."""
    level = logging.WARNING if missing or surplus else logging.INFO
    parts = {"match": matching, "missing, left as they start": missing, "surplus, left out": surplus}
    counts = (f"{len(names)} {what}{f' ({listing(names)})' if names else ''}" for what, names in parts.items())
    _log.log(level, "%s: %s", source, "; ".join(counts))
    _log.debug("%s: %s", source, {what: sorted(names) for what, names in parts.items()})
