# Every command people type. `make help` lists them; each sets up what it needs, once.
#
# An environment is a virtual environment in .venv-NAME, made from a lock file with hashes and renewed when that
# file changes. PIP_FIND_LINKS and the rest of pip's settings are honoured, so a folder of wheels is enough.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= $(shell command -v python3.11 || command -v python3)
TORCH ?= torch==2.13.0
ARGS ?=
SERVED := shared services/inference-api services/worker services/ui

DEV := .venv-dev
LOCAL := .venv-local
TRAIN := .venv-train
BENCH := .venv-bench
AUDIT := .venv-audit
LOAD := .venv-load
CHECKOV := .venv-checkov
LITSERVE := .venv-litserve
BENTOML := .venv-bentoml
OPENVINO := .venv-openvino
UV := .venv-lock/bin/uv

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONUNBUFFERED := 1

# $(call environment,LOCK,PACKAGES,FIRST): from nothing: FIRST, the libraries exactly as locked, our packages in place.
define environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "metseg needs Python 3.11; set PYTHON=/path/to/python3.11")'
	@echo "setting up $(@D) from $(1), once"
	@rm -rf $(@D)
	@$(PYTHON) -m venv $(@D)
	@$(if $(3),$(@D)/bin/pip install --quiet $(3))
	@$(@D)/bin/pip install --quiet --no-deps --require-hashes -r $(1)
	@printf '%s\n' $(abspath $(2)) >$(@D)/lib/python3.11/site-packages/metseg.pth
	@touch $@
endef

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z][a-z0-9-]*:.*## / {printf "  \033[1m%-12s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "Settings: ARGS='...' for up, train, test and e2e; METSEG_API_PORT, METSEG_UI_PORT; PYTHON=/path/to/python3.11"

# --- run ---------------------------------------------------------------------------------------------------------

.PHONY: up
up: ## the deployment with Docker: page on http://127.0.0.1:8501, REST on http://127.0.0.1:8000
	docker compose up --build $(ARGS)

.PHONY: down
down: ## stop the deployment; what it stored stays
	docker compose down $(ARGS)

.PHONY: local
local: $(LOCAL)/.ready ## the same without Docker, until Ctrl-C (METSEG_API_PORT, METSEG_UI_PORT)
	@exec $(LOCAL)/bin/python infra/local/run.py

.PHONY: train
train: $(TRAIN)/.ready ## the trainer without Docker, into the store of `make local`: make train ARGS="run --preset quick"
	@test -n "$${METSEG_S3_ENDPOINT-}" || export METSEG_STORE_DIRECTORY="$${METSEG_STORE_DIRECTORY-var/store}"; \
		exec $(TRAIN)/bin/python -m metseg_trainer $(ARGS)

# --- check -------------------------------------------------------------------------------------------------------

.PHONY: lint
lint: $(DEV)/.ready ## format, rules, types, who imports whom, Dockerfiles
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/ruff check .
	$(DEV)/bin/mypy
	$(DEV)/bin/lint-imports
	$(DEV)/bin/hadolint services/*/Dockerfile

.PHONY: format
format: $(DEV)/.ready ## format the code and repair what ruff can
	$(DEV)/bin/ruff format .
	$(DEV)/bin/ruff check --fix .

.PHONY: test
test: $(DEV)/.ready ## unit and integration tests with branch coverage of metseg; needs nothing but pip
	$(DEV)/bin/pytest -n auto --maxprocesses 4 --dist loadfile -m "not real_data and not e2e and not dicom_tools" --cov --cov-report=term $(ARGS)

.PHONY: test-real
test-real: $(DEV)/.ready ## tests on real MRI in the folder METSEG_REAL_DATA, and in METSEG_REAL_NIFTI where that is set
	@test -n "$${METSEG_REAL_DATA-}" || { echo "set METSEG_REAL_DATA to a folder of TCGA_* patients; nothing was tested" >&2; exit 2; }
	$(DEV)/bin/pytest -m "real_data and not e2e" --timeout 1200 $(ARGS)

.PHONY: test-dicom
test-dicom: $(DEV)/.ready ## DICOM results by dciodvfy, and through a real Orthanc and back
	@command -v dciodvfy Orthanc >/dev/null && test -e /usr/share/orthanc/plugins/libOrthancDicomWeb.so \
		|| { test "$$(id -u)" = 0 && apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
			apt-get install -y -qq --no-install-recommends dicom3tools orthanc orthanc-dicomweb >/dev/null; } \
		|| { echo "make test-dicom needs dciodvfy and Orthanc: install dicom3tools, orthanc, orthanc-dicomweb" >&2; exit 2; }
	PATH="$$PATH:/usr/sbin" $(DEV)/bin/pytest -m dicom_tools tests/integration/test_dicom_tools.py $(ARGS)

.PHONY: e2e
e2e: $(DEV)/.ready ## build, deploy, train, submit by REST and in a real browser, take down
	@command -v "$${METSEG_BROWSER:-chromium}" chromium google-chrome >/dev/null \
		|| { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } \
		|| { echo "make e2e needs a browser: install chromium, or set METSEG_BROWSER to one" >&2; exit 2; }
	$(DEV)/bin/pytest -m "e2e and not drill" --timeout 1800 -o log_cli=true -o log_cli_level=INFO $(ARGS)

.PHONY: drill
drill: $(DEV)/.ready ## back up a deployment, lose its volumes, restore it, by the words of docs/reliability.md
	$(DEV)/bin/pytest -m drill --timeout 1800 -o log_cli=true -o log_cli_level=INFO $(ARGS)

.PHONY: audit
audit: $(AUDIT)/.ready sbom ## known vulnerabilities of every library, and of the images where trivy or grype is here
	$(AUDIT)/bin/python infra/supply/audit.py $(AUDIT)/bin

.PHONY: sbom
sbom: $(AUDIT)/.ready ## bills of materials (CycloneDX) of every service, in build/sbom
	@mkdir -p build/sbom
	@for lock in services/*/requirements*.lock requirements/local.lock; do \
		name=$$(dirname $$lock | xargs basename)-$$(basename $$lock .lock); \
		$(AUDIT)/bin/cyclonedx-py requirements --output-reproducible --of JSON -o build/sbom/$$name.cdx.json $$lock; \
		echo build/sbom/$$name.cdx.json; \
	done

.PHONY: licences
licences: $(DEV)/.ready ## write docs/licences.md from the lock files and the installed libraries
	$(DEV)/bin/python infra/supply/licences.py

.PHONY: checkov
checkov: $(CHECKOV)/.ready ## how Dockerfiles and workflows are set up; .checkov.yml has each exception with its reason
	$(CHECKOV)/bin/checkov --config-file .checkov.yml

.PHONY: fuzz
fuzz: $(DEV)/.ready ## read 10,000 broken files under limits of memory and time; ARGS="--first 20000" takes others
	PYTHONPATH=.:shared $(DEV)/bin/python -m tests.fuzz.run $(ARGS)

.PHONY: chaos chaos-short
chaos: $(DEV)/.ready ## break a deployment in every way while jobs run, and write the table: make chaos ARGS="--only redis"
	PYTHONPATH=. $(DEV)/bin/python -m tests.chaos --write docs/reliability.md $(ARGS)

chaos-short: $(DEV)/.ready ## a worker killed, Redis wiped, the store killed, while jobs run
	PYTHONPATH=. $(DEV)/bin/python -m tests.chaos --short $(ARGS)

.PHONY: load soak
load: $(DEV)/.ready $(LOAD)/.ready ## ten minutes at 120% of what a deployment can do: make load ARGS="--minutes 2"
	PYTHONPATH=. $(DEV)/bin/python -m tests.load --write docs/reliability.md --locust $(LOAD)/bin/locust $(ARGS)

soak: $(DEV)/.ready $(LOAD)/.ready ## the same for an hour
	PYTHONPATH=. $(DEV)/bin/python -m tests.load --minutes 60 --locust $(LOAD)/bin/locust $(ARGS)

.PHONY: bench
bench: $(BENCH)/.ready $(DEV)/.ready $(LOAD)/.ready $(LITSERVE)/.ready $(BENTOML)/.ready ## how fast it serves, into docs/performance.md: make bench ARGS="--only model system --data FOLDER"
	PYTHONPATH=. $(BENCH)/bin/python -W ignore -m tests.bench.bench_speed $(ARGS)
	PYTHONPATH=.:shared:services/worker $(DEV)/bin/python -W ignore -m tests.bench.bench_services $(ARGS)
	PYTHONPATH=.:shared:services/worker:services/inference-api $(DEV)/bin/python -W ignore -m tests.bench.bench_growth $(ARGS)

.PHONY: simulate
simulate: $(DEV)/.ready ## play the measured loads again, and other rates, into docs/scaling.md
	PYTHONPATH=.:shared $(DEV)/bin/python -m tests.bench.simulate --write docs/scaling.md

.PHONY: bench-train
bench-train: $(BENCH)/.ready ## how fast the training is, beside a plain loop and other networks: ARGS="--data FOLDER"
	PYTHONPATH=. $(BENCH)/bin/python -W ignore -m tests.bench.bench_train $(ARGS)

.PHONY: bench-scale
bench-scale: $(DEV)/.ready ## jobs a second with one worker and with two, in Docker, into docs/performance.md
	PYTHONPATH=.:shared $(DEV)/bin/python -W ignore -m tests.bench.bench_scale $(ARGS)

.PHONY: bench-engines
bench-engines: $(OPENVINO)/.ready ## OpenVINO against onnxruntime on this CPU, into docs/performance.md
	PYTHONPATH=. $(OPENVINO)/bin/python -W ignore -m tests.bench.bench_engines $(ARGS)

.PHONY: bench-recipe
bench-recipe: $(TRAIN)/.ready ## what each part of the recipe is worth: make bench-recipe ARGS="--data FOLDER --epochs 4"
	PYTHONPATH=. $(TRAIN)/bin/python -W ignore -m tests.bench.bench_recipe --table docs/results $(ARGS)

.PHONY: bench-peers
bench-peers: $(BENCH)/.ready ## other libraries' networks on the same patients: make bench-peers ARGS="--data FOLDER --epochs 6"
	PYTHONPATH=. $(BENCH)/bin/python -W ignore -m tests.bench.bench_peers --table docs/results $(ARGS)

# --- keep --------------------------------------------------------------------------------------------------------

# For Python 3.11 on Linux; the hashes are those of every platform's files. Our own packages and torch stay out.
UV_COMPILE = $(UV) pip compile --quiet --python-version 3.11 --python-platform x86_64-manylinux_2_28 --generate-hashes \
	--no-annotate --custom-compile-command "make lock" --excludes requirements/excludes.txt \
	$(foreach name,metseg metseg-api metseg-worker metseg-ui metseg-trainer,--no-emit-package $(name)) $(UPGRADE)
# $(call lock,SERVICE,FILE,MORE): what one service needs, in the versions that are tested.
define lock
	printf '%s\n' ./shared './services/$(1)' | $(UV_COMPILE) -c requirements/dev.lock - $(3) -o services/$(2)

endef

.PHONY: lock
lock: ## renew every lock file from the pyproject files; UPGRADE=--upgrade takes newer releases
	test -x $(UV) || { $(PYTHON) -m venv .venv-lock && $(UV:uv=pip) install --quiet uv; }
	$(UV_COMPILE) requirements/dev.in -o requirements/dev.lock
	$(UV_COMPILE) -c requirements/dev.lock requirements/local.in -o requirements/local.lock
	$(UV_COMPILE) -c requirements/dev.lock --excludes <(echo torchvision) requirements/bench.in -o requirements/bench.lock
	$(UV_COMPILE) -c requirements/dev.lock requirements/audit.in -o requirements/audit.lock
	$(UV_COMPILE) -c requirements/dev.lock requirements/load.in -o requirements/load.lock
	$(UV_COMPILE) -c requirements/dev.lock requirements/litserve.in -o requirements/litserve.lock
	$(UV_COMPILE) -c <(sed 's/^opentelemetry-api==[^ ]*/opentelemetry-api/' requirements/dev.lock) requirements/bentoml.in -o requirements/bentoml.lock
	$(UV_COMPILE) -c requirements/dev.lock requirements/openvino.in -o requirements/openvino.lock
	$(UV_COMPILE) requirements/checkov.in -o requirements/checkov.lock
	$(call lock,inference-api,inference-api/requirements.lock)
	$(call lock,worker,worker/requirements.lock)
	$(call lock,worker,worker/requirements-gpu.lock,services/worker/requirements-gpu.in --excludes <(echo onnxruntime))
	$(call lock,ui,ui/requirements.lock)
	$(call lock,trainer,trainer/requirements.lock)
	@echo "now: make licences"

.PHONY: picture
picture: $(DEV)/.ready ## draw the README's picture of the page anew, over a phantom; needs Chromium
	PYTHONPATH=.:shared:services/ui $(DEV)/bin/python -W ignore -m tests.picture_of_page

.PHONY: bench-page
bench-page: $(DEV)/.ready ## how the page bears a large upload and many: make bench-page ARGS="--uploads 50"
	PYTHONPATH=.:shared:services/ui:services/worker:services/inference-api $(DEV)/bin/python -W ignore -m tests.bench.bench_page $(ARGS)

.PHONY: vendor
vendor: ## take the page's copy of NiiVue anew from npm, as services/ui/metseg_ui/components/assets/niivue.json names it
	$(PYTHON) infra/niivue/vendor.py

.PHONY: clean
clean: ## remove caches and build products
	rm -rf .coverage* .*_cache build dist
	find . -name .git -prune -o -name '.venv*' -prune -o \( -name __pycache__ -o -name '*.egg-info' \) -exec rm -rf {} +

.PHONY: distclean
distclean: clean ## remove the environments too; var/ (what `make local` stored) stays
	rm -rf .venv-*

$(DEV)/.ready: requirements/dev.lock
	$(call environment,$<,$(SERVED) services/trainer,$(TORCH))

$(LOCAL)/.ready: requirements/local.lock
	$(call environment,$<,$(SERVED))

$(TRAIN)/.ready: services/trainer/requirements.lock
	$(call environment,$<,shared services/trainer,$(TORCH))

$(LOAD)/.ready: requirements/load.lock
	$(call environment,$<,)

$(LITSERVE)/.ready: requirements/litserve.lock
	$(call environment,$<,shared)

$(BENTOML)/.ready: requirements/bentoml.lock
	$(call environment,$<,shared)

$(OPENVINO)/.ready: requirements/openvino.lock
	$(call environment,$<,shared)

$(AUDIT)/.ready: requirements/audit.lock
	$(call environment,$<,)

$(CHECKOV)/.ready: requirements/checkov.lock
	$(call environment,$<,)

$(BENCH)/.ready: requirements/bench.lock  # torchvision comes with torch: each of its builds fits one of torch's
	$(call environment,$<,shared services/trainer,$(TORCH) torchvision)
