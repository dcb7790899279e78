# The commands of the project. `make help` lists them; all of them do the set-up that they need.

PYTHON ?= python3
# The distribution of ROS 2 to take from wheels; empty: the one that is sourced, else Jazzy.
ROS ?= $(MEDBOT_ROS)
PYTEST_ARGS ?=
EVAL_ARGS ?=

BOOTSTRAP = $(PYTHON) -m tools.bootstrap --ros '$(ROS)'
RUN = $(BOOTSTRAP) run --

.DEFAULT_GOAL := help
.PHONY: help setup demo shell test test-all bench bench-sharing eval-safety triage-train lint format clean distclean
MAKEFLAGS += --no-print-directory

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup:  ## prepare everything: ROS 2, Python packages, llama.cpp, the colcon build (again: takes seconds)
	@$(BOOTSTRAP) setup

demo: setup  ## hear the robot: the real node on a real model, as a chat over its topics
	@$(RUN) python tools/demo.py

shell: setup  ## open a shell in which the nodes run and the messages import
	@$(RUN) $${SHELL:-sh}

test: setup  ## run the tests, without the slow ones
	@$(RUN) pytest -m 'not slow' $(PYTEST_ARGS)

test-all: setup  ## run all tests, and those of the nodes on ROS 2 Kilted as well
	@$(RUN) pytest $(PYTEST_ARGS)
	@$(PYTHON) -m tools.bootstrap --ros kilted setup
	@$(PYTHON) -m tools.bootstrap --ros kilted run -- pytest test/nodes $(PYTEST_ARGS)

bench: setup  ## measure the node against a bare llama.cpp loop
	@$(RUN) python tools/bench.py

bench-sharing: setup  ## measure how the model's threads get on with other programs
	@$(RUN) python tools/bench_sharing.py

eval-safety: setup  ## measure triage, verifier, interactions and whole conversations on their test sets
	@$(RUN) python tools/eval_safety.py $(EVAL_ARGS)

triage-train: setup .venv-triage/requirements.txt  ## train the triage's second line anew from data/triage
	@$(RUN) env PYTHONPATH=.venv-triage python tools/train_triage.py

# A folder of its own: PyTorch is large, and nothing else here needs it.
.venv-triage/requirements.txt: requirements/triage.txt | setup
	@$(RUN) pip install --quiet --upgrade --no-warn-conflicts --target .venv-triage -r $<
	@cp $< $@

lint: setup  ## check style and types
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(RUN) mypy

format: setup  ## put the code into the project's style
	@$(RUN) ruff check --fix .
	@$(RUN) ruff format .

clean:  ## delete what was built; the set-up builds it again in a minute
	rm -rf .ros/*/build .ros/*/install .ros/*/log build dist *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find medbot_llm resource launch test tools -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## delete the virtual environments too; models and wheels in ~/.cache/medbot stay
	rm -rf .venv .venv-* .ros
