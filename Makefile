# The commands of the README.  Each does all of its own set-up from a clean clone; done once, set-up costs nothing.

SHELL := /bin/sh
# Where this is set, each of some hundred processes that the tests start would compile the whole program anew.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help setup demo test lint soak bench screenshots audit lock
.NOTPARALLEL:

help:
	@echo 'make demo [FILE=path] [ARGS=--once]   one file from drop to receipt, on this machine'
	@echo 'make test                             all tests and checks; CI=true: a skipped test is a failed one'
	@echo 'make setup                            only make .venv ready for both'
	@echo 'make lint                             only the checks: ruff, mypy'
	@echo 'make soak                             the tests that take minutes'
	@echo 'make bench [ARGS=--full]              how fast beside OpenSSH, rclone and asyncssh; under five minutes, or longer'
	@echo 'make screenshots [ARGS=inbox]         draw every page of the portal, or the named ones, into docs/screenshots/'
	@echo 'make audit                            are there known holes in what the locks name?'
	@echo 'make lock                             write requirements/*.txt anew from requirements/*.in'

# FILE and ARGS reach the shell as make was given them; FILE may have blanks.
demo:
	@requirements/set-up run
	@.venv/bin/python -m fxsftp demo $(ARGS) $${FILE:+--file "$$FILE"}

setup:
	@requirements/set-up test

test: setup
	@tests/set-up
	@$(MAKE) --no-print-directory lint
	@requirements/audit || echo 'audit: see above; this alone does not fail the tests'
	@.venv/bin/python -m pytest $(ARGS) || tests/once-more $$? $(ARGS)
	@.venv/bin/python -m pytest -m browser -n 4 $(ARGS) || tests/once-more $$? -m browser $(ARGS)

lint: setup
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check
	@.venv/bin/mypy

soak: setup
	@tests/set-up
	@.venv/bin/python -m pytest -m soak --timeout 1800 $(ARGS)

# What is missing for it, it says; the others are measured all the same.
bench: setup
	@.venv/bin/python -m bench.peers $(ARGS)

# Chromium draws them; tests/set-up installs it.
screenshots: setup
	@tests/set-up
	@.venv/bin/python -m tests.draw_portal $(ARGS)

audit: setup
	@requirements/audit

lock: setup
	@requirements/lock
