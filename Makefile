# `make train` and `make test` do all set-up themselves, once, into .venv.
PYTHON ?= python3
BIN := .venv/bin

# Two processes with one thread each: as fast as two cores allow, and the same numbers everywhere.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadgroup

.PHONY: train test test-slow test-full faults gpu lint format clean

train: .venv/installed  ## TempMe on the embedded data, from video files to recall
	$(BIN)/python -m retrieval.train reducer=tempme

test: .venv/installed  ## the quick proof, minutes
	$(PYTEST) -m "not slow and not gpu"

test-slow: .venv/installed  ## the rest: kills, servers, notebooks, several processes, every reducer's training
	$(PYTEST) -m "slow and not gpu"

test-full: test test-slow

faults: .venv/installed  ## what no test can hold: kills, full disks, damaged files; says what was tried and what held
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults

gpu: .venv/installed  ## what a GPU computes and how fast, in runs/gpu.md, meant for eight minutes; without one its CPU part
	$(BIN)/python -m pytest -m gpu
	$(BIN)/python -m retrieval.benchmark gpu --output runs/gpu.md

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
