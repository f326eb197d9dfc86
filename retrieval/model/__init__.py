"""CLIP with a video tower that reducers act in."""

from retrieval.model.clip import CLIP
from retrieval.model.families.open_clip import Architecture
from retrieval.model.loading import load_model, read_checkpoint

__all__ = ["CLIP", "Architecture", "load_model", "read_checkpoint"]
