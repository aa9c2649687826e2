# Every target sets up what it needs: Python 3.11+ and make are enough.
PYTHON ?= python3
VENV := .venv
# where byte code is not kept, as in many containers, each of the processes that tests start would compile every source again
RUN := OMP_WAIT_POLICY=PASSIVE PYTHONDONTWRITEBYTECODE= $(VENV)/bin/python
STAMP := $(VENV)/.installed

.PHONY: tour test test-all docs lint types bench stubs wheel trainers clean

tour: $(STAMP)  ## train small models on real data with every loss; writes report/index.html
	$(RUN) -m losskit tour

test: $(STAMP)  ## every law, every loss, on two cores
	$(RUN) -m pytest -n 2 --dist worksteal -m "not thorough"

test-all: $(STAMP)  ## and more of each kind: further settings, dtypes, loops, sizes, the whole site; before a release
	$(RUN) -m pytest -n 2 --dist worksteal

docs: $(STAMP)  ## the site: docs/_build/site/index.html
	$(RUN) docs/build.py

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(STAMP)
	$(VENV)/bin/mypy

bench: $(STAMP) $(VENV)/.peers  ## ours against torch, torch.compile and peers; writes benchmarks/results
	$(RUN) -m losskit bench
	$(RUN) -m losskit.bench.rows
	$(RUN) -m losskit.bench.overlap
	$(RUN) -m losskit.bench.boxes
	$(RUN) -m losskit.bench.operands
	$(RUN) -m losskit.bench.products
	$(RUN) -m losskit.bench.compiled
	$(RUN) -m losskit.bench.every

stubs: $(STAMP)  ## after adding a loss: src/losskit/__init__.pyi, what editors and type checkers see
	$(RUN) -m losskit.contract.stubs

wheel: $(STAMP)  ## builds the wheel into build/wheel, installs it into an empty environment, and runs an example per pattern there
	rm -rf build
	$(VENV)/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps -w build/wheel .
	$(PYTHON) -m venv build/empty
	build/empty/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt build/wheel/losskit-*.whl
	cd build && OMP_WAIT_POLICY=PASSIVE empty/bin/python ../tests/smoke.py

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "losskit needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# for comparison only, without their own demands for torch; see losskit/bench
$(VENV)/.peers: $(STAMP)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		torchvision==0.28.0 pillow monai==1.6.1 kornia==0.9.0 kornia_rs==0.2.0 segmentation-models-pytorch==0.6.0
	touch $@

trainers: $(STAMP) $(VENV)/.peers  ## frameworks that tests put losses into; see CONTRIBUTING.md
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		mmengine transformers accelerate lightning skorch trl keras fastcore fastdownload fastprogress fasttransform plum-dispatch polars
	# without what they ask for beside that: spaCy, mmcv's operators, another torchvision
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt timm fastai ultralytics mmdet

clean:
	rm -rf $(VENV) report build src/*.egg-info
