"""Installed like any package: a wheel brings its configs, and works from an empty folder, with a user's own choices."""

import os
import sys
from pathlib import Path

import pytest

from tests.jobs.commands import ENV, execute

pytestmark = pytest.mark.slow
SMOKE = ["experiment=smoke", "data.num_workers=0"]
KEEP_FIRST = """
from retrieval.reducers import SparseSampling
class KeepFirst(SparseSampling):
    \"\"\"Somebody's own reducer, in somebody's own folder.\"\"\"
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the wheel's content, and the console scripts that pip makes."""
    folder = tmp_path_factory.mktemp("wheel")
    execute([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)])
    (wheel,) = folder.glob("*.whl")
    target = folder / "site"
    execute([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(wheel)])
    return target


@pytest.fixture
def environment(installed) -> dict[str, str]:
    return ENV | {"PYTHONPATH": str(installed)}


def test_it_trains_in_an_empty_folder(installed, environment, tmp_path):
    place = execute(
        [sys.executable, "-c", "import retrieval; print(retrieval.__file__)"], cwd=tmp_path, env=environment
    )
    assert Path(place.strip()).is_relative_to(installed)
    assert (installed / "retrieval" / "conf" / "train.yaml").is_file()
    execute([sys.executable, "-m", "retrieval.train", "reducer=tempme", *SMOKE], cwd=tmp_path, env=environment)
    assert list(tmp_path.glob("runs/moving_shapes-tiny-tempme/*/metrics.json"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "runs"]


def test_a_users_own_configs_and_modules_are_found(installed, environment, tmp_path):
    (tmp_path / "mine.py").write_text(KEEP_FIRST)
    (tmp_path / "choices" / "reducer").mkdir(parents=True)
    (tmp_path / "choices" / "reducer" / "keep_first.yaml").write_text("_target_: mine.KeepFirst\nnum_segments: 2\n")
    knobs = ["reducer=keep_first", *SMOKE]
    script = [sys.executable, str(installed / "bin" / "retrieval-train")]
    execute([*script, "--config-dir", "choices", *knobs], cwd=tmp_path, env=environment)
    execute([*script, "hydra.searchpath=[choices]", *knobs], cwd=tmp_path, env=environment)
    assert len(list(tmp_path.glob("runs/moving_shapes-tiny-keep_first/*/metrics.json"))) == 2


def test_its_commands_are_scripts(installed, environment, tmp_path):
    listed = execute([sys.executable, str(installed / "bin" / "retrieval")], cwd=tmp_path, env=environment)
    assert "python -m retrieval.train " in listed


def test_the_shell_completes_what_is_typed(installed, environment, tmp_path):
    """The README's line, and then what bash does when a user presses tab."""
    (tmp_path / "retrieval-train").write_text(
        f'#!/bin/sh\nexec {sys.executable} {installed}/bin/retrieval-train "$@"\n'
    )
    (tmp_path / "retrieval-train").chmod(0o755)
    script = """
eval "$(retrieval-train -sc install=bash)"
COMP_LINE="retrieval-train reducer=temp" COMP_POINT=28 COMP_CWORD=1 COMP_WORDS=(retrieval-train reducer=temp)
hydra_bash_completion 2> /dev/null
echo "${COMPREPLY[@]}"
"""
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    completed = execute(["bash", "-c", script], cwd=tmp_path, env=environment | path)
    assert completed.split() == ["reducer=tempme", "reducer=temporal_shift"]
