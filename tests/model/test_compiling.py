"""What the knob `compile` does, and that it says so; what compiled blocks compute is in test_halves.py."""

import logging
import os
import subprocess
import sys

import pytest
import torch

from retrieval import load_model
from retrieval.model import compiling
from retrieval.model.compiling import compile_towers, keep_graphs


@pytest.fixture
def says(caplog, monkeypatch, tmp_path):
    """What the knob makes of a tiny model that is never called: whether it would be compiled, and the log."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(torch, "compile", lambda function, **knobs: function)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)

    def decided(choice, gmacs):
        model = load_model("ViT-tiny-8")
        caplog.clear()
        with caplog.at_level(logging.INFO, compiling.__name__):  # whatever was set there before
            compile_towers(model, choice, gmacs)
        assert not any(block.compiled for block in model.text.blocks)
        compiled = {block.compiled for block in model.visual.blocks}
        assert len(compiled) == 1
        return compiled.pop(), caplog.messages

    return decided


def test_auto_compiles_long_jobs_alone(says, tmp_path):
    assert says("auto", 100.0) == (
        False,
        ["compile=auto: no, about 2 s of work for this device, and it pays from 900 s on"],
    )
    compiled, (line,) = says("auto", 60_000.0)
    assert compiled
    assert line.startswith("compile=auto: block by block, about 1,000 s of work")
    assert str(tmp_path) in line


def test_true_and_false_ask_for_no_reason(says):
    assert says(True, 0.0)[0]
    assert says(False, 1e9) == (False, [])


LAZY = not hasattr(torch._functorch.config, "force_non_lazy_backward_lowering")
"""Whether this torch compiles what goes back no earlier than going back."""
FALLS_BACK = """
import logging, sys, torch
from functools import partial
from torch._dynamo.backends.common import aot_autograd
from retrieval.model.compiling import compile_towers
from tests.model.test_halves import gradients, model_with
logging.basicConfig(level=logging.WARNING, format="%(message)s")
model = model_with("tempme", 4)
expected = gradients(model)
def full(graph, inputs):
    raise OSError("No space left on device")
if sys.argv[1] == "backward":
    backend = aot_autograd(fw_compiler=lambda graph, inputs: graph, bw_compiler=full)
    torch.compile = partial(torch.compile, backend=backend)
compile_towers(model, True, gmacs=0.0)
assert all(torch.equal(value, expected[name]) for name, value in gradients(model).items())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fails", "cause"),
    [
        ("compiler", "InvalidCxxCompiler"),
        pytest.param("backward", "No space left on device", marks=pytest.mark.skipif(LAZY, reason="ends the training")),
    ],
)
def test_where_compiling_fails_towers_run_as_they_are_and_a_line_says_so(fails, cause, tmp_path):
    environment = os.environ | {"CXX": str(tmp_path / "missing"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", FALLS_BACK, fails], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("compile: ")]
    assert len(lines) == 1
    assert lines[0].startswith("compile: not here, so the VideoTower runs as it is: ")
    assert cause in lines[0]
    assert "Error in codegen" not in done.stderr


@pytest.mark.parametrize(
    ("choice", "line"), [("yes", "compile=yes: auto"), ("reduce-overhead", "not to be had on cpu")]
)
def test_an_impossible_choice_is_refused(choice, line):
    with pytest.raises(ValueError, match=line):
        compile_towers(load_model("ViT-tiny-8"), choice, 0.0)


def test_graphs_are_kept_where_caches_are_unless_a_folder_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")  # so that it is restored
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    assert keep_graphs() == tmp_path / "retrieval" / "compiled"
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "mine"))
    assert keep_graphs() == tmp_path / "mine"
