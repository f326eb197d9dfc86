"""How good a retrieval is: ranks and recall, plain and rescored."""

from retrieval.metrics.features import feature_scores
from retrieval.metrics.recall import retrieval_metrics
from retrieval.metrics.retrieval import Items, RetrievalMetrics
from retrieval.metrics.scores import matrix_scores

__all__ = ["Items", "RetrievalMetrics", "feature_scores", "matrix_scores", "retrieval_metrics"]
