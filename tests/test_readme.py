"""What the README shows runs: its Python as it stands, its commands as far as composing their config."""

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from retrieval import load_model
from retrieval.benchmark.__main__ import BENCHMARKS
from retrieval.cost import cost

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


@pytest.mark.parametrize("command", [command for command in commands() if "retrieval.benchmark" not in command])
def test_jobs_compose(command):
    _, _, module, *arguments = shlex.split(command)
    job = module.removeprefix("retrieval.")
    assert (ROOT / "retrieval" / f"{job}.py").is_file()
    overrides = OverridesParser.create().parse_overrides([word for word in arguments if word != "-m"])
    first = [
        f"{o.key_or_group}={next(o.sweep_string_iterator())}" if o.is_sweep_override() else o.input_line
        for o in overrides
    ]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        compose(job, first)


@pytest.mark.parametrize("command", [command for command in commands() if "retrieval.benchmark" in command])
def test_benchmarks_exist(command):
    assert shlex.split(command)[3] in BENCHMARKS


def test_pictures_exist():
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", README)
    assert pictures
    assert all((ROOT / picture).is_file() for picture in pictures)


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    assert all(
        f"\n{target}:" in makefile for target in re.findall(r"^make (\w+)", "\n".join(blocks("bash")), re.MULTILINE)
    )
