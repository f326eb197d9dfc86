"""One finished training that the tests of all jobs share."""

from pathlib import Path

import pytest

from tests.jobs.commands import run_here


@pytest.fixture(scope="session")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="session")
def finished(place) -> Path:
    return run_here(place, "finished")
