"""A job of a sweep runs once: what its folder says of it, another config, files that are damaged."""

import json
import signal
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from retrieval.jobs.runs import CONFIG, ERROR
from retrieval.jobs.stopping import Stopped
from retrieval.sweeps.states import VALUE, State, differences, run_once, state


def job_config(folder: Path, **knobs: object):
    return OmegaConf.create({"run_dir": str(folder), "ckpt_path": None, "output": "runs", "lr": 0.1} | knobs)


def test_a_job_runs_once(tmp_path):
    assert state(tmp_path / "job") is State.MISSING
    config = job_config(tmp_path / "job")
    assert [run_once(lambda _, value=value: value, config) for value in (1.5, 2.5)] == [1.5, 1.5]
    assert state(tmp_path / "job") is State.FINISHED


def test_a_failed_job_leaves_its_traceback_until_it_succeeds(tmp_path):
    config = job_config(tmp_path)
    with pytest.raises(RuntimeError, match=r"division by zero \(traceback: .*error.txt\)"):
        run_once(lambda _: 1 / 0, config)
    assert state(tmp_path) is State.FAILED
    assert "ZeroDivisionError" in (tmp_path / ERROR).read_text()
    run_once(lambda _: None, config)
    assert state(tmp_path) is State.FINISHED
    assert not (tmp_path / ERROR).exists()


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), Stopped(signal.SIGTERM)])
def test_an_interrupted_job_is_neither_finished_nor_failed(interruption, tmp_path):
    def interrupted(_: object) -> None:
        (tmp_path / "checkpoints").mkdir()
        (tmp_path / "checkpoints" / "last.ckpt").touch()
        raise interruption

    with pytest.raises(type(interruption)):
        run_once(interrupted, job_config(tmp_path))
    assert state(tmp_path) is State.INTERRUPTED


def test_another_config_is_told_by_its_knob_and_keeps_what_is_there(tmp_path):
    run_once(lambda _: 1.0, job_config(tmp_path))
    other = job_config(tmp_path, lr=0.2, ckpt_path="last", output="elsewhere")
    assert differences(tmp_path, other) == ["lr=0.1, now 0.2"]
    with pytest.raises(ValueError, match="another config"):
        run_once(lambda _: 2.0, other)
    assert json.loads((tmp_path / VALUE).read_text()) == 1.0


def test_another_checkpoint_is_another_job_unless_one_goes_on(tmp_path):
    run_once(lambda _: 1.0, job_config(tmp_path, ckpt_path="a.ckpt"))
    assert differences(tmp_path, job_config(tmp_path, ckpt_path="b.ckpt")) == ["ckpt_path=a.ckpt, now b.ckpt"]
    assert differences(tmp_path, job_config(tmp_path)) == ["ckpt_path=a.ckpt, now None"]
    run_once(lambda _: 2.0, job_config(tmp_path, ckpt_path="last"))
    assert OmegaConf.load(tmp_path / CONFIG).ckpt_path == "a.ckpt"  # the next one is still compared with it
    with pytest.raises(ValueError, match="another config"):
        run_once(lambda _: 3.0, job_config(tmp_path, ckpt_path="b.ckpt"))


def test_a_moved_folder_is_the_same_job(tmp_path):
    run_once(lambda _: 1.0, job_config(tmp_path / "here", dirpath=f"{tmp_path}/here/checkpoints"))
    (tmp_path / "here").rename(tmp_path / "there")
    there = job_config(tmp_path / "there", dirpath=f"{tmp_path}/there/checkpoints")
    assert differences(tmp_path / "there", there) == []


def test_a_config_that_was_torn_before_the_job_began_is_written_anew(tmp_path):
    (tmp_path / CONFIG).write_text("run_dir: /somewh")
    run_once(lambda _: 1.0, job_config(tmp_path))
    assert state(tmp_path) is State.FINISHED
