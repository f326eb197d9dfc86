"""What the README shows runs: its Python as it stands, its commands as far as composing their config."""

import itertools
import re
import runpy
import shlex
from argparse import ArgumentParser
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from retrieval import load_model
from retrieval.efficiency.cost import cost

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    lines = "\n".join(blocks("bash") + blocks("")).splitlines()
    return sorted({line for line in lines if line.startswith("python -m retrieval.")})


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs(code):
    namespace: dict[str, object] = {"__name__": "readme"}
    exec(code, namespace)
    if "KeepHalf" in namespace:
        model = load_model("ViT-tiny-8", namespace["KeepHalf"]())
        assert cost(model, frames=2, words=8)["output_tokens"] == 2 * (1 + 13)


def job(command: str) -> tuple[str, list[str]]:
    """The job that a command starts, and its arguments."""
    _, _, module, *arguments = shlex.split(command)
    return module.removeprefix("retrieval."), arguments


def is_composed(command: str) -> bool:
    return (ROOT / "conf" / f"{job(command)[0]}.yaml").is_file()


@pytest.mark.parametrize("command", filter(is_composed, commands()))
def test_jobs_compose(command):
    name, arguments = job(command)
    assert (ROOT / "retrieval" / f"{name}.py").is_file()
    overrides = OverridesParser.create().parse_overrides([word for word in arguments if word != "-m"])
    first = [
        f"{o.key_or_group}={next(o.sweep_string_iterator())}" if o.is_sweep_override() else o.input_line
        for o in overrides
    ]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        compose(name, first)


@pytest.mark.parametrize("command", itertools.filterfalse(is_composed, commands()))
def test_other_jobs_know_their_arguments(command, monkeypatch):
    class UnderstoodError(Exception):
        pass

    def parse(parser: ArgumentParser) -> None:
        understand(parser, arguments)
        raise UnderstoodError

    name, arguments = job(command)
    understand = ArgumentParser.parse_args
    monkeypatch.setattr(ArgumentParser, "parse_args", parse)
    with pytest.raises(UnderstoodError):
        runpy.run_module(f"retrieval.{name}", run_name="__main__")


def test_pictures_exist():
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", README)
    assert pictures
    assert all((ROOT / picture).is_file() for picture in pictures)


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    assert all(
        f"\n{target}:" in makefile for target in re.findall(r"^make (\w+)", "\n".join(blocks("bash")), re.MULTILINE)
    )
