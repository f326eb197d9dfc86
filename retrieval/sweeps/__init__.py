"""Many jobs from one command: which there are, whether each can work, how far it has come, and running what is left."""

from retrieval.sweeps.plugin import register_sweeper
from retrieval.sweeps.states import run_once

__all__ = ["register_sweeper", "run_once"]
