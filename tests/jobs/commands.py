"""Small jobs, in a process of their own as users start them, or in this one where they have to fail."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLIPS = ROOT.parent / "shared" / "clips"
ENV = os.environ | {"OMP_NUM_THREADS": "1"}
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


def command(folder: Path, name: str, *overrides: str) -> list[str]:
    place = [f"output={folder}", f"name={name}", f"data.root={folder}"]
    return [sys.executable, "-m", "retrieval.train", *place, *SMALL, *overrides]


def execute(line: list[str]) -> None:
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, env=ENV)
    assert done.returncode == 0, done.stderr


def run(folder: Path, name: str, *overrides: str) -> Path:
    """Train in a process of its own; returns the newest run's folder."""
    execute(command(folder, name, *overrides))
    return max((folder / name).iterdir())


def fail(job, monkeypatch, capsys, *overrides: str) -> str:
    """What a job prints as it refuses its input."""
    monkeypatch.setattr(sys, "argv", ["job", *overrides])
    with pytest.raises(SystemExit) as stopped:
        job()
    assert stopped.value.code not in (0, None)
    return f"{stopped.value.code} {capsys.readouterr().err}"
