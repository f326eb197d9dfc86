"""Every choice and knob is explained, on a page that cannot drift, and has one default."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, OmegaConf

from retrieval.configuration import Option, read_options
from retrieval.document import README, page
from retrieval.jobs import CONF

OPTIONS = read_options()
FILES = sorted(CONF.rglob("*.yaml"))


def label(value: Option | Path) -> str:
    path = value.path if isinstance(value, Option) else value.relative_to(CONF)
    return path.with_suffix("").as_posix()


def test_the_page_says_what_the_files_say():
    assert README.read_text() == page(OPTIONS), "conf/ has changed: python -m retrieval.document"


@pytest.mark.parametrize("option", OPTIONS, ids=label)
def test_all_is_explained(option):
    if option.is_recipe:
        assert option.meaning
    else:
        assert [knob.name for knob in option.knobs if not knob.meaning] == []
        assert option.meaning or option.knobs


def targets(config: Any) -> Iterator[DictConfig]:
    """The parts of a config that are to be built."""
    if isinstance(config, DictConfig):
        if "_target_" in config:
            yield config
        for name in config:
            yield from targets(config._get_node(name))
    elif isinstance(config, ListConfig):
        for number in range(len(config)):
            yield from targets(config._get_node(number))


def parameters(called: Any) -> dict[str, inspect.Parameter]:
    """By name, those that it hands on to its base classes included."""
    found: dict[str, inspect.Parameter] = {}
    makers = [base.__init__ for base in inspect.getmro(called)] if inspect.isclass(called) else [called]
    for maker in makers:
        own = inspect.signature(maker).parameters
        found = {**own, **found}
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in own.values()):
            break
    return found


@pytest.mark.parametrize("path", FILES, ids=label)
def test_what_is_built_has_the_knobs_of_its_file_and_their_defaults(path):
    for config in targets(OmegaConf.load(path)):
        target = config._get_node("_target_")._value()
        known = parameters(get_object(target))
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
        for name in (name for name in config if not name.startswith("_") and name != "defaults"):
            assert name in known or takes_any, f"{target} has no parameter {name!r}"
            standing = known[name].default if name in known else inspect.Parameter.empty
            if standing is inspect.Parameter.empty or not target.startswith("retrieval."):
                continue
            if not (OmegaConf.is_interpolation(config, name) or OmegaConf.is_missing(config, name)):
                value = OmegaConf.to_container(config, resolve=False)[name]
                assert value == (list(standing) if isinstance(standing, tuple) else standing), f"{target}({name}=…)"
