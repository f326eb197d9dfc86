"""A job that is told to stop says how to go on, and ends with the exit code that schedulers expect."""

import os
import signal
import sys

import pytest
import torch

from retrieval.jobs.stopping import stoppable
from retrieval.train import main as train
from tests.jobs.commands import call, knobs, run_here

STOPPING = """
import os, signal
from retrieval.reducers import Reducer
class Stopping(Reducer):
    def __init__(self, number: int):
        super().__init__()
        os.kill(os.getpid(), number)
"""
TELL = "+callbacks.tell={_target_: tests.training.test_stopping.Tell, hook: %s, count: %d}"


@pytest.fixture(autouse=True)
def _with_ctrl_c():
    """A shell that runs the tests in the background has SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def stopped(capsys, *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stop:
        call(train, *arguments)
    return stop.value.code, capsys.readouterr().err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stopped_while_it_is_built_it_leaves_nothing(number, code, place, tmp_path, monkeypatch, capsys):
    (tmp_path / "stopping.py").write_text(STOPPING)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "stopping", raising=False)
    target = ["reducer._target_=stopping.Stopping", f"+reducer.number={int(number)}"]
    told = stopped(capsys, *[each for each in knobs(place, "built") if not each.startswith("reducer")], *target)
    assert told == (code, f"stopped by {number.name}; the same command starts again\n")
    assert not (place / "built").exists()


@pytest.mark.slow
def test_a_stopped_training_goes_on_where_it_was(place, finished, capsys):
    code, told = stopped(capsys, *knobs(place, "stopped", TELL % ("on_train_batch_start", 3)))
    (folder,) = (place / "stopped").iterdir()
    assert code == 143
    assert f"name=stopped output={place} ckpt_path=last\n" in told.partition("stopped by SIGTERM; go on with: ")[2]
    assert not (folder / "metrics.json").exists()
    assert run_here(place, "stopped", "ckpt_path=last") == folder
    resumed, unbroken = (
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for run in (folder, finished)
    )
    assert all(torch.equal(resumed[name], value) for name, value in unbroken.items())
    assert (folder / "metrics.json").read_bytes() == (finished / "metrics.json").read_bytes()


@pytest.mark.slow
def test_stopped_in_the_test_it_claims_no_results(place, capsys):
    small = ["experiment=smoke", "trainer.max_epochs=1"]
    code, told = stopped(capsys, *knobs(place, "tested", *small, TELL % ("on_test_batch_start", 1)))
    (folder,) = (place / "tested").iterdir()
    assert code == 143
    assert "go on with:" in told
    assert not (folder / "metrics.json").exists()


def test_a_forked_process_leaves_the_job_to_its_parent():
    with stoppable():
        child = os.fork()
        if child == 0:
            here = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
            os._exit(0 if here == [signal.SIG_DFL, signal.SIG_IGN] else 1)
    assert os.waitpid(child, 0)[1] == 0
