"""The work of `retrieval.train` and `retrieval.evaluate`, from a composed config to results."""

from pathlib import Path

import lightning as L
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from retrieval.efficiency.cost import cost, trained_parameters
from retrieval.errors import UserError
from retrieval.jobs.results import Results
from retrieval.jobs.runs import resumed_checkpoint, start_run
from retrieval.model import read_checkpoint
from retrieval.model.tuning import lora_rank, merge_lora, save_adapter
from retrieval.tracking import log_config, log_summary
from retrieval.training.building import (
    best_checkpoint,
    build_datamodule,
    build_evaluation,
    build_module,
    build_trainer,
    training_data,
)


def train(config: DictConfig) -> float:
    """Train, choose the checkpoint on validation, read the test split once.

    Returns:
        The best value of what the checkpoint was chosen by, for searches over configs.
    """
    L.seed_everything(config.seed, workers=True)
    resume_from = resumed_checkpoint(config)
    module = build_module(config)
    data = build_datamodule(config, module.model)
    folder = start_run(config)
    trainer = build_trainer(config)
    best = best_checkpoint(trainer)
    log_config(trainer, config, HydraConfig.get().runtime.choices["reducer"])
    trainer.fit(module, data, ckpt_path=resume_from, weights_only=True)

    if not best.best_model_path:
        raise UserError("validation never ran, so no checkpoint was chosen: lower trainer.check_val_every_n_epoch")
    metrics = trainer.test(module, data, ckpt_path=best.best_model_path, weights_only=True, verbose=False)[0]
    epoch = read_checkpoint(Path(best.best_model_path))["epoch"]
    trained = trained_parameters(module.model)
    if lora_rank(module.model) is not None and trainer.is_global_zero:
        save_adapter(module.model, folder / "adapter")
    merge_lora(module.model)
    costs = cost(module.model, config.data.frames, config.words)
    log_summary(trainer, costs | {"trained_parameters": trained})
    results = Results.measured(
        metrics,
        split="test",
        **_choices(),
        head="mean",
        frames=config.data.frames,
        words=config.words,
        checkpoint=f"best {best.monitor} (epoch {epoch})",
        selected_on=data.selected_on,
        seed=config.seed,
        trained_parameters=trained,
        cost=costs,
    )
    results.write(folder)
    results.show()
    return float(best.best_model_score or 0.0)


def evaluate(config: DictConfig) -> None:
    """Evaluate a checkpoint or a plain backbone on any split."""
    L.seed_everything(config.seed, workers=True)
    module = build_evaluation(config)
    data = build_datamodule(config, module.model, test_split=config.split)
    trained = training_data(config.ckpt_path)
    data.load_state_dict(trained)
    folder = start_run(config)
    trainer = build_trainer(config)
    metrics = trainer.test(module, data, verbose=False)[0]
    results = Results.measured(
        metrics,
        split=config.split,
        **_choices(),
        head="mean",
        frames=config.data.frames,
        words=config.words,
        checkpoint=config.ckpt_path or f"{config.backbone.source}, as it is",
        selected_on=trained.get("selected_on"),
        seed=config.seed,
        cost=cost(module.model, config.data.frames, config.words),
    )
    results.write(folder)
    results.show()


def _choices() -> dict[str, str]:
    choices = HydraConfig.get().runtime.choices
    return {name: str(choices[name]) for name in ("data", "backbone", "reducer")}
