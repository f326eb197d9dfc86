"""What a run is judged by: retrieval ranks and the cost of computing."""

from retrieval.metrics.efficiency import counted_macs, text_macs, video_macs
from retrieval.metrics.functional import retrieval_metrics
from retrieval.metrics.latency import interleaved
from retrieval.metrics.memory import in_clean_memory, peak_memory
from retrieval.metrics.retrieval import Items, RetrievalMetrics
from retrieval.metrics.scores import cosine_scores, matrix_scores

__all__ = [
    "Items",
    "RetrievalMetrics",
    "cosine_scores",
    "counted_macs",
    "in_clean_memory",
    "interleaved",
    "matrix_scores",
    "peak_memory",
    "retrieval_metrics",
    "text_macs",
    "video_macs",
]
