"""Many jobs from one command: which there are, whether each can work, how far it has come, and running what is left."""

from retrieval.sweeps.states import State, knobs, run_once, state
from retrieval.sweeps.sweeper import register_sweeper

__all__ = ["State", "knobs", "register_sweeper", "run_once", "state"]
