"""Reducers side by side: what each costs on paper, and what it is measured to take."""

from retrieval.efficiency.profile.settings import Settings

__all__ = ["Settings"]
