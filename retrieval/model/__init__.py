"""CLIP with a video tower that reducers act in, and a head that compares videos and captions."""

from retrieval.model.clip import CLIP
from retrieval.model.families.open_clip import Architecture
from retrieval.model.loading import load_model
from retrieval.model.weights import read_checkpoint

__all__ = ["CLIP", "Architecture", "load_model", "read_checkpoint"]
