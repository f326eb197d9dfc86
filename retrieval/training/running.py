"""The work of `retrieval.train` and `retrieval.evaluate`, from a composed config to results."""

import logging
from pathlib import Path
from typing import Any

import lightning as L
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from retrieval.efficiency.cost import cost, trained_parameters
from retrieval.efficiency.spent import MEANS
from retrieval.errors import UserError
from retrieval.jobs.keys import given_keys
from retrieval.jobs.results import Results
from retrieval.jobs.runs import LAST, METRICS, is_finished, resumed_checkpoint, start_run
from retrieval.model import CLIP, read_checkpoint
from retrieval.model.loading import part_name
from retrieval.model.tuning import lora_rank, merge_lora, save_adapter
from retrieval.model.weights import is_weights_file
from retrieval.tracking import log_config, log_summary
from retrieval.training.building import (
    best_checkpoint,
    build_datamodule,
    build_evaluation,
    build_module,
    build_trainer,
)
from retrieval.training.card import TrainingRecord, measured_under
from retrieval.training.compilation import Compilation
from retrieval.training.experiment import recalled
from retrieval.training.found import keep_found
from retrieval.training.start import Start
from retrieval.training.usage import Usage

_log = logging.getLogger(__name__)


def train(config: DictConfig) -> float:
    """Train, choose the checkpoint on validation, read the test split once.

    Returns:
        The best value of what the checkpoint was chosen by, for searches over configs.
    """
    L.seed_everything(config.seed, workers=True, verbose=False)
    resume_from = resumed_checkpoint(config)
    if config.ckpt_path == LAST and resume_from and (value := _finished(resume_from, config)) is not None:
        return value
    module = build_module(config)
    data = build_datamodule(config, module.model, with_bank=module.metrics.takes_bank)
    facts = _facts(config, module.model)
    folder = start_run(config)
    start = Start(facts | _sizes(config, module.model) | {"run": str(folder)})
    compilation = Compilation(config.compile, cost(module.model, config.data.frames, config.words))
    trainer = build_trainer(config, compilation, start, TrainingRecord(config), Usage(folder))
    best = best_checkpoint(trainer)
    log_config(trainer, config, facts["reducer"])
    trainer.fit(module, data, ckpt_path=resume_from, weights_only=True)

    if not best.best_model_path:
        raise UserError("validation never ran, so no checkpoint was chosen: lower trainer.check_val_every_n_epoch")
    metrics = dict(trainer.test(module, data, ckpt_path=best.best_model_path, weights_only=True, verbose=False)[0])
    content = read_checkpoint(Path(best.best_model_path))
    trained = trained_parameters(module.model)
    if lora_rank(module.model) is not None and trainer.is_global_zero:
        save_adapter(module.model, folder / "adapter")
    merge_lora(module.model)
    costs = _costs(config, module.model, metrics)
    log_summary(trainer, costs | {"trained_parameters": trained})
    results = Results.measured(
        metrics,
        measured_under(trainer, config, "test", content),
        **facts,
        checkpoint=f"best {best.monitor} (epoch {content['epoch']})",
        trained_parameters=trained,
        cost=costs,
    )
    results.write(folder)
    results.show()
    keep_found(module.model.visual.reducer, module.parts["reducer"], folder)
    return float(best.best_model_score or 0.0)


def evaluate(asked: DictConfig) -> None:
    """Evaluate a checkpoint or a plain backbone on any split.

    What the user does not say, a checkpoint of ours says: data, frames, words, reducer and head of its training.
    """
    L.seed_everything(asked.seed, workers=True, verbose=False)
    content = read_checkpoint(Path(asked.ckpt_path)) if asked.ckpt_path else {}
    config = recalled(asked, "evaluate", content, asked.ckpt_path) if "architecture" in content else asked
    module = build_evaluation(config, content)
    data = build_datamodule(config, module.model, with_bank=module.metrics.takes_bank, test_split=config.split)
    facts = _facts(config, module.model, content)
    if config.name is None:
        config.name = "-".join(
            ["evaluate", *facts.values(), f"{config.data.frames}_frames", f"{config.words}_words", config.split]
        )
    folder = start_run(config)
    asked.run_dir = config.run_dir  # for who cleans up after a mistake
    start = Start(facts | _sizes(config, module.model) | {"run": str(folder)})
    compilation = Compilation(config.compile, cost(module.model, config.data.frames, config.words))
    trainer = build_trainer(config, compilation, start)
    metrics = dict(trainer.test(module, data, verbose=False)[0])
    results = Results.measured(
        metrics,
        measured_under(trainer, config, config.split, content),
        **facts,
        checkpoint=config.ckpt_path or f"{config.backbone.source}, as it is",
        cost=_costs(config, module.model, metrics),
    )
    results.write(folder)
    results.show()


def _finished(checkpoint: Path, config: DictConfig) -> float | None:
    """Where a run that would be resumed has finished, tell its results and return what it returned."""
    folder, content = checkpoint.parents[1], read_checkpoint(checkpoint)
    epochs = config.trainer.max_epochs
    if not is_finished(folder) or epochs is None or not 0 <= epochs <= content["epoch"] + 1:
        return None
    _log.info("%s has finished %d epochs and is tested: its results", folder, content["epoch"] + 1)
    Results.read(folder / METRICS).show()
    scores = [state.get("best_model_score") for state in content["callbacks"].values()]
    return float(next((score for score in scores if score is not None), 0.0))


def _facts(config: DictConfig, model: CLIP, content: dict[str, Any] | None = None) -> dict[str, str]:
    """The names of what is measured: options as the user or the checkpoint chose them."""
    choices = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    trained, given = (content or {}).get("experiment", {}).get("choices", {}), given_keys()
    names = {
        group: trained[group] if trained.get(group) and group not in given else choices.get(group)
        for group in ("data", "backbone", "reducer", "head")
    }
    if config.get("ckpt_path") and content is not None:  # the file brings the backbone, whatever is chosen
        names["backbone"] = trained.get("backbone") or Path(config.ckpt_path).name
    names["reducer"] = names["reducer"] or part_name(model.visual.reducer)
    names["head"] = names["head"] or part_name(model.head)
    return {group: str(name) for group, name in names.items()}


def _costs(config: DictConfig, model: CLIP, logged: dict[str, float]) -> dict[str, Any]:
    """What encoding costs; where that depends on the pixels, at the most, and the means that are among the logged."""
    means = {name: round(logged.pop(f"test/{name}"), 4) for name in MEANS if f"test/{name}" in logged}
    return cost(model, config.data.frames, config.words) | means


def _sizes(config: DictConfig, model: CLIP) -> dict[str, str]:
    """What the start of a job tells of the model."""
    costs = cost(model, config.data.frames, config.words)
    source = config.get("ckpt_path") or config.backbone.source
    random = "" if is_weights_file(source) or "/" in source else ", random weights"
    most = "at most " if model.visual.reducer.ragged else ""
    return {
        "model": f"{source}{random}, {costs['parameters']:,} parameters",
        "tokens": f"{most}{costs['output_tokens']} a video at the end, of {config.data.frames} frames",
        "GMACs": f"{most}{costs['video_gmacs']:.2f} a video, {costs['text_gmacs']:.2f} a caption of "
        f"{config.words} words",
    }
