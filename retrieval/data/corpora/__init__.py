"""Corpora: one file a dataset."""

from retrieval.data.corpora.activitynet import ActivityNet
from retrieval.data.corpora.base import Corpus, Record
from retrieval.data.corpora.didemo import DiDeMo
from retrieval.data.corpora.folder import Folder
from retrieval.data.corpora.lsmdc import LSMDC
from retrieval.data.corpora.moving_shapes import MovingShapes
from retrieval.data.corpora.msrvtt import MSRVTT
from retrieval.data.corpora.msvd import MSVD

__all__ = ["LSMDC", "MSRVTT", "MSVD", "ActivityNet", "Corpus", "DiDeMo", "Folder", "MovingShapes", "Record"]
