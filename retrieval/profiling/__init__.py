"""Reducers side by side: what each costs on paper, and what it is measured to take."""

from retrieval.profiling.candidates import base_source, reducer_configs
from retrieval.profiling.measuring import run
from retrieval.profiling.peaks import Build
from retrieval.profiling.report import Profile
from retrieval.profiling.settings import Settings
from retrieval.profiling.tables import print_profile

__all__ = ["Build", "Profile", "Settings", "base_source", "print_profile", "reducer_configs", "run"]
