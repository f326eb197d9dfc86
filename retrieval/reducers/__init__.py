"""Token reducers, one file a published method."""

from retrieval.reducers.base import Layout, Reducer, Tokens, TowerShape, plan
from retrieval.reducers.tempme import TempMe
from retrieval.reducers.tome import ToMe

__all__ = ["Layout", "Reducer", "TempMe", "ToMe", "Tokens", "TowerShape", "plan"]
