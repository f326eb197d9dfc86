"""Weights & Biases: where a run is logged, and what is logged of it beside Lightning's metrics."""

from retrieval.tracking.logger import wandb_logger
from retrieval.tracking.records import git_revision, log_config, log_summary, never_fatal, wandb_run

__all__ = ["git_revision", "log_config", "log_summary", "never_fatal", "wandb_logger", "wandb_run"]
