"""Token reducers, one file a published method."""

from retrieval.reducers.base import Layout, Reducer, Tokens, TowerShape, plan

__all__ = ["Layout", "Reducer", "Tokens", "TowerShape", "plan"]
