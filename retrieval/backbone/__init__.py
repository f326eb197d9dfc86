"""CLIP with a video tower that reducers act in."""

from retrieval.backbone.architecture import Architecture
from retrieval.backbone.clip import CLIP
from retrieval.backbone.loading import load_model, read_checkpoint

__all__ = ["CLIP", "Architecture", "load_model", "read_checkpoint"]
