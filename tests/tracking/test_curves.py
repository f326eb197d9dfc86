"""Curves stay in one file, whatever becomes of the run."""

import csv
from pathlib import Path

import lightning as L
import pytest
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import OmegaConf
from torch.utils.data import DataLoader

from retrieval.tracking.curves import Curves
from tests.jobs.commands import ROOT


class Model(L.LightningModule):
    """One number, which is logged at each step and each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
        loss = (self.weight * batch).sum()
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def fit(folder: Path, epochs: int, ckpt_path: Path | None = None) -> None:
    checkpoint = ModelCheckpoint(folder, "last", enable_version_counter=False, save_on_train_epoch_end=True)
    trainer = L.Trainer(
        max_epochs=epochs, logger=Curves(str(folder / "logs")), callbacks=[checkpoint], log_every_n_steps=1,
        accelerator="cpu", enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Model(), DataLoader(torch.ones(4, 1), batch_size=2), ckpt_path=ckpt_path, weights_only=True)


@pytest.mark.filterwarnings("ignore")
def test_a_run_that_goes_on_has_every_epoch_once_in_one_file(tmp_path):
    fit(tmp_path, 2)
    whole = rows(tmp_path / "logs")
    Curves(str(tmp_path / "logs")).path.write_text((tmp_path / "logs" / "metrics.csv").read_text())
    logger = Curves(str(tmp_path / "logs"))
    logger.log_metrics({"loss_step": 9.0, "epoch": 2}, step=4)  # of an epoch that was killed
    fit(tmp_path, 3, ckpt_path=tmp_path / "last.ckpt")
    found = rows(tmp_path / "logs")
    assert found[: len(whole)] == whole
    assert [row["epoch"] for row in found if row["loss_epoch"]] == ["0", "1", "2"]
    assert [row["step"] for row in found if row["loss_step"]] == ["0", "1", "2", "3", "4", "5"]
    assert "9.0" not in {row["loss_step"] for row in found}
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["metrics.csv"]


def test_a_new_metric_is_a_new_column(tmp_path):
    logger = Curves(str(tmp_path))
    logger.log_metrics({"a": 1.0}, step=0)
    logger.log_metrics({"a": 2.0, "b": 3.0}, step=1)
    logger.log_metrics({"b": 4.0}, step=1)
    assert rows(tmp_path) == [
        {"a": "1.0", "b": "", "step": "0"},
        {"a": "2.0", "b": "3.0", "step": "1"},
        {"a": "", "b": "4.0", "step": "1"},
    ]


@pytest.mark.parametrize("name", ["csv", "tensorboard"])
def test_loggers_of_one_run_write_to_one_folder(name, tmp_path):
    config = OmegaConf.load(ROOT / "conf" / "logger" / f"{name}.yaml")
    loggers = [instantiate(OmegaConf.merge({"run_dir": str(tmp_path)}, {"logger": config}).logger) for _ in range(2)]
    assert {str(Path(logger.log_dir or logger.path.parent)) for logger in loggers} == {str(tmp_path / "logs")}
