"""What every command is: a config composed, a task run, a mistake told in one line."""

from retrieval.jobs.entry import CONF, job

__all__ = ["CONF", "job"]
