"""Data: captioned videos on their way from files to batches; knows nothing of the model."""

from retrieval.data.datamodule import RetrievalDataModule
from retrieval.data.transforms import Preprocess

__all__ = ["Preprocess", "RetrievalDataModule"]
