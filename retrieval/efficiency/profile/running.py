"""The work of `retrieval.profile`, from a composed config to its files."""

import lightning as L
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from retrieval.efficiency.profile import Build, Profile, Settings, base_source, print_profile, reducer_configs, run
from retrieval.jobs.runs import start_run
from retrieval.training.building import plain


def run_profile(config: DictConfig) -> None:
    """From the job's config to its files."""
    L.seed_everything(config.seed)
    settings: Settings = instantiate(config.profile, _convert_="all")
    source = base_source(config.backbone.source, config.ckpt_path, settings.pretrained)
    builds = {
        label: Build(
            source,
            reducer,
            plain(config.tuning),
            plain(config.optimizer),
            config.data.frames,
            config.words,
            settings.place,
        )
        for label, reducer in reducer_configs(settings.reducers, config).items()
    }
    facts = {
        "backbone": source,
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
    run(builds, settings, profile)
    print_profile(profile)
