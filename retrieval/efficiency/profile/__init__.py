"""Reducers side by side: what each costs on paper, and what it is measured to take."""

from retrieval.efficiency.profile.candidates import base_source, reducer_configs
from retrieval.efficiency.profile.measuring import run
from retrieval.efficiency.profile.peaks import Build
from retrieval.efficiency.profile.report import Profile
from retrieval.efficiency.profile.settings import Settings
from retrieval.efficiency.profile.tables import print_profile

__all__ = ["Build", "Profile", "Settings", "base_source", "print_profile", "reducer_configs", "run"]
