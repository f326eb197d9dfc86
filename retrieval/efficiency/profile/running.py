"""The work of `retrieval.profile`: settings are checked on paper, then every reducer is counted, timed and weighed."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby

import lightning as L
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.progress import Progress, TimeElapsedColumn

from retrieval.efficiency.latency import interleaved
from retrieval.efficiency.profile.candidates import Build, builds, tunings
from retrieval.efficiency.profile.findings import Profile
from retrieval.efficiency.profile.paper import counted, on_paper, trained_cost
from retrieval.efficiency.profile.peaks import peak_of
from retrieval.efficiency.profile.settings import Case, Settings
from retrieval.efficiency.profile.speed import encoding_calls
from retrieval.efficiency.profile.tables import print_profile
from retrieval.efficiency.profile.training import training_calls
from retrieval.jobs.runs import start_run
from retrieval.model import CLIP
from retrieval.model.tuning import merge_lora

Builds = Mapping[str, Build]
"""What each reducer's model is built from, by label."""
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
        "device": torch.cuda.get_device_name() if settings.place == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "rounds": settings.rounds,
        "warmup": settings.warmup,
    }
    tuned = {
        tuning: {label: replace(build, tuning=how) for label, build in candidates.items()}
        for tuning, how in tunings(config, settings).items()
    }
    profile = Profile(start_run(config), facts, settings.cards)
    _run(candidates, tuned, settings, profile)
    print_profile(profile)


def _run(candidates: Builds, tuned: Mapping[str, Builds], settings: Settings, profile: Profile) -> None:
    """Fill a profile, and write it after every part."""
    model = _on_paper(candidates, tuned, profile)
    cases = settings.cases(list(candidates), profile.trainable())
    steps = len(candidates) + len(cases) * (
        bool(settings.rounds) * (settings.warmup + settings.rounds) + settings.memory
    )
    with _progress(steps) as step:
        for label, build in candidates.items():
            step(f"MACs of {label}")
            profile.add_costs(label, counted(build.on(model), build.frames, build.words))
        profile.write()
        for tuning, together in groupby(cases, key=lambda case: case.tuning):
            stage = list(together)
            if not settings.rounds:
                continue
            if tuning is None:
                calls = encoding_calls(model, candidates, stage)
            else:
                model = next(iter(candidates.values())).base().to(settings.place)  # without the adapters of others
                calls = training_calls(model, tuned[tuning], stage)
            _time(calls, settings, profile, step)
            del calls
        del model
        if settings.memory:
            _weigh(candidates, tuned, cases, profile, step)


def _on_paper(candidates: Builds, tuned: Mapping[str, Builds], profile: Profile) -> CLIP:
    """All that takes no measurement; returns the model, its adapters merged, on the device."""
    first = next(iter(candidates.values()))
    model = first.base()
    for tuning, together in tuned.items():
        for label, build in together.items():
            costs = trained_cost(build.on(model), instantiate(build.tuning), build.frames, build.words)
            profile.add_costs_in_training(label, tuning, costs)
    merge_lora(model)
    for label, build in candidates.items():
        profile.add_costs(label, on_paper(build.on(model), build.frames, build.words))
    return model.to(first.device)


def _time(calls: Mapping[Case, Callable[[], None]], settings: Settings, profile: Profile, step: Step) -> None:
    for _, together in groupby(calls, key=lambda case: case.batch_size):
        seconds = interleaved(
            {case: calls[case] for case in together},
            rounds=settings.rounds,
            warmup=settings.warmup,
            device=settings.place,
            finished=lambda case: step(f"{_stage(case)} of {case.reducer}, batches of {case.batch_size}"),
        )
        profile.add_seconds(seconds)
        profile.write()


def _weigh(candidates: Builds, tuned: Mapping[str, Builds], cases: list[Case], profile: Profile, step: Step) -> None:
    for case in cases:
        step(f"memory of {_stage(case)}, {case.reducer}")
        builds = candidates if case.tuning is None else tuned[case.tuning]
        profile.add_peak(case, peak_of(builds[case.reducer], case))
        profile.write()


def _stage(case: Case) -> str:
    return "encoding" if case.tuning is None else f"a training step ({case.tuning})"


@contextmanager
def _progress(steps: int) -> Iterator[Step]:
    with Progress(*Progress.get_default_columns(), TimeElapsedColumn(), transient=True) as progress:
        bar = progress.add_task("", total=steps)
        yield lambda line: progress.update(bar, description=line, advance=1)
