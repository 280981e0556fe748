#!/usr/bin/env bash
# From a bare Debian to a working environment: R with the packages that the workbook needs, and .venv with pinned
# Python packages. Installs only what is missing, and nothing at all inside an active conda environment.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

r_packages=(lme4 MASS geepack nlme optimx dfoptim lmerTest pbkrtest)
debian_r=(r-base-core r-cran-lme4 r-cran-mass r-cran-geepack r-cran-nlme r-cran-optimx r-cran-dfoptim r-cran-lmertest r-cran-pbkrtest)
debian_python=(python3-venv python3-dev)
debian_compiler=(r-base-dev libtirpc-dev)
debian_browser=(chromium)
conda_hint="conda env create -f environment.yml && conda activate concord"
stamp=.venv/concord-setup
log=build/setup.log

step() { printf '==> %s\n' "$*"; }

# Everything that a command prints goes to the log; the screen gets its latest line now and then.
shown() {
  mkdir -p "$(dirname "$log")"
  "$@" </dev/null 2>&1 | tee -a "$log" | show_latest || {
    tail -n 25 "$log" >&2
    printf 'setup: failed: %s (all of its output: %s)\n' "$*" "$log" >&2
    return 1
  }
}
show_latest() {
  local line status last=$SECONDS
  while true; do
    status=0
    IFS= read -r -t 10 line || status=$?
    if ((status > 128)); then printf '    ... %s s\n' "$SECONDS"; continue; fi
    ((status == 0)) || break
    ((SECONDS - last < 3)) || { printf '    %.110s\n' "$line"; last=$SECONDS; }
  done
}

# ---- what must be there

has_r_packages() {
  "${1:-Rscript}" --vanilla -e 'found <- nzchar(sapply(commandArgs(TRUE), function(p) system.file(package = p)))
    if (!all(found)) quit(status = 1)' "${r_packages[@]}" >/dev/null 2>&1
}

# Sets $python: the pins were resolved for 3.11, so it comes first. Headers and ensurepip are packages of their own in Debian.
has_python() {
  for python in python3.11 python3 python3.12 python3.13; do
    "$python" -c 'import ensurepip, os, sys, sysconfig, venv
header = os.path.join(sysconfig.get_paths()["include"], "Python.h")
sys.exit(not (sys.version_info >= (3, 11) and os.path.exists(header)))' >/dev/null 2>&1 && return
  done
  return 1
}

# rpy2 is compiled against R as a shared library: build what it builds, small. Finds a missing -lblas or -ltirpc too.
has_compiler() {
  local program flags status=0
  program=$(mktemp)
  read -ra flags <<<"$(R CMD config --cppflags) $(R CMD config --ldflags)"
  cc -x c -o "$program" - "${flags[@]}" >/dev/null <<<'#include <R.h>
#include <Rembedded.h>
int main(void) { Rf_endEmbeddedR(0); return 0; }' || status=$?
  rm -f "$program"
  return "$status"
} 2>/dev/null

# Only tests want one: WITH_BROWSER=yes asks for it.
has_browser() { [ "${WITH_BROWSER:-}" != yes ] || command -v chromium >/dev/null || command -v chromium-browser >/dev/null; }

# Sets $missing: the Debian packages that would bring what is not there.
find_missing() {
  missing=()
  has_r_packages || missing+=("${debian_r[@]}")
  has_compiler || missing+=("${debian_compiler[@]}")
  has_python || missing+=("${debian_python[@]}")
  has_browser || missing+=("${debian_browser[@]}")
}

# ---- installing it

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

can_install() { command -v apt-get >/dev/null && as_root true 2>/dev/null; }

apt() { shown as_root env DEBIAN_FRONTEND=noninteractive apt-get -y -o DPkg::Lock::Timeout=300 "$@"; }

install_missing() {
  step "Installing Debian packages: ${missing[*]}"
  apt-cache show "${missing[0]}" >/dev/null 2>&1 || apt update
  # Lists that are there can be too old to download from.
  apt install --no-install-recommends "${missing[@]}" || { apt update && apt install --no-install-recommends "${missing[@]}"; }
}

# ---- .venv

# A .venv belongs to one folder, Python and R (rpy2 is compiled against both): where one of them changed, it is of no use.
identity() { printf '%s, %s, %s\n' "$PWD" "$(.venv/bin/python --version 2>&1)" "$(Rscript --version 2>&1)"; }

wanted() {
  identity
  cat pyproject.toml scripts/constraints.txt scripts/setup.sh | sha256sum
}

is_ready() { [ -f "$stamp" ] && has_browser && command -v Rscript >/dev/null && [ "$(cat "$stamp")" = "$(wanted)" ]; }

build_venv() {
  if [ -f "$stamp" ] && [ "$(head -n 1 "$stamp")" = "$(identity)" ]; then
    step "Updating .venv"
    rm -f "$stamp"
  else
    step "Making .venv with $("$python" --version)"
    rm -rf .venv
    "$python" -m venv .venv
  fi
  export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
  # Never from pip's cache: a cached build may be for another R, or one that failed and fell back to ABI mode.
  step "Compiling rpy2 against $(Rscript --version 2>&1)"
  shown env RPY2_CFFI_MODE=API .venv/bin/python -m pip install --progress-bar off --no-cache-dir -c scripts/constraints.txt rpy2-rinterface
  step "Installing Python packages"
  shown env RPY2_CFFI_MODE=API .venv/bin/python -m pip install --progress-bar off -c scripts/constraints.txt -e '.[test,browser]'
  step "Checking rpy2 and lme4"
  shown env -u RPY2_CFFI_MODE .venv/bin/python -c 'from rpy2.rinterface_lib import openrlib
if openrlib.cffi_mode.name != "API":
    raise SystemExit(f"rpy2 runs in {openrlib.cffi_mode.name} mode: its compilation against R failed without a word")
import rpy2.robjects
rpy2.robjects.r("library(lme4)")'
  # The stamp comes last and whole: without it the next run starts from nothing.
  wanted >"$stamp.part"
  mv "$stamp.part" "$stamp"
}

# ---- here it starts

if [ -n "${CONDA_PREFIX:-}" ] && [ "${CONDA_DEFAULT_ENV:-base}" != base ]; then
  if "$CONDA_PREFIX/bin/python" -c 'import importlib.metadata as m, importlib.util as u, sys
m.version("concord")
sys.exit(not all(map(u.find_spec, ("concord", "rpy2", "statsmodels", "papermill", "nbval", "pytest"))))' >/dev/null 2>&1 &&
    has_r_packages "$CONDA_PREFIX/bin/Rscript"; then
    step "ready: conda environment $CONDA_DEFAULT_ENV"
    exit
  fi
  cat >&2 <<END
setup: the conda environment $CONDA_DEFAULT_ENV lacks some of the workbook's Python or R packages, and nothing is installed into it.
  its own environment:  $conda_hint
  or without conda:     conda deactivate, and the same command again
END
  exit 1
fi

if is_ready; then step "ready: .venv"; exit; fi

# Two makes at once: the second waits, and then finds the work done.
if command -v flock >/dev/null; then
  exec 9>.setup.lock
  flock -n 9 || { step "Waiting for another set-up of this folder"; flock 9; }
  if is_ready; then step "ready: .venv"; exit; fi
fi

step "Looking for R with ${r_packages[*]}, a compiler and Python >= 3.11"
find_missing
if ((${#missing[@]})) && can_install; then
  install_missing
  find_missing
fi
if ((${#missing[@]})); then
  cat >&2 <<END
setup: what these packages bring is not found on the PATH, and cannot be installed from here.
  Debian, Ubuntu:  apt-get install --no-install-recommends ${missing[*]}
  elsewhere:       $conda_hint
END
  exit 1
fi
build_venv
step "ready: .venv, in $SECONDS s"
