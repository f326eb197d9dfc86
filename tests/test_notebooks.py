"""The notebooks run from top to bottom, each in an empty folder, and are kept without outputs."""

import sys
from pathlib import Path

import nbformat
import pytest
from ipykernel.kernelspec import write_kernel_spec
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request) -> NotebookNode:
    return nbformat.read(request.param, as_version=4)


@pytest.mark.slow
def test_it_runs(notebook, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))  # before any kernel of the user or the system
    write_kernel_spec(tmp_path / "jupyter" / "kernels" / "python3")
    notebook.cells.append(new_code_cell(f"import sys\nassert sys.executable == {sys.executable!r}"))
    place = tmp_path / "empty"
    place.mkdir()
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(place)}}).execute()
    assert not [*place.iterdir()], "a notebook leaves nothing where it is opened"


def test_it_has_no_outputs(notebook):
    assert not [cell for cell in notebook.cells if cell.cell_type == "code" and (cell.outputs or cell.execution_count)]
