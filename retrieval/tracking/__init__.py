"""What is kept of a run beside its results: curves in a file, or all of it on Weights & Biases where that is asked."""

from retrieval.tracking.records import log_config, log_summary

__all__ = ["log_config", "log_summary"]
