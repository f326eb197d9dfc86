"""What the model is asked for in measuring and drawing: another reducer on its weights, features of bytes, pixels."""

from copy import deepcopy
from itertools import chain

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from retrieval.model import CLIP
from retrieval.reducers import Reducer


def with_reducer(model: CLIP, reducer: Reducer) -> CLIP:
    """A model with another reducer on the very same weights, not a copy of them."""
    weights = {id(weight): weight for weight in chain(model.parameters(), model.buffers())}
    other = deepcopy(model, weights)
    reducer.build(other.visual.shape, other.visual.positional_embedding[1:])
    other.visual.reducer = reducer.to(other.visual.positional_embedding)
    return other


def encode_video(model: CLIP, frames: UInt8[Tensor, "video frame 3 height width"]) -> Float[Tensor, "video dim"]:
    """The features of videos in bytes."""
    return model.encode_video(pixels(model, frames))


def pixels(
    model: CLIP, frames: UInt8[Tensor, "video frame 3 height width"]
) -> Float[Tensor, "video frame 3 height width"]:
    """Bytes as the model wants them: normalised, at the precision of its weights."""
    weight = model.visual.conv1.weight
    mean, std = (
        torch.tensor(values, device=frames.device)[:, None, None]
        for values in (model.architecture.image_mean, model.architecture.image_std)
    )
    return ((frames / 255 - mean) / std).to(weight.dtype)
