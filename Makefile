# The environment of ROS 2 wheels, for machines without a ROS 2 distribution. On a distribution use rosdep and colcon:
# docs/installation.md.

PYTHON ?=
DEMO_BAG ?= demo/drive.mcap
DEMO_OUT ?= demo/out
PYTEST_ARGS ?=

VENV := .venv/.complete
BUILD := install/.built

.PHONY: help venv build test lint demo clean distclean
.DELETE_ON_ERROR:

# An environment holds absolute paths: one that came with a copied or moved checkout is made again.
ifneq ($(shell cat $(VENV) 2>/dev/null),$(CURDIR))
.PHONY: $(VENV)
endif

help:
	@echo "make demo       replay $(DEMO_BAG) through ROS 2 and write pictures and messages to $(DEMO_OUT)"
	@echo "make test       lint, type check and all tests (PYTEST_ARGS='-k name' for some of them)"
	@echo "make lint       ruff and mypy only"
	@echo "make build      generate the ROS 2 messages (colcon), after which env/run COMMAND works"
	@echo "make venv       Python packages and ROS 2 wheels in .venv (PYTHON=python3.12 picks one)"
	@echo "make clean      remove what was built; distclean removes .venv too"

venv: $(VENV)
build: $(BUILD)

$(VENV): requirements.txt requirements-ros.txt requirements-dev.txt requirements-transformers.txt env/make_venv env/check_machine.py \
		env/fix_cmake_paths.py
	env/make_venv $(PYTHON)

$(BUILD): $(VENV) $(wildcard msg/*.msg env/tf2_msgs/msg/*.msg) CMakeLists.txt package.xml env/build \
		env/tf2_msgs/CMakeLists.txt env/tf2_msgs/package.xml
	env/build --symlink-install
	touch $@

demo: $(BUILD)
	env/run amodal run --bag $(DEMO_BAG) --out $(DEMO_OUT) --params demo/demo.param.yaml --rate 0.4

lint: $(BUILD)
	env/run ruff check .
	env/run ruff format --check .
	env/run mypy

test: lint
	env/run pytest $(PYTEST_ARGS)

clean:
	rm -rf build install log demo/out .pytest_cache .mypy_cache .ruff_cache .hypothesis

distclean: clean
	rm -rf .venv
