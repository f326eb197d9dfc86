"""The config's keys by their dotted names: which are missing, and which one a misspelt name may have meant."""

import re
import sys
from argparse import ArgumentParser
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from retrieval.errors import UserError

PACKAGE = Path(__file__).parents[1]
CONF = next((folder for folder in (PACKAGE / "conf", PACKAGE.parent / "conf") if folder.is_dir()), PACKAGE / "conf")
"""The choices: inside an installed package, beside it in a checkout."""


def check_missing(config: DictConfig) -> None:
    """See that the user has set all that has no default; the run's folder is not theirs to set.

    Raises:
        UserError: naming every key without a value.
    """
    values = dotted(OmegaConf.to_container(config, resolve=False))
    missing = [key for key, value in values.items() if value == "???" and key != "run_dir"]
    if missing:
        listed = ", ".join(f"{key} is missing" for key in missing)
        raise UserError(f"{listed}: set {' '.join(f'{key}=<value>' for key in missing)}")


def given_keys() -> set[str]:
    """The keys and groups that the user names on the command line, or a sweep for its job."""
    if not HydraConfig.initialized():
        return set()
    overrides = OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task))
    return {override.key_or_group for override in overrides}


def own_folders() -> list[str]:
    """The override that adds the user's own folders of configs (`hydra.searchpath`), for what is composed later.

    A folder named by `--config-dir` is there anyway.
    """
    if not HydraConfig.initialized():
        return []
    return [override for override in HydraConfig.get().overrides.hydra if override.startswith("hydra.searchpath=")]


def options_of(group: str) -> list[str]:
    """The names of a group's options, those in the user's own folders included."""
    return GlobalHydra.instance().config_loader().get_group_options(group, overrides=own_folders())


def dotted(config: Any, name: str = "") -> dict[str, Any]:
    """All nodes of nested dicts and lists by their dotted names, `reducers.0.num_segments` and `reducers` too."""
    if isinstance(config, dict | list):
        items = config.items() if isinstance(config, dict) else enumerate(config)
        inner = {path: leaf for key, item in items for path, leaf in dotted(item, f"{name}.{key}".lstrip(".")).items()}
        return ({name: config} if name else {}) | inner
    return {name: config}


def explain(error: BaseException, config_name: str | None, overrides: Sequence[str] | None) -> str | None:
    """A line on a key or an option that does not exist, with near ones; None where the error is something else."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, option = error.missing_cfg_file.rpartition("/")
        options = ", ".join(error.options)
        return f"{group}={option}: no such option{_meant(get_close_matches(option, error.options))} There are {options}"
    key = re.search(r"Could not (?:override|delete) (?:from config\. )?'([^'=]+)", str(error))
    if key is None or not isinstance(error, ConfigCompositionException):
        return None
    if config_name is None and HydraConfig.initialized():
        config_name = HydraConfig.get().job.config_name
    known = _known(config_name, key[1], overrides)
    return f"{key[1]}: no such key{_meant(near(key[1], known)) or _beside(key[1], known)}"


def near(key: str, known: Collection[str]) -> list[str]:
    """The keys that a misspelt one may have meant, the likeliest first: by the whole name, then by its last part."""
    whole = get_close_matches(key, known, n=1, cutoff=0.85)
    leaf = key.rpartition(".")[2]
    leaves = {name: name.rpartition(".")[2] for name in known}
    same = [name for name, last in leaves.items() if last == leaf and not name.startswith("hydra.")]
    alike = [name for name, last in leaves.items() if last in get_close_matches(leaf, leaves.values(), n=1, cutoff=0.8)]
    return (whole or same or alike)[:3]


def _meant(names: Sequence[str]) -> str:
    return f"; did you mean {' or '.join(names)}?" if names else ""


def _beside(key: str, known: Collection[str]) -> str:
    """The keys that there are at that place."""
    place = key.rpartition(".")[0]
    beside = [name for name in known if name.rpartition(".")[0] == place and not name.split(".")[-1].startswith("_")]
    return f"; {place or 'the config'} has {', '.join(beside)}" if beside else ""


def _known(config_name: str | None, refused: str, overrides: Sequence[str] | None) -> list[str]:
    """All keys and groups of the config that the other overrides make; Hydra's own come last."""
    parser = ArgumentParser(add_help=False)
    parser.add_argument("--config-dir", "-cd")
    parser.add_argument("--config-name", "-cn", default=config_name)
    options, rest = parser.parse_known_args(sys.argv[1:])
    given = [each for each in (rest if overrides is None else overrides) if "=" in each and not each.startswith("-")]
    given = [each for each in given if each.lstrip("+~").partition("=")[0] != refused]
    if options.config_dir:
        given.append(f"hydra.searchpath=[{options.config_dir}]")
    with _loader() as loader:
        for attempt in (given, [each for each in given if "." not in each.partition("=")[0]], []):
            try:
                config = compose(options.config_name, attempt, return_hydra_config=True)
            except (HydraException, OmegaConfBaseException):
                continue
            keys = list(dotted(OmegaConf.to_container(config, resolve=False)))
            own = [key for key in keys if key.partition(".")[0] != "hydra"]
            return [*own, *loader.get_group_options("", ObjectType.GROUP), *keys[len(own) :]]
    return []


@contextmanager
def _loader() -> Iterator[Any]:
    """Hydra's loader of configs: the one that is running, or a new one where composing has ended it."""
    if GlobalHydra.instance().is_initialized():
        yield GlobalHydra.instance().config_loader()
        return
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()
