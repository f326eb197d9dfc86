"""Where sweeps meet Hydra: the one file that uses more than composing, `hydra.main` and `instantiate`.

- `hydra.plugins.Sweeper`, `Launcher` and `Plugins` are Hydra's way for a plugin; `Plugins.register` takes one without a
  package of its own. It builds sweepers only from modules called `hydra_plugins…`, so this one goes by such a name too.
- `OverridesParser` is the only reader of what `a=1,2` and `a=range(2,8,2)` mean; Hydra's example plugins use it.
- `config_loader.load_sweep_config` composes a job as the launcher will; launchers do the same.
- `HydraConfig.set_config` lets a job's `${hydra:…}` be resolved before it runs; launchers do the same.

What a sweep is (grids, states, checks, the table at the end) knows nothing of this. Importing this file is cheap: torch
and all that stands on it are loaded once a sweep runs.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from retrieval.errors import UserError
from retrieval.jobs.errors import COMPOSITION, one_line
from retrieval.sweeps.grids import Knob, Point, folder_name, points

NAMESPACE = "hydra_plugins.retrieval"


class JobSweeper(Sweeper):
    """Sweeps over several grids; jobs that have finished before are not launched again.

    Args:
        grids: a list of products, see `retrieval.sweeps.grids.points`.
        params: knobs of every grid.
        stops: settings between which those that meet a job's `budget` are looked for, by the reducer's option.
        tolerance: how far from its budget a job's share of the unreduced GMACs may be.
    """

    hydra_context: HydraContext
    config: DictConfig
    launcher: Launcher

    def __init__(
        self,
        grids: Sequence[Mapping[str, Any]] = (),
        params: Mapping[str, Any] | None = None,
        stops: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
        tolerance: float = 0.03,
    ) -> None:
        self.grids = grids
        self.params = params or {}
        self.stops = stops or {}
        self.tolerance = tolerance

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        self.config = config
        plugins = Plugins.instance()
        self.launcher = plugins.instantiate_launcher(hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> None:
        """Run the sweep; ends with one line and exit code 1 on a mistake, or where jobs are left."""
        from retrieval.sweeps.running import run_sweep  # heavy, see above

        try:
            jobs = points(self.grids, self.params, arguments, partial(parse, loader=self.hydra_context.config_loader))
            if self.stops:
                jobs = self._settled(jobs)
            run_sweep(jobs, self._compose, self._launch)
        except UserError as error:
            sys.exit(f"error: {error}")

    def _settled(self, jobs: Sequence[Point]) -> list[Point]:
        """The jobs with settings that meet their budgets."""
        from retrieval.sweeps.budgets import settled
        from retrieval.sweeps.shares import Shares  # heavy, see above

        stops: Any = OmegaConf.to_container(OmegaConf.create(dict(self.stops)), resolve=True)
        return settled(jobs, stops, self.tolerance, Shares(self._configured))

    def _configured(self, overrides: Sequence[str]) -> DictConfig:
        """The config that overrides make, with Hydra's own part, nothing resolved."""
        with _hydras_errors_as_ours(list(overrides)):
            return self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))

    def _compose(self, point: Point) -> DictConfig:
        """A job's config with all interpolations resolved, as it will be in its folder."""
        folder = str(Path(self.config.hydra.sweep.dir, point.name).absolute())
        outer = HydraConfig.instance().cfg
        config = self._configured(point.overrides)
        with _hydras_errors_as_ours(list(point.overrides)):
            with read_write(config.hydra.runtime), open_dict(config.hydra.runtime):
                config.hydra.runtime.output_dir = folder
            HydraConfig.instance().set_config(config)
            try:
                task = deepcopy(config)
                with read_write(task), open_dict(task):
                    del task["hydra"]
                    task.run_dir = folder
                OmegaConf.resolve(task)
            finally:
                HydraConfig.instance().cfg = outer
        return task

    def _launch(self, jobs: Sequence[tuple[str, Sequence[str]]]) -> None:
        if jobs:
            batch = [[*overrides, f"hydra.sweep.subdir='{name}'"] for name, overrides in jobs]
            self.launcher.launch(batch, initial_job_idx=0)


def parse(overrides: Iterable[str], loader: ConfigLoader | None = None) -> list[Knob]:
    """Hydra's reading of overrides; `glob(*)` needs the loader, which knows the options there are.

    Raises:
        UserError: no override, or a range that only a search can draw from.
    """
    lines = list(overrides)
    with _hydras_errors_as_ours(lines):
        return [_knob(override) for override in OverridesParser.create(config_loader=loader).parse_overrides(lines)]


def _knob(override: Any) -> Knob:
    key = override.get_key_element()
    if not override.is_sweep_override():
        return Knob(key, (override.get_value_element_as_str(),), swept=False)
    if not override.is_discrete_sweep():
        raise UserError(f"{override.input_line}: a range without steps is for searches alone (+sweep=search)")
    return Knob(key, tuple(override.sweep_string_iterator()), swept=True)


@contextmanager
def _hydras_errors_as_ours(overrides: list[str]) -> Iterator[None]:
    try:
        yield
    except COMPOSITION as error:
        raise UserError(one_line(error, overrides=overrides)) from error


JobSweeper.__module__ = NAMESPACE
sys.modules[NAMESPACE] = sys.modules[__name__]


def register_sweeper() -> None:
    """Make `JobSweeper` known to Hydra, and take it wherever no other sweeper is asked for."""
    Plugins.instance().register(JobSweeper)
    ConfigStore.instance().store(group="hydra/sweeper", name="basic", node={"defaults": ["jobs"]})
    OmegaConf.register_new_resolver("folder_name", folder_name, replace=True)
