"""A published row again, in one command: whether it can run and what it takes before it starts, a card at its end."""

from retrieval.sweeps.reproduction.card import write_card
from retrieval.sweeps.reproduction.needs import prepare

__all__ = ["prepare", "write_card"]
