"""Every choice and knob is explained, on a page that cannot drift, and has one default."""

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.utils import get_object

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


def built(config: Any, lists: bool = True) -> Iterator[dict[str, Any]]:
    """The parts of a plain config that name what is built from them; those in lists are examples with own settings."""
    if isinstance(config, dict):
        if "_target_" in config:
            yield config
        for value in config.values():
            yield from built(value, lists)
    elif isinstance(config, list) and lists:
        for value in config:
            yield from built(value, lists)


def arguments(part: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in part.items() if name != "defaults" and not name.startswith("_")}


def parameters(target: str) -> dict[str, inspect.Parameter]:
    """By name; with those of the base classes where the class hands on what it does not know."""
    called = get_object(target)
    found: dict[str, inspect.Parameter] = {}
    for maker in [base.__init__ for base in inspect.getmro(called)] if inspect.isclass(called) else [called]:
        own = inspect.signature(maker).parameters
        found = {**own, **found}
        if not takes_any(own):
            break
    return found


def takes_any(known: Mapping[str, inspect.Parameter]) -> bool:
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())


@pytest.mark.parametrize("path", FILES, ids=label)
def test_what_is_built_knows_the_knobs(path):
    for part in built(yaml.safe_load(path.read_text())):
        known = parameters(part["_target_"])
        assert takes_any(known) or arguments(part).keys() <= known.keys()


@pytest.mark.parametrize("path", FILES, ids=label)
def test_a_default_in_a_signature_is_the_one_of_the_file(path):
    for part in built(yaml.safe_load(path.read_text()), lists=False):
        known = parameters(part["_target_"]) if part["_target_"].startswith("retrieval.") else {}
        for name in arguments(part).keys() & known.keys():
            default, value = known[name].default, part[name]
            if default is not inspect.Parameter.empty and "${" not in str(value):
                assert value == (list(default) if isinstance(default, tuple) else default), (
                    f"{part['_target_']}: {name}"
                )
