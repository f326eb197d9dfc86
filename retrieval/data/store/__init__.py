"""Stored frames, read in place of the videos."""

from retrieval.data.store.frames import FrameStore

__all__ = ["FrameStore"]
