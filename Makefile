# `make train` and `make test` do all set-up themselves, once, into .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: train test lint format clean

train: .venv/installed  ## TempMe on the embedded data, from video files to recall
	$(BIN)/python -m retrieval.train reducer=tempme

test: .venv/installed
	$(BIN)/python -m pytest

lint: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: .venv/installed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv runs
