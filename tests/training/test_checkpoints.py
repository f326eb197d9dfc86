"""Checkpoints are whole or not there, whatever happens to the disk, the job and the folder."""

import errno
import shutil
import tempfile
from pathlib import Path
from uuid import UUID

import lightning as L
import pytest
import torch
from hydra import compose, initialize_config_dir

from retrieval.errors import UserError
from retrieval.training.building import build_trainer
from retrieval.training.checkpoints import WholeCheckpoints
from tests.jobs.commands import ROOT
from tests.training.small import Small, go_on, small_trainer


def content(number: float) -> dict:
    return {"state_dict": {"weight": torch.full((1000,), number)}}


def save(path: Path, number: float) -> None:
    WholeCheckpoints().save_checkpoint(content(number), path)


def holds(path: Path, number: float) -> bool:
    return WholeCheckpoints().load_checkpoint(path)["state_dict"]["weight"].eq(number).all().item()


@pytest.mark.parametrize("choice", ["default", "ddp_cpu"])
def test_every_trainer_writes_whole_checkpoints(choice, tmp_path):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("train", [f"trainer={choice}", f"run_dir={tmp_path}", "name=name", "trainer.accelerator=cpu"])
        trainer = build_trainer(config)
    assert isinstance(trainer.strategy.checkpoint_io, WholeCheckpoints)


def test_saving_needs_no_other_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    save(tmp_path / "checkpoints" / "last.ckpt", 1.0)
    assert holds(tmp_path / "checkpoints" / "last.ckpt", 1.0)


def test_a_save_that_does_not_end_leaves_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    save(path, 1.0)

    def interrupted(_: object, file) -> None:
        file.write(b"half")
        assert sorted(each.suffix for each in tmp_path.iterdir()) == [".ckpt", ".partial"]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            save(path, 2.0)
    assert list(tmp_path.iterdir()) == [path]
    assert holds(path, 1.0)


def fill_disk(monkeypatch, path: Path) -> None:
    """Leave no room for what is to take the place of `path`: it is written to a device that is always full."""
    monkeypatch.setattr("uuid.uuid4", lambda: UUID(int=0))
    path.with_name(f".{path.name}.00000000.partial").symlink_to("/dev/full")


@pytest.mark.parametrize("place", ["write", "fsync"])
def test_a_full_disk_is_told_and_leaves_the_one_before(place, tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    save(path, 1.0)
    if place == "write":
        fill_disk(monkeypatch, path)
    else:
        monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
    with pytest.raises(UserError, match=rf"^{path}: cannot be written \(No space left.*make room in {tmp_path}, then"):
        save(path, 2.0)
    assert list(tmp_path.iterdir()) == [path]
    assert holds(path, 1.0)


def test_a_bug_in_saving_is_no_full_disk(tmp_path):
    with pytest.raises(AttributeError):
        WholeCheckpoints().save_checkpoint({"not to be pickled": lambda: None}, tmp_path / "last.ckpt")
    assert not list(tmp_path.iterdir())


def test_a_damaged_checkpoint_is_refused(tmp_path):
    (tmp_path / "last.ckpt").write_bytes(b"PK half")
    with pytest.raises(UserError, match=r"last\.ckpt: damaged"):
        go_on(tmp_path, tmp_path / "last.ckpt")


class FullDisk(L.Callback):
    """From an epoch on no `best.ckpt` can be written."""

    def __init__(self, monkeypatch) -> None:
        self.monkeypatch = monkeypatch

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.current_epoch == 1:
            fill_disk(self.monkeypatch, Path(trainer.checkpoint_callback.dirpath, "best.ckpt"))


def test_training_goes_on_once_there_is_room(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"best\.ckpt: cannot be written .*go on with ckpt_path=last"):
        small_trainer(tmp_path, FullDisk(monkeypatch)).fit(Small())
    folder = tmp_path / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == ["best.ckpt", "last.ckpt"]
    assert torch.load(folder / "last.ckpt", weights_only=True)["epoch"] == 0
    assert go_on(tmp_path).checkpoint_callback.best_model_score == 7


@pytest.fixture
def two_epochs(tmp_path) -> Path:
    go_on(tmp_path / "here", epochs=2)
    return tmp_path / "here"


def best(folder: Path) -> tuple[int, torch.Tensor]:
    """The epoch and the score of the best checkpoint in a run's folder."""
    file = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    scores = [state["best_model_score"] for state in file["callbacks"].values() if state.get("monitor")]
    return file["epoch"], scores[0]


def test_a_moved_run_keeps_its_best(two_epochs, tmp_path):
    two_epochs.rename(tmp_path / "there")
    trainer = go_on(tmp_path / "there")
    assert Path(trainer.checkpoint_callback.best_model_path) == tmp_path / "there" / "checkpoints" / "best.ckpt"
    assert trainer.checkpoint_callback.best_model_score == 7
    assert best(tmp_path / "there") == (1, 7)
    assert not two_epochs.exists()


def test_a_moved_run_still_finds_a_better_one(two_epochs, tmp_path):
    two_epochs.rename(tmp_path / "there")
    trainer = small_trainer(tmp_path / "there")
    trainer.fit(Small(scores=[3.0, 7.0, 8.0, 6.0]), ckpt_path=tmp_path / "there" / "checkpoints" / "last.ckpt")
    assert best(tmp_path / "there") == (2, 8)


def test_a_copied_run_never_touches_the_original(two_epochs, tmp_path):
    shutil.copytree(two_epochs, tmp_path / "copy")
    before = [(path, path.read_bytes()) for path in sorted(two_epochs.rglob("*.ckpt"))]
    go_on(tmp_path / "copy")
    assert best(tmp_path / "copy") == (1, 7)
    assert [(path, path.read_bytes()) for path in sorted(two_epochs.rglob("*")) if path.is_file()] == before


def test_a_new_run_from_anothers_checkpoint_takes_its_best_along(two_epochs, tmp_path):
    trainer = go_on(tmp_path / "new", two_epochs / "checkpoints" / "last.ckpt")
    shutil.rmtree(two_epochs)
    assert Path(trainer.checkpoint_callback.best_model_path).is_relative_to(tmp_path / "new")
    assert best(tmp_path / "new") == (1, 7)


def test_a_best_checkpoint_that_is_gone_is_told(two_epochs):
    (two_epochs / "checkpoints" / "best.ckpt").unlink()
    told = r"last\.ckpt: its best checkpoint so far \(score 7\) is not at .*best\.ckpt: put it back, or start anew"
    with pytest.raises(UserError, match=told):
        go_on(two_epochs)


@pytest.mark.parametrize("name", ["best_model_path", "best_k_models", "dirpath"])
def test_a_file_chooses_no_place_outside_of_the_run(name, two_epochs, tmp_path):
    """What lies there would be copied over something, and deleted once a better checkpoint is found."""
    path = two_epochs / "checkpoints" / "last.ckpt"
    file = torch.load(path, weights_only=True)
    state = next(state for state in file["callbacks"].values() if state.get("monitor"))
    outside = f"{state['dirpath']}/../../precious.txt"
    state[name] = {outside: torch.tensor(7.0)} if name == "best_k_models" else outside
    torch.save(file, path)
    (tmp_path / "precious.txt").write_text("ours")
    trainer = small_trainer(two_epochs)
    with pytest.raises(UserError, match=r"last\.ckpt: refused, for it remembers a checkpoint at .*precious\.txt"):
        trainer.fit(Small(scores=[3.0, 7.0, 8.0, 9.0]), ckpt_path=path)
    assert (tmp_path / "precious.txt").read_text() == "ours"
