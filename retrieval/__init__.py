"""Efficient text-video retrieval with CLIP: every published token reducer as a config option."""

from retrieval.model import load_model

__all__ = ["load_model"]
