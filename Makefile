# Every target that needs Python or R goes through scripts/setup.sh first, which has nothing to do once all is there.
override SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help setup compare check upgrade-check versions reports test mutate fuzz lint lab simulate refresh certify cases referee bench lock clean

# Every variable is text, whoever gives it, an argument or the environment: as make would expand it, what is written in it
# for make to run would run. Values reach the command through the environment, so spaces and quotes in them are safe.
override values := BENCH CONFIG UPGRADE PRE RESULTS LANES DATA FORMULA WEIGHTS OUTPUT ENGINE_TIMEOUT MAX_ROWS MAX_BYTES \
  NOTEBOOK METHOD SCHEDULER MODEL TABLES REPLICATES SEED TESTS WITH_BROWSER LARGE
override given := $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
$(foreach name,$(values) $(given) CONDA_PREFIX CONDA_DEFAULT_ENV,$(eval override $(name) := $$(value $(name))))
override name :=
export $(values)

# The same choice as in scripts/setup.sh: an active conda environment, else .venv. Neither is given the current folder
# as a place to look for modules in.
override in_conda := $(if $(CONDA_PREFIX),$(filter-out base,$(CONDA_DEFAULT_ENV)))
override PYTHON := $(if $(in_conda),"$$CONDA_PREFIX/bin/python",.venv/bin/python)
override CONCORD := $(PYTHON) -P -m concord

# Work runs in parallel processes: threads inside one of them would only fight for the same cores.
export override OPENBLAS_NUM_THREADS := 1
export override OMP_NUM_THREADS := 1
export override MKL_NUM_THREADS := 1

override notebook := $(if $(NOTEBOOK),--notebook "$$NOTEBOOK")
override model := $(if $(MODEL),--model "$$MODEL")
override method := $(if $(METHOD),--method "$$METHOD")
override weights := $(if $(WEIGHTS),--weights "$$WEIGHTS")
override output := $(if $(OUTPUT),--output "$$OUTPUT")
override engine_timeout := $(if $(ENGINE_TIMEOUT),--engine-timeout "$$ENGINE_TIMEOUT")
override limits := $(if $(MAX_ROWS),--max-rows "$$MAX_ROWS") $(if $(MAX_BYTES),--max-bytes "$$MAX_BYTES")
override tables := $(if $(TABLES),--tables "$$TABLES")
override scheduler := $(if $(SCHEDULER),--scheduler "$$SCHEDULER")
override replicates := $(if $(REPLICATES),--replicates "$$REPLICATES")
override results := $(if $(RESULTS),--results "$$RESULTS")
override lanes := $(if $(LANES),$$(printf -- '--lane %s ' $$LANES))
override seed := $(if $(SEED),--seed "$$SEED")

help: ## this list
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/\1\t\2/p' Makefile | while IFS=$$'\t' read -r name text; do \
	  printf '  make %-13s  %s\n' "$$name" "$$text"; done

setup: ## what every other target does first: R, Python and their packages
	@scripts/setup.sh

compare: setup ## fit one formula to your own table by both, and judge: DATA=mydata.csv FORMULA="y ~ x + (1 | g)" (METHOD=both WEIGHTS=w)
	@if [ -z "$$DATA" ] || [ -z "$$FORMULA" ]; then \
	  echo 'concord: say what to compare: make compare DATA=mydata.csv FORMULA="y ~ x + (1 + x | subject)"' >&2; exit 2; fi
	@$(CONCORD) compare $(method) $(weights) $(output) $(engine_timeout) $(limits) -- "$$DATA" "$$FORMULA"

check: setup ## compare the models of your own concord.toml with the verdicts that it expects (CONFIG=study/concord.toml)
	@$(CONCORD) check $(tables) $(engine_timeout) $(limits) -- "$${CONFIG:-concord.toml}"

# Unquoted, as it may name several: UPGRADE="statsmodels==0.14.4 scipy<1.16"; without names in it expanded to files'.
upgrade-check: setup ## which verdicts change with the newest statsmodels, in build/upgrade (UPGRADE=statsmodels==0.14.6 PRE=1)
	@set -f; $(CONCORD) upgrade $(if $(PRE),--pre) $(model) -- $$UPGRADE

# LANES unquoted, as it may name several.
versions: setup ## which release mended or broke what: run all models in every lane there is, or read a folder (RESULTS=folder LANES="here trixie")
	@set -f; $(CONCORD) versions $(results) $(lanes) $(model) $(output)

reports: setup ## run every notebook for REML and ML into build/reports (NOTEBOOK=sitka METHOD=ML SCHEDULER=tcp://host:port; NOTEBOOK=inference MODEL=all)
	$(CONCORD) reports $(notebook) $(model) $(method) $(scheduler)

simulate: setup ## draw responses, fit by both, count verdicts: MODEL=sleepstudy-random_slope or MODEL=grid (REPLICATES=200 SEED=1)
	@if [ -z "$$MODEL" ]; then \
	  echo 'concord: say what to draw from: make simulate MODEL=sleepstudy-random_slope, or MODEL=grid' >&2; exit 2; fi
	@$(CONCORD) simulate $(method) $(replicates) $(seed) $(output) $(scheduler) -- "$$MODEL"

# TESTS may name several files: unquoted, so that the shell parts them. Without it, pyproject.toml says what there is.
# Many tests wait for processes of their own, so four go at a time on two cores; and in the order of tests/conftest.py,
# as pytest-xdist's own has the longest notebook last.
test: lint ## ruff, the unit tests, and every committed notebook run anew against its outputs (TESTS=notebooks/sitka.ipynb)
	$(PYTHON) -m pytest -n 4 --dist loadfile --no-loadscope-reorder --durations 10 --junit-xml build/junit.xml $$TESTS

# Its tests of the report site want a browser; nothing else does.
test: export override WITH_BROWSER := yes
# Hundreds of processes import the package: compiled once.
test: export override PYTHONDONTWRITEBYTECODE :=

# Hours on two cores: every model of the workbook, every entry, every source.
mutate: setup ## move every number that is shown just beyond its tolerance, and interrupt at every moment: all must be told
	CONCORD_MUTATE=all $(PYTHON) -m pytest -n 2 --timeout 0 --junit-xml build/mutate.xml \
	  $$(grep -rl --include='test_*.py' CONCORD_MUTATE tests)

fuzz: setup ## 50 times as many random files, formulas and TOML as `make test` tries, others every time: never a traceback
	CONCORD_FUZZ=50 $(PYTHON) -m pytest -n 2 --timeout 0 --junit-xml build/fuzz.xml tests/workbook/test_fuzz.py

lint: setup ## ruff over the code and the notebooks, who imports whom, and types
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	PYTHONPATH=scripts $(PYTHON) -c 'from importlinter.cli import lint_imports_command as lint; lint()' --no-cache
	$(PYTHON) -m mypy

# In a container everybody is root, and Jupyter refuses root without --allow-root; to others the option means nothing.
# Its kernels are those of scripts/jupyter, in which R reads no file of the notebook's folder.
lab: setup ## JupyterLab on the notebooks; prints its address where there is no browser
	JUPYTER_PATH="$$PWD/scripts/jupyter$${JUPYTER_PATH:+:$$JUPYTER_PATH}" $(PYTHON) -m jupyterlab --allow-root notebooks

refresh: setup ## run the committed notebooks anew, in place (NOTEBOOK=sitka)
	$(CONCORD) refresh $(notebook)

certify: setup ## prove the optimum of every model, into datasets/*/reference.json (MODEL=sitka-random_slope)
	$(CONCORD) certify $(model)

cases: setup ## write every certified model as files for other packages to test themselves against, into build/cases (LARGE=1: of 100,000 rows, too)
	$(if $(LARGE),$(PYTHON) scripts/concord-cases/make_datasets.py --largest)
	$(CONCORD) cases $(if $(LARGE),--large)

# Unquoted, as TESTS: it may name several.
referee: setup ## hold every package that is here to every certified case; makes only what is missing, into notebooks/referee (MODEL=sitka-*)
	@$(CONCORD) referee $(if $(MODEL),--case "$$MODEL") $(output) $(scheduler)

bench: setup ## time what Concord does beside the plain way of doing it (BENCH=reports)
	$(PYTHON) -P -m concord.bench $$BENCH

lock: setup ## resolve the Python packages of every lane anew into scripts/constraints
	$(PYTHON) scripts/lock.py

clean: ## remove build and caches; .venv stays
	rm -rf build .pytest_cache .ruff_cache .mypy_cache
	find scripts tests notebooks datasets \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +
