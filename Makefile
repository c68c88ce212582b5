# Two commands on a fresh machine: `make demo` and `make test`.
# Needs Python >= 3.11 and a package registry; Windows users: see README.md.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# One test file per process at a time; `make test PYTEST_ARGS=-x` runs them in a row.
PYTEST_ARGS ?= --numprocesses auto --maxprocesses 4 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help demo test lint types unit plugin-libraries dicom-validators benchmark schema clean

help:
	@echo "make demo       analyse the sample patient and print the table"
	@echo "make test       style, types, architecture and all tests"
	@echo "make benchmark  the benchmarks in tests/benchmarks (minutes)"
	@echo "make clean      remove the environment and the demo case"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "cemscope needs Python >= 3.11; found $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.base: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[dev,napari]'
	@touch $@ $(VENV)/.base

demo: $(VENV)/.base
	$(BIN)/cemscope demo --out demo_case

plugin-libraries:
	@scripts/install_display_libraries.sh

dicom-validators:
	@scripts/install_dicom_validators.sh

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

unit: $(VENV)/.dev plugin-libraries dicom-validators
	scripts/with_display.sh $(BIN)/python -m pytest $(PYTEST_ARGS)

test: lint types unit

benchmark: $(VENV)/.dev
	$(BIN)/python tests/benchmarks/analyze_against_script.py

schema: $(VENV)/.dev
	$(BIN)/python -m cemscope_pipelines.report_schema > docs/schema/report.schema.json

clean:
	rm -rf $(VENV) demo_case
