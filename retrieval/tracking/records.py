"""What W&B is told of a run as a whole: config, git revision, summary. All of it does nothing without a W&B logger."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

import lightning as L
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from omegaconf import DictConfig, OmegaConf

from retrieval.jobs.environment import revision

if TYPE_CHECKING:
    from wandb import Run

P = ParamSpec("P")
REDUCER_KNOBS = ("num_segments", "merge_ratio")
"""The knobs that sweeps turn: in every run's config, None where its reducer lacks them."""


def never_fatal(record: Callable[P, None]) -> Callable[P, None]:
    """Make a failure to log a warning: neither a lost network nor a broken thumbnail may cost a run that trained."""

    @wraps(record)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            record(*args, **kwargs)
        except Exception as error:
            what = record.__name__.strip("_").replace("_", " ")
            rank_zero_warn(f"W&B: could not {what}, the run goes on: {type(error).__name__}: {error}")

    return guarded


def wandb_run(trainer: L.Trainer) -> "Run | None":
    """The trainer's W&B run; None without a W&B logger, and on every process but the first."""
    loggers = [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
    return loggers[0].experiment if loggers and trainer.is_global_zero else None


@never_fatal
def log_config(trainer: L.Trainer, config: DictConfig, reducer: str) -> None:
    """Log the resolved config, the reducer's name and knobs at stable keys, and the git revision.

    Args:
        trainer: the run's.
        config: the job's.
        reducer: the option's name, logged as `reducer.name`.
    """
    if run := wandb_run(trainer):
        settings: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
        knobs = {knob: find_knob(settings["reducer"], knob) for knob in REDUCER_KNOBS}
        facts = {"reducer": settings["reducer"] | knobs | {"name": reducer}, "git_revision": revision()[0]}
        run.config.update(settings | facts, allow_val_change=True)


@never_fatal
def log_summary(trainer: L.Trainer, cost: Mapping[str, int | float]) -> None:
    """Log what the model costs, under `cost/`."""
    if run := wandb_run(trainer):
        run.summary.update({f"cost/{name}": value for name, value in cost.items()})


def find_knob(reducer: Mapping[str, Any], knob: str) -> Any:
    """The knob's value in a reducer's config, or in the first of a chain's that has it; several values as text."""
    value = reducer.get(knob)
    if value is None:
        parts = (find_knob(part, knob) for part in reducer.get("reducers", []))
        return next((found for found in parts if found is not None), None)
    return ", ".join(map(str, value)) if isinstance(value, list) else value
