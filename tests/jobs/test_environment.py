"""What a job ran with: the commit of a checkout and of nothing else, versions, hardware."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from retrieval.errors import UserError
from retrieval.jobs.environment import hardware, revision, versions
from retrieval.jobs.protocol import Training

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A repository with a commit and a package in it."""
    (tmp_path / "retrieval").mkdir()
    (tmp_path / "retrieval" / "code.py").write_text("one\n")
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    return tmp_path


def found(package: Path) -> tuple[str | None, bool | None]:
    revision.cache_clear()
    return revision(package)


def test_a_checkout_is_known_by_its_commit_and_whether_its_code_is_changed(checkout):
    head = subprocess.run(["git", "-C", str(checkout), "rev-parse", "HEAD"], capture_output=True, text=True)
    assert found(checkout / "retrieval") == (head.stdout.strip(), False)
    (checkout / "runs.csv").write_text("results are no code")
    assert found(checkout / "retrieval")[1] is False
    (checkout / "retrieval" / "new.py").write_text("two\n")
    assert found(checkout / "retrieval")[1] is True


def test_an_installed_package_has_none_wherever_it_lies(checkout, tmp_path, monkeypatch):
    installed = checkout / ".venv" / "site-packages" / "retrieval"
    installed.mkdir(parents=True)
    assert found(installed) == (None, None)
    monkeypatch.setenv("GIT_DIR", str(checkout / ".git"))  # as inside a hook of another repository
    assert found(installed) == (None, None)


@pytest.mark.parametrize("git", [None, "exit 1", "exec sleep 60", "printf '\\377'"])
def test_no_git_is_no_error(checkout, tmp_path, monkeypatch, git):
    places = tmp_path / "bin"
    places.mkdir()
    if git:
        (places / "git").write_text(f"#!/bin/sh\n{git}\n")
        (places / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{places}:/bin:/usr/bin" if git else str(places))
    monkeypatch.setattr("retrieval.jobs.environment.PATIENCE", 0.2)
    assert found(checkout / "retrieval") == (None, None)


def test_versions_are_those_that_compute():
    assert versions()["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"torch", "lightning", "open_clip"} <= versions().keys()
    assert hardware(torch.device("cpu"), 2).startswith("2 x ")


@pytest.mark.parametrize(
    "content", [[1], {"frames": "12"}, {"frames": True}, {"seeds": 1}, {"sampler": {"_target_": "os.system"}}]
)
def test_what_a_checkpoint_says_of_its_training_is_not_trusted(content):
    with pytest.raises(UserError, match=r"best\.ckpt: what it says of its training cannot be"):
        Training.of_checkpoint(content, "best.ckpt")
