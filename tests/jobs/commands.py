"""Small jobs: in this process, or in one of their own where that is what is tested."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval.train import main as train

ROOT = Path(__file__).parents[2]
CLIPS = ROOT.parent / "shared" / "clips"
ENV = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
SMALL = [
    "reducer=tempme",
    "data.corpus.train=16",
    "data.corpus.val=8",
    "data.corpus.test=8",
    "data.batch_size=8",
    "data.num_workers=0",
    "trainer.max_epochs=3",
    "trainer.log_every_n_steps=1",
]


def knobs(folder: Path, name: str, *overrides: str) -> list[str]:
    return [f"output={folder}", f"name={name}", f"data.root={folder}", *SMALL, *overrides]


def command(folder: Path, name: str, *overrides: str) -> list[str]:
    return [sys.executable, "-m", "retrieval.train", *knobs(folder, name, *overrides)]


def execute(line: list[str], **options) -> str:
    """Run a command in a process of its own; returns what it prints."""
    done = subprocess.run(line, **{"cwd": ROOT, "env": ENV} | options, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run(folder: Path, name: str, *overrides: str) -> Path:
    """Train in a process of its own; returns the newest run's folder."""
    execute(command(folder, name, *overrides))
    return max((folder / name).iterdir())


def call(job: Callable[[], None], *arguments: str) -> None:
    """Run a job in this process, as if called with these arguments."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["job", *arguments])
        job()


def run_here(folder: Path, name: str, *overrides: str) -> Path:
    """Train in this process; returns the newest run's folder."""
    call(train, *knobs(folder, name, *overrides))
    return max((folder / name).iterdir())


def fail(job: Callable[[], None], capsys, *arguments: str) -> str:
    """What a job prints as it refuses its input."""
    with pytest.raises(SystemExit) as stopped:
        call(job, *arguments)
    assert stopped.value.code not in (0, None)
    return f"{stopped.value.code} {capsys.readouterr().err}"
