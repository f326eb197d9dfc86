"""The course of a profile: all settings are checked on paper, then every reducer is counted, timed and weighed."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby

from hydra.utils import instantiate
from rich.progress import Progress, TimeElapsedColumn

from retrieval.efficiency.profile.candidates import with_reducer
from retrieval.efficiency.profile.paper import counted, on_paper, trained_cost
from retrieval.efficiency.profile.peaks import Build, peak_of
from retrieval.efficiency.profile.report import Profile
from retrieval.efficiency.profile.settings import Case, Settings
from retrieval.efficiency.profile.speed import latencies, variants
from retrieval.model import CLIP, load_model
from retrieval.model.tuning import merge_lora

Told = Callable[[str], None]
"""Is called with what is done next; each call is a step of the progress bar."""


def run(builds: Mapping[str, Build], settings: Settings, profile: Profile) -> None:
    """Fill a profile, and write it after every part.

    Args:
        builds: one for each reducer, by its label; they differ in the reducer alone.
        settings: what to measure.
        profile: what is filled.

    Raises:
        UserError: a reducer that does not fit the tower, before anything is measured.
    """
    cases = settings.cases(list(builds))
    steps = len(builds) + len(cases) * (settings.warmup + settings.rounds + len(settings.memory))
    model = _on_paper(builds, profile)
    with _progress(steps) as told:
        _count(model, builds, profile, told)
        _time(model, builds, settings, cases, profile, told)
        del model
        _weigh(builds, settings, cases, profile, told)


def _on_paper(builds: Mapping[str, Build], profile: Profile) -> CLIP:
    """All that takes no measurement; returns the model, its adapters merged, on the device."""
    first = next(iter(builds.values()))
    model = load_model(first.source)
    for label, build in builds.items():
        tuned = with_reducer(model, build.reducer)
        profile.add_costs(label, trained_cost(tuned, instantiate(build.tuning), build.frames, build.words))
    merge_lora(model)
    for label, build in builds.items():
        profile.add_costs(label, on_paper(with_reducer(model, build.reducer), build.frames, build.words))
    return model.to(first.device)


def _count(model: CLIP, builds: Mapping[str, Build], profile: Profile, told: Told) -> None:
    for label, build in builds.items():
        told(f"MACs of {label}")
        profile.add_costs(label, counted(with_reducer(model, build.reducer), build.frames, build.words))
    profile.write()


def _time(
    model: CLIP, builds: Mapping[str, Build], settings: Settings, cases: list[Case], profile: Profile, told: Told
) -> None:
    models = variants(model, {label: build.reducer for label, build in builds.items()}, cases)
    frames = next(iter(builds.values())).frames
    for _, together in groupby(cases, key=lambda case: case.batch_size):
        seconds = latencies(
            models,
            list(together),
            frames=frames,
            rounds=settings.rounds,
            warmup=settings.warmup,
            finished=lambda case: told(f"latency of {case.reducer}, batches of {case.batch_size}"),
        )
        profile.add_latencies(seconds)
        profile.write()


def _weigh(builds: Mapping[str, Build], settings: Settings, cases: list[Case], profile: Profile, told: Told) -> None:
    for case in cases:
        for stage in settings.memory:
            told(f"memory of {stage}, {case.reducer}")
            if stage == "inference" or profile.trains(case.reducer):
                profile.add_peak(stage, case, peak_of(stage, builds[case.reducer], case))
        profile.write()


@contextmanager
def _progress(steps: int) -> Iterator[Told]:
    with Progress(*Progress.get_default_columns(), TimeElapsedColumn(), transient=True) as progress:
        bar = progress.add_task("", total=steps)
        yield lambda line: progress.update(bar, description=line, advance=1)
