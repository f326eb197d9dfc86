"""Models from all that users have: open_clip's names, OpenAI's weights files, published checkpoints and our own."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip

from retrieval.errors import UserError
from retrieval.heads import Head, Mean
from retrieval.model.clip import CLIP
from retrieval.model.families.open_clip import Architecture, pretrained
from retrieval.model.published import from_openai_names
from retrieval.model.saved import build_saved
from retrieval.model.tuning import lora
from retrieval.model.weights import fill, is_weights_file, read_checkpoint, tensors_of
from retrieval.plain import check_plain, shortened, targets
from retrieval.reducers import Reducer


def load_model(
    source: str | Path, reducer: Reducer | None = None, lora_rank: int | None = None, head: Head | None = None
) -> CLIP:
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
        head: how videos and captions are compared; None takes the one a checkpoint of ours was trained with, else
            `Mean`.

    Raises:
        UserError: no such file, an unknown name, an unreadable file, weights that do not fit or cannot be downloaded.
    """
    if is_weights_file(str(source)):
        model = model_of(read_checkpoint(Path(source)), str(source), reducer, head)
    else:
        model = _from_open_clip(str(source), reducer or Reducer(), head or Mean())
    if lora_rank is not None:
        lora(model, lora_rank)
    return model.eval()


def _from_open_clip(source: str, reducer: Reducer, head: Head) -> CLIP:
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
        return CLIP(architecture.build(), architecture, reducer, head)
    clip = pretrained(name, weights)
    preprocess = open_clip.get_model_preprocess_cfg(clip)
    mean, std = tuple(preprocess["mean"]), tuple(preprocess["std"])
    return CLIP(clip, replace(architecture, image_mean=mean, image_std=std), reducer, head)


def model_of(content: dict[str, Any], source: str, reducer: Reducer | None = None, head: Head | None = None) -> CLIP:
    """The model of a weights file that has been read, in evaluation mode; see `load_model`."""
    if "architecture" in content:
        return _from_checkpoint(content, source, reducer, head).eval()
    return from_openai_names(content, source, reducer or Reducer(), head or Mean()).eval()


def _from_checkpoint(content: dict[str, Any], source: str, reducer: Reducer | None, head: Head | None) -> CLIP:
    tensors = tensors_of(content.get("state_dict"), source)
    ours = reducer or build_saved(content.get("reducer"), Reducer, source)
    compared = head or _saved_head(content, source)
    model = _empty(content, source, ours, compared)
    weights = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
    try:
        fill(model, weights, model.state_dict(), source)
    except UserError as error:
        if not (reducer or head):
            raise
        raise UserError(
            f"{source} was trained with {trained_with(content)}: leave reducer= and head= out, or set them to these "
            f"({error})"
        ) from error
    return model


def _empty(content: dict[str, Any], source: str, reducer: Reducer, head: Head) -> CLIP:
    """The model that a checkpoint of ours describes, before its weights are in it.

    Raises:
        UserError: what no model can be built from.
    """
    try:
        check_plain(content["architecture"]["clip"], source)
        architecture, rank = Architecture(**content["architecture"]), content["lora_rank"]
        clip = architecture.build()
    except UserError:
        raise
    except Exception as error:  # whatever open_clip says to sizes that are none
        cause = shortened(str(error).strip() or type(error).__name__)
        raise UserError(f"{source}: a checkpoint of another version of this package ({cause})") from error
    for values in (architecture.image_mean, architecture.image_std):
        numbers = values if isinstance(values, list | tuple) else ()
        if len(numbers) != 3 or not all(type(value) in (int, float) for value in numbers):
            raise UserError(f"{source}: mean or deviation of its pixels is {shortened(values)}, not three numbers")
    model = CLIP(clip, architecture, reducer, head)
    if rank is not None:
        if type(rank) is not int:
            raise UserError(f"{source}: lora_rank is {shortened(rank)}, not a number")
        lora(model, rank)
    return model


def _saved_head(content: dict[str, Any], source: str) -> Head:
    """Checkpoints from before heads were a choice have the mean."""
    return build_saved(content["head"], Head, source) if "head" in content else Mean()  # type: ignore[type-abstract]


def trained_with(content: dict[str, Any]) -> str:
    """The reducer and the head that a checkpoint of ours names, in words."""
    names = [target.rpartition(".")[2] for target in targets(content.get("reducer"))]
    reducer = " + ".join("no reducer" if name == "Reducer" else name for name in names if name != "Chain")
    heads = [target.rpartition(".")[2] for target in targets(content.get("head"))]
    return f"{reducer or 'a reducer it does not tell'} and the head {heads[0] if heads else 'Mean'}"


def part_name(part: Reducer | Head) -> str:
    """What a reducer or a head is called: its class; `none` for the reducer that leaves all as it is."""
    return "none" if type(part) is Reducer else type(part).__name__
