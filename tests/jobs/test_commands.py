"""The commands: which there are, how they start, and what they import."""

import subprocess
import sys
import tomllib

import pytest

import retrieval
from retrieval import __main__ as listing
from retrieval.benchmark import main as benchmark
from retrieval.evaluate import main as evaluate
from retrieval.train import main as train
from tests.jobs.commands import ENV, ROOT, call, execute, fail

HEAVY = "[name for name in ('torch', 'lightning', 'wandb', 'numpy', 'open_clip') if name in sys.modules]"


def test_all_commands_are_listed_and_are_scripts(capsys):
    others = {"__init__", "__main__", "errors", "files", "full_precision", "orphans", "plain"}
    modules = {path.stem: path.stem for path in (ROOT / "retrieval").glob("*.py") if path.stem not in others}
    packages = {path.parent.name: f"{path.parent.name}.__main__" for path in (ROOT / "retrieval").glob("*/__main__.py")}
    names = modules | packages
    call(listing.main)
    printed = capsys.readouterr().out
    assert all(f"python -m retrieval.{name} " in printed for name in names)
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"retrieval": "retrieval.__main__:main"} | {
        f"retrieval-{name}": f"retrieval.{module}:main" for name, module in names.items()
    }


def imported(code: str) -> str:
    return execute([sys.executable, "-c", f"import sys; {code}; print({HEAVY})"]).splitlines()[-1]


def test_the_package_imports_nothing_heavy():
    assert imported("import retrieval; dir(retrieval)") == "[]"
    assert retrieval.load_model.__module__ == "retrieval.model.loading"
    with pytest.raises(AttributeError, match="has no attribute 'load_modl'"):
        _ = retrieval.load_modl


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("train", ["reducer=tempme", "reducer.merge_ration=0.4"]),
        ("evaluate", ["data=folder"]),
        ("train", ["-m", "reducer=tempm,tome"]),
        ("benchmark", ["loading", "--help"]),
        ("report", ["--help"]),
        ("search.__main__", ["index=films", "qery=what, (a) 'man'?"]),
        ("dashboard", ["nothing"]),
    ],
)
def test_a_typo_is_told_before_anything_heavy_is_imported(command, arguments, tmp_path):
    code = f"""
import sys
from retrieval.{command} import main
sys.argv = ["job", *{arguments}]
try:
    main()
except SystemExit as stopped:
    print(stopped)
print({HEAVY})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENV, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr
    assert not list(tmp_path.iterdir())


def test_the_shell_completes_groups_and_keys(monkeypatch, capsys):
    for line, completed in {
        "retrieval-train reducer=temp": "reducer=tempme reducer=temporal_shift",
        "retrieval-train reducer=tempme reducer.merge_": "reducer.merge_ratio=",
    }.items():
        monkeypatch.setenv("COMP_LINE", line)
        call(train, "-sc", "query=bash")
        assert completed in capsys.readouterr().out


def test_a_command_tells_its_knobs(capsys):
    with pytest.raises(SystemExit) as stopped:
        call(evaluate, "--help")
    assert not stopped.value.code
    assert "ckpt_path: null" in capsys.readouterr().out


def test_an_unknown_benchmark_is_refused(capsys):
    assert "invalid choice: 'nothing'" in fail(benchmark, capsys, "nothing")


@pytest.mark.slow
def test_a_command_runs_as_a_script_too(tmp_path):
    line = [sys.executable, str(ROOT / "retrieval" / "train.py"), "experiment=smoke", "data.num_workers=0"]
    execute(line, cwd=tmp_path)
    assert list(tmp_path.glob("runs/*/*/metrics.json"))
    assert (tmp_path / "data").is_dir()
