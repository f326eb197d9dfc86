"""The work of `retrieval.profile`: settings are checked on paper, then every reducer is counted, timed and weighed."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby

import lightning as L
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.progress import Progress, TimeElapsedColumn

from retrieval.efficiency.profile.candidates import Build, builds
from retrieval.efficiency.profile.findings import Profile
from retrieval.efficiency.profile.paper import counted, on_paper, trained_cost
from retrieval.efficiency.profile.peaks import peak_of
from retrieval.efficiency.profile.settings import Case, Settings
from retrieval.efficiency.profile.speed import latencies, variants
from retrieval.efficiency.profile.tables import print_profile
from retrieval.jobs.runs import start_run
from retrieval.model import CLIP
from retrieval.model.tuning import merge_lora

Step = Callable[[str], None]
"""Is called with what is done next; each call is a step of the progress bar."""


def run_profile(config: DictConfig) -> None:
    """From the job's config to its files.

    Raises:
        UserError: a reducer or a setting that cannot work, before anything is measured.
    """
    L.seed_everything(config.seed)
    settings: Settings = instantiate(config.profile, _convert_="all")
    candidates = builds(config, settings)
    facts = {
        "backbone": next(iter(candidates.values())).source,
        "frames": config.data.frames,
        "words": config.words,
        "tuning": config.tuning["_target_"],
        "device": torch.cuda.get_device_name() if settings.place == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "rounds": settings.rounds,
        "warmup": settings.warmup,
    }
    profile = Profile(start_run(config), facts)
    _run(candidates, settings, profile)
    print_profile(profile)


def _run(candidates: Mapping[str, Build], settings: Settings, profile: Profile) -> None:
    """Fill a profile, and write it after every part."""
    cases = settings.cases(list(candidates))
    steps = len(candidates) + len(cases) * (settings.warmup + settings.rounds + len(settings.memory))
    model = _on_paper(candidates, profile)
    with _progress(steps) as step:
        for label, build in candidates.items():
            step(f"MACs of {label}")
            profile.add_costs(label, counted(build.on(model), build.frames, build.words))
        profile.write()
        _time(model, candidates, settings, cases, profile, step)
        del model
        _weigh(candidates, settings, cases, profile, step)


def _on_paper(candidates: Mapping[str, Build], profile: Profile) -> CLIP:
    """All that takes no measurement; returns the model, its adapters merged, on the device."""
    first = next(iter(candidates.values()))
    model = first.base()
    for label, build in candidates.items():
        profile.add_costs(label, trained_cost(build.on(model), instantiate(build.tuning), build.frames, build.words))
    merge_lora(model)
    for label, build in candidates.items():
        profile.add_costs(label, on_paper(build.on(model), build.frames, build.words))
    return model.to(first.device)


def _time(
    model: CLIP, candidates: Mapping[str, Build], settings: Settings, cases: list[Case], profile: Profile, step: Step
) -> None:
    models = variants(model, candidates, cases)
    frames = next(iter(candidates.values())).frames
    for _, together in groupby(cases, key=lambda case: case.batch_size):
        seconds = latencies(
            models,
            list(together),
            frames=frames,
            rounds=settings.rounds,
            warmup=settings.warmup,
            finished=lambda case: step(f"latency of {case.reducer}, batches of {case.batch_size}"),
        )
        profile.add_latencies(seconds)
        profile.write()


def _weigh(
    candidates: Mapping[str, Build], settings: Settings, cases: list[Case], profile: Profile, step: Step
) -> None:
    for case in cases:
        for stage in settings.memory:
            step(f"memory of {stage}, {case.reducer}")
            if stage == "inference" or profile.trains(case.reducer):
                profile.add_peak(stage, case, peak_of(stage, candidates[case.reducer], case))
        profile.write()


@contextmanager
def _progress(steps: int) -> Iterator[Step]:
    with Progress(*Progress.get_default_columns(), TimeElapsedColumn(), transient=True) as progress:
        bar = progress.add_task("", total=steps)
        yield lambda line: progress.update(bar, description=line, advance=1)
