"""What a sweep has found: a table of its jobs over seeds, their latency, and pictures of accuracy against cost."""

from retrieval.sweeps.report.rows import pareto_front
from retrieval.sweeps.report.writing import write_report

__all__ = ["pareto_front", "write_report"]
