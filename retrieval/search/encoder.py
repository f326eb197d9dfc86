"""The model of an index with how it reads: what moments are encoded with, and what questions have to be encoded with.

An index holds a description of it, plain values that are read strictly: names are looked up among what is known here,
as in a checkpoint, and the weights are compared by their fingerprint.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from retrieval.data.dataset import FrameReader, Open
from retrieval.data.sampling import Sampler, even_frames, segment_frames
from retrieval.data.transforms import resize_and_crop
from retrieval.errors import UserError
from retrieval.heads import Head
from retrieval.model import CLIP
from retrieval.model.compiling import compile_towers
from retrieval.model.integrity import digest
from retrieval.model.loading import load_model, part_name
from retrieval.model.precision import resolved
from retrieval.model.saved import build_saved
from retrieval.model.tuning import merge_lora
from retrieval.model.weights import is_weights_file, read_checkpoint
from retrieval.plain import PLAIN, check_plain, shortened
from retrieval.reducers import Reducer
from retrieval.search.about import Description

SAMPLERS: dict[str, Callable[..., list[int]]] = {"even": even_frames, "segments": segment_frames}
"""Those that are known by name, the options of conf/data/sampler."""
PRECISIONS = ("32-true", "bf16-mixed", "auto")
TEXTS = 256  # queries encoded at a time


class Encoder:
    """A model with how it reads.

    `precision` (32-true, bf16-mixed, or auto: bf16-mixed where the processor has it) and `compile` say how videos are
    computed once `to` has been called; they are the same moments, but for rounding.

    Args:
        model: is put into evaluation mode; adapters are merged.
        frames: per moment.
        words: token ids per query.
        sampler: which frames of a moment are read.
        short_side: shrink frames to this shorter side while decoding; None: only in the transform.
        weights: the file or open_clip's name that the model is from, where it can be loaded from that again.
        reducer: its config, where it is not the one that comes with the weights.
        head: likewise.
    """

    precision, compile = "32-true", False
    computes_in: str | None = None

    def __init__(
        self,
        model: CLIP,
        frames: int = 12,
        words: int = 32,
        sampler: Sampler | None = None,
        short_side: int | None = None,
        weights: str | None = None,
        reducer: dict[str, Any] | None = None,
        head: dict[str, Any] | None = None,
    ) -> None:
        self.model, self.frames, self.words, self.short_side = model.eval(), frames, words, short_side
        self.sampler: Sampler = sampler or partial(even_frames, rate=1.0)
        self.tokenizer = model.tokenizer(words)
        parts = f"{part_name(model.visual.reducer)}, {part_name(model.head)}, {frames} frames"
        self.description = Description(
            weights,
            reducer,
            head,
            frames,
            words,
            described_sampler(self.sampler),
            short_side,
            f"{weights or 'a model of unknown weights'} ({parts})",
            _fingerprint(model, frames, described_sampler(self.sampler), short_side),
        )
        merge_lora(model)  # after the fingerprint: what is merged is rounded, differently on every machine

    @classmethod
    def load(cls, weights: str | PathLike[str]) -> "Encoder":
        """The encoder of a checkpoint of ours with the frames and words that it was trained with, or of other weights.

        Args:
            weights: as `load_model` takes them.

        Raises:
            UserError: see `load_model`; names without weights, as nothing would be found with random ones.
        """
        name = located(fspath(weights))
        check_trained(name)
        knobs, choices = _of_training(name)
        known = SAMPLERS.get(str(choices.get("data/sampler") or "even"))
        if known is None:
            raise UserError(f"{name}: trained with data/sampler={shortened(choices['data/sampler'])}: build an Encoder")
        rates = {"rate": knobs["data.sampler.rate"]} if "data.sampler.rate" in knobs else {}
        numbers = {key: knobs[f"data.{key}"] for key in ("frames",) if f"data.{key}" in knobs}
        numbers |= {"words": knobs["words"]} if "words" in knobs else {}
        return cls(load_model(name), **numbers, sampler=partial(known, **rates) if rates else None, weights=name)

    @classmethod
    def remembered(cls, description: Description, source: str) -> "Encoder":
        """The encoder that an index was made with.

        Args:
            description: as the index holds it.
            source: the index, for messages.

        Raises:
            UserError: weights that are not there or have changed, or a part that is not known here.
        """
        given = f"the index {source} was made with {description}"
        if description.weights is None:
            raise UserError(f"{given}: give that model, as in Index.open(path, model=Encoder(…))")
        known = SAMPLERS.get(str(description.sampler.get("name")))
        if known is None:
            raise UserError(f"{given}: its sampler {shortened(description.sampler.get('name'))} is not known here")
        knobs = {key: value for key, value in description.sampler.items() if key != "name"}
        reducer = description.reducer and build_saved(description.reducer, Reducer, source)
        head = description.head and build_saved(description.head, Head, source)  # type: ignore[type-abstract]
        try:
            model = load_model(description.weights, reducer or None, head=head or None)
        except UserError as error:
            raise UserError(f"{given}: {error}; ckpt_path=<file> where it has moved to") from error
        told = asdict(description)
        kept = {key: told[key] for key in ("frames", "words", "short_side", "weights", "reducer", "head")}
        encoder = cls(model, sampler=partial(known, **knobs), **kept)
        encoder.check(description, source)
        return encoder

    def check(self, description: Description, source: str) -> None:
        """Raise UserError unless an index was made with this very model, naming both."""
        if description.fingerprint != self.description.fingerprint:
            raise UserError(
                f"{source} was made with {description}, and this is {self.description}: ask and add with the former, "
                "or make another index (index=<folder>)"
            )

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.logit_scale.device

    def to(self, device: torch.device) -> "Encoder":
        """Bring the model there, to compute videos as `precision` and `compile` say.

        Raises:
            UserError: another `precision` or `compile` than there are.
        """
        for knob, choices in {"precision": PRECISIONS, "compile": (True, False)}.items():
            if getattr(self, knob) not in choices:
                raise UserError(f"{knob}={getattr(self, knob)}: one of {', '.join(map(str, choices))}")
        self.model.to(device)
        self.computes_in = resolved(self.precision, device.type)
        compile_towers(self.model, self.compile, gmacs=0.0)
        return self

    def reader(self, open: Open) -> FrameReader:
        """From a part of a video to the frames that the model takes."""
        return FrameReader(self.frames, self.sampler, resize_and_crop(self.model.image_size), open)

    @torch.inference_mode()
    def videos(self, frames: UInt8[Tensor, "moment frame 3 size size"]) -> Float[Tensor, "moment ..."]:
        """What the head keeps of videos, on the CPU."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.computes_in == "bf16-mixed"):
            return self.model.encode_video(frames.to(self.device)).float().cpu()

    @torch.inference_mode()
    def texts(self, queries: Sequence[str]) -> Float[Tensor, "query ..."]:
        """What the head keeps of queries, on the CPU."""
        parts = [list(queries[first : first + TEXTS]) for first in range(0, len(queries), TEXTS)]
        kept = (self.model.encode_text(self.tokenizer(part).to(self.device)) for part in parts)
        return torch.cat([each.float().cpu() for each in kept])


def located(weights: str) -> str:
    """Weights as they are found from any folder: a file's absolute path, or open_clip's name."""
    return str(Path(weights).absolute()) if is_weights_file(weights) else weights


def check_trained(weights: str) -> None:
    """Raise UserError where these are a name without weights."""
    if not is_weights_file(weights) and "/" not in weights:
        raise UserError(
            f"{weights} has random weights, with which nothing is found: give ckpt_path=<checkpoint>, or weights, as "
            "backbone=vit_b32 or backbone.source=ViT-B-32/laion2b_s34b_b79k"
        )


def described_sampler(sampler: Sampler) -> dict[str, Any]:
    """A sampler by the name of its option and its knobs; one of others by where it is defined."""
    function, knobs = (sampler.func, sampler.keywords) if isinstance(sampler, partial) else (sampler, {})
    names = {known: name for name, known in SAMPLERS.items()}
    name = names.get(function) or f"{function.__module__}.{getattr(function, '__qualname__', type(function).__name__)}"
    return {"name": name, **{key: value for key, value in sorted(knobs.items()) if type(value) in PLAIN}}


def _of_training(weights: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Knobs and choices that a checkpoint of ours was trained with; none for other weights."""
    experiment = read_checkpoint(Path(weights)).get("experiment") if is_weights_file(weights) else None
    if not isinstance(experiment, dict):
        return {}, {}
    check_plain(experiment, weights)
    knobs, choices = (experiment.get(part) for part in ("knobs", "choices"))
    return knobs if isinstance(knobs, dict) else {}, choices if isinstance(choices, dict) else {}


def _fingerprint(model: CLIP, frames: int, sampler: dict[str, Any], short_side: int | None) -> str:
    parts = {"reducer": _settings(model.visual.reducer), "head": _settings(model.head)}
    read = {"frames": frames, "sampler": sampler, "short_side": short_side}
    told = json.dumps(parts | read | {"architecture": model.architecture.to_dict()}, sort_keys=True, default=str)
    return hashlib.sha256(f"{digest(model.state_dict())} {told}".encode()).hexdigest()


def _settings(part: nn.Module) -> dict[str, Any]:
    """The class of a part, and the plain values among its attributes, with those of its own parts."""
    named = {key: value for key, value in vars(part).items() if key[0] != "_" and key != "training"}
    plain: dict[str, Any] = {key: repr(value) for key, value in named.items() if _is_plain(value)}
    for name, child in part.named_children():
        inner = [child, *(child if isinstance(child, nn.ModuleList) else ())]
        parts = [_settings(each) for each in inner if isinstance(each, Reducer | Head)]
        plain |= {name: parts} if parts else {}
    return {"class": f"{type(part).__module__}.{type(part).__qualname__}", **plain}


def _is_plain(value: Any) -> bool:
    inner = [*value.keys(), *value.values()] if isinstance(value, dict) else value
    if isinstance(inner, list | tuple):
        return all(map(_is_plain, inner))
    return value is None or isinstance(value, str | int | float | bool | range)
