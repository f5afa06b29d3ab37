# Two commands on a fresh machine: `make train` (the main job) and `make test`. Both build .venv first, once.
VENV ?= .venv
PYTHON ?= python3
CUDA ?= 13# CUDA major version of the DALI wheel: 13 or 12
ARGS ?=# options of the training script, such as ARGS="--seed 1 --out runs/second"
BIN := $(VENV)/bin

.PHONY: train test test-gpu dist-full lint format accuracy throughput scaling kernels data help

help:
	@echo "make train       train FixMatch and its supervised baseline on the embedded digits (ARGS=... are passed on)"
	@echo "make test        run the tests (TESTS=... chooses some)"
	@echo "make test-gpu    the tests that need a GPU, six at a time; a JUnit file in gpu-results/tests.xml"
	@echo "make dist-full   the long tests of several processes"
	@echo "make lint        ruff and mypy"
	@echo "make accuracy    the main job over seeds 0, 1, 2"
	@echo "make throughput  the step against its ceiling and a conventional loop on this machine"
	@echo "make scaling     throughput, efficiency and communication over the processes of this machine"
	@echo "make kernels     every kernel against its reference"
	@echo "make data        the data path by view, operation and batch size, against a DataLoader"

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[cuda$(CUDA),dev]'
	touch $@

train: $(VENV)/.ready
	$(BIN)/accelerate launch launch/train.py $(ARGS)

# What starts several processes, or measures memory, has the machine for itself; the rest shares it.
test: $(VENV)/.ready
ifdef TESTS
	$(BIN)/python -m pytest $(TESTS)
else
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile tests/contract tests/golden tests/unit
	$(BIN)/python -m pytest tests/dist tests/gpu
endif

# By threads: a time limit by signal never reaches a host that waits inside CUDA. The worker ends, another goes on.
test-gpu: $(VENV)/.ready
	$(BIN)/python -m pytest -m gpu tests --numprocesses 6 --dist worksteal --timeout 100 --timeout-method thread \
		--tb short --durations 15 --junitxml gpu-results/tests.xml $(TESTS)

dist-full: $(VENV)/.ready
	$(BIN)/python -m pytest tests/dist --full -m full $(TESTS)

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

accuracy: $(VENV)/.ready
	$(BIN)/python launch/compare.py --algorithms supervised,fixmatch --seeds 0,1,2 --processes 1 --out runs/accuracy $(ARGS)

throughput: $(VENV)/.ready
	$(BIN)/python benchmarks/throughput.py $(ARGS)

scaling: $(VENV)/.ready
	$(BIN)/python benchmarks/scaling.py $(ARGS)

kernels: $(VENV)/.ready
	$(BIN)/python benchmarks/kernels.py $(ARGS)

data: $(VENV)/.ready
	$(BIN)/python benchmarks/data.py $(ARGS)
