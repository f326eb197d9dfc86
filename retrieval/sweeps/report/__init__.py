"""What a sweep has found: a table of its jobs over seeds, their latency, and a page with pictures."""

from retrieval.sweeps.report.pareto import pareto_front
from retrieval.sweeps.report.write import write_report

__all__ = ["pareto_front", "write_report"]
