"""How dear a model is: multiply-accumulates, tokens, latency, memory."""

from retrieval.efficiency.latency import interleaved
from retrieval.efficiency.macs import counted_macs, text_macs, video_macs
from retrieval.efficiency.memory import in_clean_memory, peak_memory

__all__ = ["counted_macs", "in_clean_memory", "interleaved", "peak_memory", "text_macs", "video_macs"]
