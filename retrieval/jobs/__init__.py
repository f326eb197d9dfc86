"""What every command is: a config composed, a task run, a mistake told in one line."""

from retrieval.jobs.entry import CONF, command_line, job

__all__ = ["CONF", "command_line", "job"]
