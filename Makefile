# Two commands on a fresh machine: `make train` (the main job) and `make test`. Both build .venv first, once.
VENV ?= .venv
OLDEST ?= .venv-oldest
PYTHON ?= python3
CUDA ?= 13# CUDA major version of the DALI wheel: 13 or 12
ARGS ?=# options of the training script, such as ARGS="--seed 1 --out runs/second"
BIN := $(VENV)/bin

.PHONY: train test test-all test-slow test-long test-oldest test-gpu lint format accuracy daily throughput scaling kernels data pretraining docs help

help:
	@echo "make train       train FixMatch and its supervised baseline on the embedded digits (ARGS=... are passed on)"
	@echo "make test        the quick tests (TESTS=... chooses some)"
	@echo "make test-all    those and the slow ones, as .ci/run does"
	@echo "make test-long   kills, all ranks and all methods; unit and contract tests on the oldest torch; stores the outcome"
	@echo "make test-gpu    the tests that need a GPU, six at a time; a JUnit file in gpu-results/tests.xml"
	@echo "make lint        ruff, mypy and the linter of imports"
	@echo "make docs        the site, in build/docs/index.html"
	@echo "make accuracy    the main job over seeds 0, 1, 2"
	@echo "make daily       five simulated days of a labeling project, beside naive acceptance"
	@echo "make throughput  the step against its ceiling and a conventional loop on this machine"
	@echo "make scaling     throughput, efficiency and communication over the processes of this machine"
	@echo "make kernels     every kernel against its reference"
	@echo "make data        the data path by view, operation and batch size, against a DataLoader"
	@echo "make pretraining what pre-training does for 40 labels, against training from random weights"

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[cuda$(CUDA),dev]'
	touch $@

# The oldest torch that pyproject.toml allows, in an environment of its own; its Triton's interpreter fails on numpy 2.4.
$(OLDEST)/.ready: pyproject.toml
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --upgrade pip
	$(OLDEST)/bin/python -m pip install --quiet --editable '.[cuda$(CUDA),dev]' 'torch==2.11.*' 'torchvision==0.26.*' 'numpy<2.4'
	touch $@

train: $(VENV)/.ready
	$(BIN)/accelerate launch launch/train.py $(ARGS)

# What starts several processes, or measures memory, has the machine for itself; the rest shares it.
SHARING := --numprocesses logical --maxprocesses 4 --dist loadfile tests/contract tests/golden tests/unit
ALONE := tests/dist tests/gpu

test: $(VENV)/.ready
ifdef TESTS
	$(BIN)/python -m pytest $(TESTS)
else
	$(BIN)/python -m pytest $(SHARING)
	$(BIN)/python -m pytest $(ALONE)
endif

test-all: test test-slow

test-slow: $(VENV)/.ready
	$(BIN)/python -m pytest --slow -m slow $(SHARING)
	$(BIN)/python -m pytest --slow -m slow $(ALONE)

# The packages of the extra are for these tests alone.
$(VENV)/.trackers: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --editable '.[trackers]'
	touch $@

test-long: $(VENV)/.trackers
	$(BIN)/python -m pytest --long -m long --record "make test-long, shared" $(SHARING)
	$(BIN)/python -m pytest --long -m long --record "make test-long, alone" $(ALONE)
	$(MAKE) test-oldest

test-oldest: $(OLDEST)/.ready
	$(OLDEST)/bin/python -m pytest --slow --record "make test-oldest" --numprocesses logical --maxprocesses 4 --dist loadfile \
		tests/contract tests/unit

# By threads: a time limit by signal never reaches a host that waits inside CUDA. The worker ends, another goes on.
test-gpu: $(VENV)/.ready
	$(BIN)/python -m pytest -m gpu tests --numprocesses 6 --dist worksteal --timeout 100 --timeout-method thread \
		--tb short --durations 15 --junitxml gpu-results/tests.xml $(TESTS)

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# A warning is an error. What was read stays in build/docs.read, so that a second time reads only pages that changed; not
# after an error, which would not be told again.
docs: $(VENV)/.ready
	$(BIN)/python -m sphinx -b html -W -n -q -d build/docs.read docs build/docs || { rm -rf build/docs.read; exit 1; }

accuracy: $(VENV)/.ready
	$(BIN)/python launch/compare.py --algorithms supervised,fixmatch --seeds 0,1,2 --processes 1 --precision fp32 --out runs/accuracy $(ARGS)

daily: $(VENV)/.ready
	$(BIN)/python benchmarks/daily.py $(ARGS)

throughput: $(VENV)/.ready
	$(BIN)/python benchmarks/throughput.py $(ARGS)

scaling: $(VENV)/.ready
	$(BIN)/python benchmarks/scaling.py $(ARGS)

kernels: $(VENV)/.ready
	$(BIN)/python benchmarks/kernels.py $(ARGS)

data: $(VENV)/.ready
	$(BIN)/python benchmarks/data.py $(ARGS)

pretraining: $(VENV)/.ready
	$(BIN)/python benchmarks/pretraining.py $(ARGS)
