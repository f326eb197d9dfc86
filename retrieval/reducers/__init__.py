"""Token reducers, one file a published method."""

from retrieval.reducers.base import Layout, Reducer, Tokens, TowerShape, plan
from retrieval.reducers.chain import Chain
from retrieval.reducers.diffrate import DiffRate
from retrieval.reducers.evit import EViT
from retrieval.reducers.frame_merge import FrameMerge
from retrieval.reducers.kmedoids import KMedoids
from retrieval.reducers.pitome import PiToMe
from retrieval.reducers.pooling import Pooling
from retrieval.reducers.random import RandomPatches
from retrieval.reducers.rlt import RLT
from retrieval.reducers.sparse_sampling import SparseSampling
from retrieval.reducers.spectral import Spectral
from retrieval.reducers.tempme import TempMe
from retrieval.reducers.temporal_shift import TemporalShift
from retrieval.reducers.token_shift import TokenShift
from retrieval.reducers.tome import ToMe

__all__ = [
    "RLT",
    "Chain",
    "DiffRate",
    "EViT",
    "FrameMerge",
    "KMedoids",
    "Layout",
    "PiToMe",
    "Pooling",
    "RandomPatches",
    "Reducer",
    "SparseSampling",
    "Spectral",
    "TempMe",
    "TemporalShift",
    "ToMe",
    "TokenShift",
    "Tokens",
    "TowerShape",
    "plan",
]
