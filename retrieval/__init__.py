"""Efficient text-video retrieval with CLIP: every published token reducer as a config option."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retrieval.model import load_model

__all__ = ["load_model"]

# `python retrieval/train.py` puts this folder first, where our `profile` hides Python's own, which torch imports.
sys.path[:] = [folder for folder in sys.path if not folder or Path(folder).resolve() != Path(__file__).resolve().parent]


def __getattr__(name: str) -> Any:
    """Import torch and all that follows only for those who ask for a model."""
    if name == "load_model":
        from retrieval.model import load_model

        return load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
