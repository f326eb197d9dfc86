"""From a composed config to the objects of a job."""

import sys
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml
from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.utils import get_class, instantiate
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from retrieval.data import RetrievalDataModule
from retrieval.errors import UserError
from retrieval.heads import Head
from retrieval.jobs.keys import options_of, own_folders
from retrieval.jobs.runs import LAST_CHECKPOINT, is_in_sweep
from retrieval.metrics import RetrievalMetrics
from retrieval.model import CLIP, load_model, read_checkpoint
from retrieval.model.halves import checkpoint_blocks
from retrieval.model.loading import model_of
from retrieval.model.precision import resolved
from retrieval.model.saved import known_class
from retrieval.model.tuning import merge_lora
from retrieval.plain import targets
from retrieval.reducers import Reducer
from retrieval.training.checkpoints import WholeCheckpoints
from retrieval.training.experiment import describe
from retrieval.training.module import RetrievalModule
from retrieval.training.resuming import Resumption
from retrieval.training.stopping import StopOnSignal

PARTS = {"reducer": Reducer, "head": Head}


def build_module(config: DictConfig) -> RetrievalModule:
    """The module to train: backbone, reducer, head, tuning, loss, optimizer."""
    parts = {part: plain(config[part]) for part in PARTS}
    model = load_model(config.backbone.source, **{part: built(parts[part]) for part in PARTS})
    instantiate(config.tuning)(model.train())
    checkpoint_blocks(model, config.backbone.get("checkpointing", False))
    return RetrievalModule(
        model,
        built(plain(config.optimizer)),
        built(plain(config.loss)),
        build_metrics(config, model),
        parts,
        describe(config),
        config.seed,
        config.micro_batch,
    )


def build_evaluation(config: DictConfig, content: dict[str, Any] | None = None) -> RetrievalModule:
    """The module to evaluate: a checkpoint where one is given, else the plain backbone; adapters are merged."""
    model = build_model(config, content)
    merge_lora(model)
    return RetrievalModule(model, metrics=build_metrics(config, model), seed=config.seed)


def build_model(config: DictConfig, content: dict[str, Any] | None = None) -> CLIP:
    """The model of a checkpoint where one is given, else the plain backbone; with the reducer and head of the config.

    Args:
        config: the job's.
        content: what the checkpoint holds, where it has been read already.
    """
    parts = {part: built(plain(config.get(part))) for part in PARTS}
    if not config.ckpt_path:
        return load_model(config.backbone.source, **parts)
    content = content or read_checkpoint(Path(config.ckpt_path))
    _import_named(content)
    return model_of(content, config.ckpt_path, **parts)


def build_metrics(config: DictConfig, model: CLIP) -> RetrievalMetrics:
    """The metrics, which rank by the model's own similarity."""
    return instantiate(config.metrics, similarity=model.head.similarity)


def build_datamodule(config: DictConfig, model: CLIP, with_bank: bool = False, **choices: Any) -> RetrievalDataModule:
    """The data, with frames and words as the model wants them."""
    words = {"words": config.words, "tokenizer": model.tokenizer(config.words)}
    return instantiate(config.data, image_size=model.image_size, **words, with_bank=with_bank, **choices)


def build_trainer(config: DictConfig, *callbacks: L.Callback) -> L.Trainer:
    """Lightning's trainer with the config's callbacks and logger, and further callbacks before them.

    Whatever the config has, checkpoints are written whole, and saved when it is stopped; a run goes on where it was.
    """
    callbacks = (*callbacks, StopOnSignal(Path(config.run_dir, LAST_CHECKPOINT)), Resumption())
    callbacks = (*callbacks, *(built(plain(config.get("callbacks"))) or {}).values())
    quiet = {}
    if not _is_watched():
        callbacks = tuple(callback for callback in callbacks if not isinstance(callback, ProgressBar))
        quiet = {"enable_progress_bar": False}
    logger = built(plain(config.get("logger"))) or False
    plugins = [*(built(plain(config.trainer.get("plugins"))) or []), WholeCheckpoints()]
    precision = resolved(config.trainer.get("precision"), _device_type(config.trainer.get("accelerator", "auto")))
    given = {"callbacks": list(callbacks), "logger": logger, "plugins": plugins, "precision": precision, **quiet}
    return instantiate(config.trainer, **given, _convert_="all")


def _device_type(accelerator: str) -> str:
    """Of Lightning's accelerator: what torch calls its devices."""
    if accelerator in ("auto", "gpu"):
        return "cuda" if torch.cuda.is_available() else "cpu"
    return accelerator


def _is_watched() -> bool:
    """Whether a progress bar is seen: on a terminal, and not among the lines of other jobs of a sweep."""
    return sys.stdout.isatty() and not is_in_sweep()


def best_checkpoint(trainer: L.Trainer) -> ModelCheckpoint:
    """The callback that chose the checkpoint to test.

    Raises:
        UserError: the config has none.
    """
    if not isinstance(trainer.checkpoint_callback, ModelCheckpoint):
        raise UserError("callbacks: no ModelCheckpoint, which chooses by validation what the test split is read with")
    return trainer.checkpoint_callback


def built(config: Any) -> Any:
    """What a plain config of the user's describes; None stays None."""
    return instantiate(config, _convert_="all")


def plain(config: DictConfig | None) -> dict[str, Any] | None:
    """A config as resolved plain values."""
    return None if config is None else OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]


def _import_named(content: dict[str, Any]) -> None:
    """Import the reducers and heads of others that a checkpoint names, provided that the user's own configs name them.

    A checkpoint alone imports nothing: a class is looked for among the `_target_`s of the options of conf/reducer and
    conf/head, those of --config-dir included.
    """
    if not GlobalHydra.instance().is_initialized():
        return
    for part, kind in PARTS.items():
        unknown = {target for target in targets(content.get(part)) if known_class(target, kind) is None}
        for option in options_of(part) if unknown else ():
            try:
                named = targets(OmegaConf.to_container(compose(overrides=[*own_folders(), f"+{part}={option}"])[part]))
            except (HydraException, OmegaConfBaseException):
                continue  # an option that is more than one of its group
            for target in unknown.intersection(named):
                get_class(target)


def import_own(conf: Path) -> None:
    """Import the reducers and heads that the options of a user's own conf name, for a command that is not Hydra's.

    Raises:
        UserError: no such folder, an option that is no YAML, or a class that cannot be imported.
    """
    if not conf.is_dir():
        raise UserError(f"--config-dir={conf}: no such folder")
    for path in (path for part in PARTS for path in sorted(conf.glob(f"{part}/**/*.yaml"))):
        try:
            for target in targets(yaml.safe_load(path.read_text(encoding="utf-8"))):
                get_class(target)
        except (OSError, yaml.YAMLError, ImportError, ValueError) as error:
            raise UserError(f"{path}: {' '.join(str(error).split())}") from error
