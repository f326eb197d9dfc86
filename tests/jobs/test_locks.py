"""One job at a time in a folder: who is second is told who is first, and changes nothing."""

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from omegaconf import OmegaConf

from retrieval.errors import UserError
from retrieval.jobs.locks import hold, holder, holds, lock, until_the_end
from retrieval.jobs.runs import HANDED_ON, discard_if_empty, start_run
from retrieval.sweeps.states import State, run_once, state
from tests.jobs.commands import ENV, ROOT

HOLDER = """
import os, sys, time
from pathlib import Path
from retrieval.jobs.locks import hold
hold(Path(sys.argv[1]), "train job")
worker = os.fork()
if worker:
    print(worker, flush=True)
time.sleep(60)
"""


class Other:
    """Another process that works in a folder, and has a worker."""

    def __init__(self, folder: Path) -> None:
        line = [sys.executable, "-c", HOLDER, str(folder)]
        self.process = subprocess.Popen(line, cwd=ROOT, env=ENV, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.worker = int(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def other(tmp_path) -> Iterator[Other]:
    started = Other(tmp_path / "job")
    yield started
    started.kill()
    os.kill(started.worker, signal.SIGKILL)


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*")}


def test_the_second_is_told_who_is_first_and_changes_nothing(other, tmp_path, monkeypatch):
    monkeypatch.setenv(HANDED_ON, "")
    folder = tmp_path / "job"
    (folder / "config.yaml").write_text("theirs: 1\n")
    before = files(folder)
    config = OmegaConf.create({"run_dir": str(folder), "ckpt_path": None, "output": "runs"})
    who = rf"job: in use by the train job of \w+ on {socket.gethostname()} \(pid {other.process.pid}\) since 2\d\d\d-"
    for attempt in (lambda: start_run(config), lambda: run_once(lambda _: pytest.fail("ran"), config)):
        with pytest.raises(UserError, match=f"{who}.*; wait for its end, or end it$"):
            attempt()
    discard_if_empty(config)
    assert state(folder) is State.RUNNING
    assert files(folder) == before

    other.kill()  # the worker that it has forked lives on
    assert holder(folder) is None
    assert state(folder) is not State.RUNNING
    with lock(folder):
        assert holds(folder)


def test_what_a_process_holds_it_may_lock_again_and_it_is_released_in_the_end(tmp_path):
    with lock(tmp_path), until_the_end():
        hold(tmp_path, "another job")
        hold(tmp_path / "new")
        assert holds(tmp_path / "new")
        assert holder(tmp_path) is None  # nobody else
    assert not holds(tmp_path)
    assert not holds(tmp_path / "new")
    with lock(tmp_path):
        assert holds(tmp_path)


def test_the_processes_of_one_training_do_not_lock_each_other_out(other, tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    with lock(tmp_path / "job"):
        assert not holds(tmp_path / "job")


def test_a_filesystem_without_locks_warns_and_lets_all_in(tmp_path, monkeypatch, caplog):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with lock(tmp_path):
        assert "the filesystem has no locks (No locks available)" in caplog.text
