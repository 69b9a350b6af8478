# refvid: every verb works from a fresh clone with Python 3.10 or newer, pip and make. `make` lists them.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help demo test test-plain test-dry test-comfy test-browser slow golden gpu soak plant kernels-matrix check bench comfyui-files object-info clean need-dest

# The first of these that starts and is new enough; choose another with PYTHON=...
PYTHON ?= $(shell for p in python3.11 python3.12 python3.10 python3; do \
	if $$p -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; then echo $$p; break; fi; done)
# Installed first and alone: a machine whose index holds a CPU build keeps it, elsewhere the same pin brings CUDA.
TORCH ?= torch==2.13.0

# What Python compiled is kept, or each of the many processes of the tests compiles the pack and ComfyUI again.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check install --quiet
OUT ?= out/object_info.json
# What `make golden` compares with.
OLD ?= before-house
# The slowest file, run apart from the others inside ComfyUI.
BROWSER := tests/comfy/test_browser.py
# The tests that want a CUDA device; with REFVID_DRY=1 they run on the CPU, small, in Triton's interpreter.
GPU_TESTS := tests/kernels tests/gpu
# Its interpreter breaks with numpy 2.4 and newer.
OLD_TRITON := build/triton-3.6.0
# What packs the archive for ComfyUI's registry, apart and without its dependencies: packing needs the five in `dev`,
# not its ffmpeg, its installer and its telemetry.
COMFY_CLI := build/comfy-cli-1.23.0

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /|/' | awk -F'|' '{ printf "make %-16s %s\n", $$1, $$2 }'

demo: $(VENV)/demo.stamp  ## a video from one reference on the shipped tiny model, on the CPU
	$(BIN)/refvid demo
	@echo 'next: $(BIN)/refvid generate --reference demo/samples/refvid_toy.png --prompt "a toy at the top moving left on meadow background" --out out/mine.mp4'

test: $(VENV)/dev.stamp  ## all tests; those that need ComfyUI run under its own interpreter where it is found
	@mkdir -p out; echo "== the tests inside ComfyUI run beside these; what they say comes last"; \
	{ $(MAKE) --no-print-directory test-comfy; inside=$$?; \
	$(MAKE) --no-print-directory test-dry; exit $$((inside + $$?)); } >out/test-comfy.log 2>&1 & \
	$(MAKE) --no-print-directory test-plain; plain=$$?; \
	$(MAKE) --no-print-directory test-browser; browser=$$?; \
	wait $$! && comfy=0 || comfy=$$?; cat out/test-comfy.log; exit $$((plain + browser + comfy))

test-plain: $(VENV)/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/pytest

test-dry: $(VENV)/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python bench/gpu_run.py --dry --out out/gpu-dry

test-comfy: $(VENV)/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python tests/run_comfy.py --deselect=$(BROWSER)

test-browser: $(VENV)/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python tests/run_comfy.py $(BROWSER)

slow: $(VENV)/dev.stamp  ## the tests that take longer: published sizes, memory of large files, compiled models
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "slow and not gpu and not comfy"; plain=$$?; \
	OMP_NUM_THREADS=1 $(BIN)/python tests/run_comfy.py --slow; exit $$((plain + $$?))

golden: $(VENV)/dev.stamp  ## what this tree makes against what a commit makes: OLD=before-house ONLY=PART
	$(BIN)/python tests/golden/refvid_golden.py --old "$(OLD)" $(if $(ONLY),--only "$(ONLY)")

gpu: $(VENV)/dev.stamp  ## needs a CUDA GPU: its tests, speed, the kernels' tiles, a training step; results in out/gpu
	$(BIN)/python bench/gpu_run.py --out out/gpu

soak: $(VENV)/dev.stamp  ## the tests of faults in full: broken files, full disks, kills, a server under attack; long
	@export REFVID_SOAK=1 OMP_NUM_THREADS=1; $(BIN)/pytest tests/faults; plain=$$?; \
	$(BIN)/python tests/run_comfy.py $$(grep -l mark.comfy tests/faults/*.py); exit $$((plain + $$?))

plant: $(VENV)/dev.stamp  ## known faults in a copy of the tree, one by one: each has to fail a fast test; ID=... for some
	$(BIN)/python tests/faults/plant.py $(ID)

kernels-matrix: $(VENV)/dev.stamp  ## every kernel for every architecture and type, on Triton 3.7.1 and 3.6.0
	$(BIN)/pytest tests/unit/kernels/test_kernels_compiled.py -m slow
	[ -d $(OLD_TRITON) ] || $(PIP) --no-deps --target $(OLD_TRITON) triton==3.6.0 "numpy<2.4"
	PYTHONPATH=$(OLD_TRITON) $(BIN)/pytest tests/unit/kernels/test_kernels_compiled.py -m slow
	PYTHONPATH=$(OLD_TRITON) OMP_NUM_THREADS=1 REFVID_DRY=1 $(BIN)/pytest $(GPU_TESTS) -m gpu -W ignore::DeprecationWarning

check: $(VENV)/dev.stamp  ## lint, format, import contracts and types; changes nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd .ci && ../$(BIN)/lint-imports ../pyproject.toml --cache-dir ../.import_linter_cache
	$(BIN)/basedpyright --pythonpath $(BIN)/python

bench: $(VENV)/dev.stamp  ## every bench/bench_*.py in turn
	@set -e; ran=0; for file in bench/bench_*.py; do [ -e "$$file" ] || continue; \
		ran=1; echo "== $$file"; $(BIN)/python "$$file"; done; \
	[ $$ran = 1 ] || { echo "no file bench/bench_*.py to run" >&2; exit 1; }

comfyui-files: need-dest $(VENV)/demo.stamp  ## copy the tiny model and its samples into a ComfyUI: DEST=/path/to/ComfyUI
	$(BIN)/refvid comfyui-files --dest "$(DEST)"

need-dest:
	@[ -n "$(DEST)" ] || { echo "comfyui-files needs a target: make comfyui-files DEST=/path/to/ComfyUI" >&2; exit 2; }

object-info: $(VENV)/dev.stamp  ## our nodes as a real ComfyUI server describes them: OUT=out/object_info.json
	OMP_NUM_THREADS=1 $(BIN)/python tests/run_comfy.py --object-info "$(OUT)"

clean:  ## remove the virtual environment, build results and caches; out/ and runs/ stay
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/torch.stamp:
	@[ -n "$(PYTHON)" ] || { echo "no Python 3.10 or newer found; name one with PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) "$(TORCH)"
	touch $@

$(VENV)/demo.stamp: $(VENV)/torch.stamp pyproject.toml
	$(PIP) -e ".[standalone]"
	touch $@

$(VENV)/dev.stamp: $(VENV)/torch.stamp pyproject.toml
	$(PIP) -e ".[standalone,data,train,dev]"
	[ -d $(COMFY_CLI) ] || $(PIP) --no-deps --target $(COMFY_CLI) comfy-cli==1.23.0
	touch $(VENV)/demo.stamp $@
