"""Corpora: one file a dataset."""

from retrieval.data.corpora.base import Corpus, Record
from retrieval.data.corpora.folder import Folder
from retrieval.data.corpora.moving_shapes import MovingShapes

__all__ = ["Corpus", "Folder", "MovingShapes", "Record"]
