"""From a composed config to the objects of a job."""

from pathlib import Path
from typing import Any

import lightning as L
from hydra.utils import instantiate
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import DictConfig, OmegaConf

from retrieval.data import Preprocess, RetrievalDataModule
from retrieval.errors import UserError
from retrieval.model import CLIP, load_model, read_checkpoint
from retrieval.model.tuning import merge_lora
from retrieval.training.module import RetrievalModule


def build_module(config: DictConfig) -> RetrievalModule:
    """The module to train: backbone, reducer, tuning, optimizer."""
    reducer_config = plain(config.reducer)
    model = load_model(config.backbone.source, instantiate(reducer_config, _convert_="all"))
    instantiate(config.tuning)(model.train())
    optimizer = instantiate(config.optimizer, _convert_="all")
    metrics = instantiate(config.metrics)
    return RetrievalModule(model, optimizer, metrics, reducer_config, config.seed, config.compile)


def build_evaluation(config: DictConfig) -> RetrievalModule:
    """The module to evaluate: a checkpoint where one is given, else the plain backbone; adapters are merged."""
    model = build_model(config)
    merge_lora(model)
    return RetrievalModule(model, metrics=instantiate(config.metrics), seed=config.seed, compile=config.compile)


def build_model(config: DictConfig) -> CLIP:
    """The model of a checkpoint where one is given, else the plain backbone, with the config's reducer, if any."""
    if config.ckpt_path and not Path(config.ckpt_path).is_file():
        raise UserError(f"ckpt_path={config.ckpt_path}: no such weights file")
    reducer = instantiate(plain(config.get("reducer")), _convert_="all")
    return load_model(config.ckpt_path or config.backbone.source, reducer)


def preprocessing(model: CLIP) -> Preprocess:
    """What the model expects of its frames."""
    return Preprocess(model.image_size, model.architecture.image_mean, model.architecture.image_std)


def build_datamodule(config: DictConfig, model: CLIP, **choices: Any) -> RetrievalDataModule:
    """The data, with frames and words as the model wants them."""
    tokenizer = model.tokenizer(config.words)
    return instantiate(config.data, preprocess=preprocessing(model), tokenizer=tokenizer, **choices)


def build_trainer(config: DictConfig) -> L.Trainer:
    """Lightning's trainer with the config's callbacks and logger."""
    callbacks = list(instantiate(config.get("callbacks") or {}, _convert_="all").values())
    logger = instantiate(config.get("logger"), _convert_="all") or False
    return instantiate(config.trainer, callbacks=callbacks, logger=logger, _convert_="all")


def best_checkpoint(trainer: L.Trainer) -> ModelCheckpoint:
    """The callback that chose the checkpoint to test.

    Raises:
        UserError: the config has none.
    """
    if not isinstance(trainer.checkpoint_callback, ModelCheckpoint):
        raise UserError("callbacks: no ModelCheckpoint, which chooses by validation what the test split is read with")
    return trainer.checkpoint_callback


def training_data(ckpt_path: str | None) -> dict[str, Any]:
    """What the data module noted in a checkpoint of ours: `selected_on`, frames, words; nothing in those of others."""
    content = read_checkpoint(Path(ckpt_path)) if ckpt_path else {}
    return content.get(RetrievalDataModule.__qualname__, {})


def plain(config: DictConfig | None) -> dict[str, Any] | None:
    """A config as resolved plain values."""
    return None if config is None else OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]
