"""What watches a run: throughput for every logger, examples and pictures for Weights & Biases."""

from retrieval.callbacks.throughput import Throughput
from retrieval.callbacks.wandb_record import WandbRecord

__all__ = ["Throughput", "WandbRecord"]
