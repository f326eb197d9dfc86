"""Processes that are lost, and those that would be left behind."""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch.utils.data import Dataset

from retrieval.data.loading import Loader, start_worker
from retrieval.errors import UserError
from retrieval.jobs import processes
from retrieval.training import parallel
from retrieval.training.parallel import DDP
from tests.jobs.commands import ENV, ROOT

CLOSED = RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:538] Connection closed by peer [127.0.0.1]:9")
SILENT = RuntimeError("[gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 5000ms for recv operation")
PARENT = """
import os, time
from retrieval.orphans import {function}
parent = os.getpid()
child = os.fork()
if child:
    os.write(1, b"%d\\n" % child)  # in one piece, for both write at once
else:
    {call}
    os.write(1, b"ready\\n")
time.sleep(60)
"""


class Dying(Dataset[int]):
    """Its worker is killed as for want of memory."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return index


class Broken(Dying):
    """It cannot be read."""

    def __getitem__(self, index: int) -> int:
        raise RuntimeError("broken")


class DeathSignals(Dying):
    """The signal that a worker gets when the main process ends."""

    def __getitem__(self, index: int) -> int:
        found = ctypes.c_int()
        ctypes.CDLL(None).prctl(2, ctypes.byref(found))
        return found.value


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel does it on Linux alone")
def test_workers_of_all_loaders_are_killed_with_the_main_process():
    assert next(iter(Loader(DeathSignals(), num_workers=1, worker_init_fn=start_worker))) == signal.SIGKILL


@pytest.mark.parametrize(
    ("function", "call"), [("end_with_parent", "end_with_parent()"), ("watch", "watch(parent, 0, 'last words')")]
)
def test_a_child_ends_with_its_parent(function, call):
    line = [sys.executable, "-c", PARENT.format(function=function, call=call)]
    parent = subprocess.Popen(line, cwd=ROOT, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    lines = {parent.stdout.readline().strip(), parent.stdout.readline().strip()}
    child = int((lines - {"ready"}).pop())
    parent.kill()
    _, told = parent.communicate(timeout=20)  # until the child, too, has closed its output
    assert told.strip() == ("last words" if function == "watch" else "")
    while Path(f"/proc/{child}").exists() and "Z" not in Path(f"/proc/{child}/stat").read_text().split()[2]:
        time.sleep(0.01)


def test_a_killed_worker_is_told_where_its_batch_is_waited_for():
    handler = signal.getsignal(signal.SIGCHLD)
    with pytest.raises(UserError, match=r"^a process that reads videos \(pid \d+\) has crashed or was killed, mostly"):
        next(iter(Loader(Dying(), num_workers=1)))
    assert signal.getsignal(signal.SIGCHLD) is handler  # nothing is raised anywhere else


def test_a_worker_that_is_killed_between_two_passes_is_told():
    loader = Loader(list(range(2)), num_workers=1, persistent_workers=True)
    list(loader)
    os.kill(loader._iterator._workers[0].pid, signal.SIGKILL)
    with pytest.raises(UserError, match=r"^a process that reads videos \(pid \d+\) has crashed or was killed"):
        list(loader)


def test_what_a_worker_raises_stays_what_it_is():
    with pytest.raises(RuntimeError, match=r"^Caught RuntimeError in DataLoader worker process 0"):
        next(iter(Loader(Broken(), num_workers=1)))


@pytest.fixture
def strategy(monkeypatch) -> DDP:
    """As in the first process of two; the other one is `sleep`, unless a test puts another one in its place."""
    monkeypatch.setattr(parallel, "GRACE", 1.0)
    strategy = DDP(timeout=5)
    strategy._launcher = SimpleNamespace(procs=[subprocess.Popen(["sleep", "60"])])
    yield strategy
    for process in strategy.launcher.procs:
        process.kill()


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("kill -9 $$", r"^process 1 of the training \(pid \d+\) was killed by SIGKILL, mostly because memory ran out"),
        ("exit 3", r"^process 1 of the training \(pid \d+\) has ended with an error, which stands above"),
    ],
)
def test_a_lost_process_is_named_by_the_first(strategy, code, told):
    strategy.launcher.procs[0].kill()
    strategy.launcher.procs[0] = subprocess.Popen(["sh", "-c", code])
    with pytest.raises(UserError, match=f"{told}.*; ckpt_path=last goes on"):
        strategy.on_exception(CLOSED)
    assert strategy.launcher.procs == []


def test_a_silent_process_is_ended_and_the_knob_told(strategy):
    other = strategy.launcher.procs[0]
    with pytest.raises(UserError, match=r"^process 0 has waited 5 s for another one.*trainer\.strategy\.timeout="):
        strategy.on_exception(SILENT)
    assert other.wait(5) == -signal.SIGKILL


def test_other_errors_stay_what_they_are_and_end_the_others(strategy):
    other = strategy.launcher.procs[0]
    strategy.on_exception(KeyboardInterrupt())
    assert other.poll() is None
    strategy.on_exception(ZeroDivisionError())
    assert other.wait(5) == -signal.SIGKILL


def test_another_than_the_first_leaves_it_to_the_first_to_tell(strategy, monkeypatch):
    strategy.launcher.procs.pop().kill()
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv(processes.STARTED_BY, "1")  # which is not the parent: it has ended
    with pytest.raises(UserError, match=r"^process 0 of the training \(pid 1\) was killed"):
        strategy.on_exception(CLOSED)


def test_lightnings_word_on_a_lost_process_is_seen(strategy, caplog):
    logging.getLogger(parallel.OBSERVER).warning("[rank: 1] Child process with PID 7 terminated with code -9. Force")
    assert caplog.messages[0].startswith("process 1 of the training (pid 7) was killed by SIGKILL")
    assert caplog.records[0].levelname == "ERROR"


@pytest.mark.parametrize("trainer", ["ddp", "ddp_cpu"])
def test_how_long_to_wait_is_a_knob(trainer):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("train", [f"trainer={trainer}", "trainer.strategy.timeout=7"]).trainer.strategy
    assert instantiate(config)._timeout.total_seconds() == 7
    with pytest.raises(UserError, match=r"trainer\.strategy\.timeout=0 seconds, must be positive"):
        DDP(timeout=0)
