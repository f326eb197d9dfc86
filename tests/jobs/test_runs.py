"""Where runs live."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from retrieval.errors import UserError
from retrieval.jobs.files import write_json
from retrieval.jobs.resolvers import wandb_mode
from retrieval.jobs.runs import HANDED_ON, claim, is_finished, newest_run, resumed_checkpoint, start_run


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv(HANDED_ON, "")  # put back afterwards
    values = {"output": str(tmp_path), "name": "name", "ckpt_path": None, "run_dir": "???"}
    return OmegaConf.create(values | {"folder": "${run_dir}/checkpoints"})


def finish_epoch(folder: Path) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "last.ckpt").touch()
    return folder


def test_runs_that_start_at_once_get_folders_of_their_own(tmp_path):
    with ThreadPoolExecutor(8) as threads:
        folders = list(threads.map(lambda _: claim(tmp_path / "name"), range(8)))
    assert len(set(folders)) == 8


def test_the_newest_run_with_a_checkpoint_is_found_again(tmp_path):
    starts = [f"2026-01-01_00-00-00{number}" for number in ("", *(f"_{number}" for number in range(2, 12)))]
    folders = [finish_epoch(tmp_path / "name" / start) for start in starts]
    (tmp_path / "name" / "2026-01-02_00-00-00").mkdir()
    assert newest_run(str(tmp_path), "name") == folders[-1]
    assert newest_run(str(tmp_path), "other") is None


def test_a_run_starts_in_a_new_folder_with_its_config(config):
    folder = start_run(config)
    assert config.run_dir == str(folder)
    assert OmegaConf.load(folder / "config.yaml").folder == f"{folder}/checkpoints"
    config.run_dir = "???"
    assert start_run(config) != folder


def test_a_run_goes_on_in_its_folder(config, tmp_path):
    folder = finish_epoch(tmp_path / "name" / "2026-01-01_00-00-00")
    (folder / "error.txt").write_text("a bug that has been mended")
    config.ckpt_path = "last"
    assert start_run(config) == folder
    assert not (folder / "error.txt").exists()
    assert not is_finished(folder)
    (folder / "metrics.json").touch()
    assert not is_finished(folder)
    write_json(folder / "metrics.json", {})
    assert is_finished(folder)


def test_a_job_of_a_sweep_has_its_folder(config, tmp_path):
    config.run_dir = str(tmp_path / "sweep" / "job")
    assert start_run(config) == tmp_path / "sweep" / "job"


def test_the_other_processes_take_the_first_ones_folder_and_write_nothing(config, monkeypatch):
    folder = start_run(config)
    before = sorted(folder.rglob("*"))
    monkeypatch.setenv("LOCAL_RANK", "1")
    config.run_dir = "???"
    config.name = "is not looked at"
    assert start_run(config) == folder
    assert sorted(folder.rglob("*")) == before
    monkeypatch.delenv(HANDED_ON)  # started by torchrun
    config.run_dir = "???"
    assert not start_run(config).exists()


def test_resuming_needs_a_checkpoint_of_ours(config, tmp_path):
    assert resumed_checkpoint(config) is None
    config.ckpt_path = "last"
    with pytest.raises(UserError, match=f"^ckpt_path=last: no checkpoint under {tmp_path}/name; set name and output"):
        resumed_checkpoint(config)
    finish_epoch(tmp_path / "name" / "2026-01-01_00-00-00")
    with pytest.raises(UserError, match=r"last\.ckpt: damaged"):
        resumed_checkpoint(config)
    config.ckpt_path = str(tmp_path / "none.ckpt")
    with pytest.raises(UserError, match="no checkpoint there"):
        resumed_checkpoint(config)


def test_what_a_killed_save_left_is_deleted(config, tmp_path):
    folder = finish_epoch(tmp_path / "name" / "2026-01-01_00-00-00")
    (folder / "checkpoints" / ".last.ckpt.01234567.partial").write_bytes(b"half")
    config.ckpt_path = "last"
    start_run(config)
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["last.ckpt"]


def test_a_job_that_slurm_starts_again_goes_on_with_its_run(config, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    other = finish_epoch(start_run(config))
    folders = {}
    for command in ("seed=0", "seed=1"):
        monkeypatch.setattr(sys, "argv", ["train", command])
        config.run_dir = "???"
        folders[command] = start_run(config)
        torch.save({"architecture": {}}, finish_epoch(folders[command]) / "checkpoints" / "last.ckpt")
    monkeypatch.setattr(sys, "argv", ["train", "seed=0"])
    config.run_dir = "???"
    assert resumed_checkpoint(config.copy()) is None
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert resumed_checkpoint(config) == folders["seed=0"] / "checkpoints" / "last.ckpt"
    assert start_run(config) == folders["seed=0"] != other


def test_a_sweeps_job_that_slurm_starts_again_goes_on(config, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    config.run_dir = str(tmp_path / "job")
    assert resumed_checkpoint(config) is None
    torch.save({"architecture": {}}, finish_epoch(tmp_path / "job") / "checkpoints" / "last.ckpt")
    assert resumed_checkpoint(config) == tmp_path / "job" / "checkpoints" / "last.ckpt"


def test_nothing_to_go_on_from_leaves_no_folder(config, tmp_path):
    config.ckpt_path = "last"
    with pytest.raises(UserError):
        resumed_checkpoint(config)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_not_ours_is_told(config, tmp_path):
    (tmp_path / "name").mkdir(mode=0o500)
    with pytest.raises(UserError, match=r"cannot be written \(Permission denied\); output=<folder> writes elsewhere"):
        start_run(config)


@pytest.mark.parametrize(
    ("netrc", "environment", "mode"),
    [
        (None, {}, "offline"),
        ("", {}, "offline"),
        ("machine api.wandb.ai login user password key", {}, "online"),
        ("machine elsewhere.org login user password key", {}, "offline"),
        ("machine elsewhere.org login user password key", {"WANDB_BASE_URL": "http://elsewhere.org:80"}, "online"),
        ("nonsense", {}, "offline"),
        (None, {"WANDB_API_KEY": "key"}, "online"),
        (None, {"WANDB_API_KEY": "key", "WANDB_MODE": "disabled"}, "disabled"),
    ],
)
def test_wandb_is_online_where_there_is_a_key(netrc, environment, mode, tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    if netrc is not None:
        (tmp_path / "netrc").write_text(netrc)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert wandb_mode() == mode
