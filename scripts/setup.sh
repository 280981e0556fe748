#!/usr/bin/env bash
# From a bare Debian to a working environment: R with the packages that the workbook needs, and .venv with the Python
# packages that scripts/lanes.tsv has for R's version. Installs only what is missing, and nothing at all inside an
# active conda environment.
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

# Where it names another R than the one that answers, that one begins each answer with a warning.
unset R_HOME

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

# Sets $r_version, $r_home and $r_lacks, as this R says; by default the one on the PATH, which rpy2 will take too,
# be it Debian's or another with a library of its own.
ask_r() {
  local answer lacking=()
  r_version='' r_home=''
  answer=$("${1:-R}" --vanilla -s --args "${r_packages[@]}" 2>/dev/null <<'END'
cat(format(getRversion()), R.home(), Filter(function(p) !nzchar(system.file(package = p)), commandArgs(TRUE)), sep = "\n")
END
  ) && { read -r r_version && read -r r_home; mapfile -t lacking; } <<<"$answer"
  r_lacks=${lacking[*]}
  [ -n "$r_home" ]
}

is_debians() { [ "$r_home" = /usr/lib/R ]; }

at_least() { [ "$(printf '%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# Sets $lane, the row of scripts/lanes.tsv for this version of R (without one: none), and its $lane_python; and of all
# rows $oldest_r, $oldest_python and $newest_python: the pins are for all between them.
find_lane() {
  local name from below python rest
  lane='' lane_python='' oldest_r='' oldest_python='' newest_python=''
  while read -r name from below python rest; do
    [[ $name != '#'* ]] || continue
    [ -n "$oldest_r" ] && at_least "$from" "$oldest_r" || oldest_r=$from
    [ -n "$oldest_python" ] && at_least "$python" "$oldest_python" || oldest_python=$python
    [ -n "$newest_python" ] && at_least "$newest_python" "$python" || newest_python=$python
    if [ -n "$1" ] && at_least "$1" "$from" && { [ "$below" = - ] || ! at_least "$1" "$below"; }; then
      lane=$name lane_python=$python
    fi
  done <scripts/lanes.tsv
}

# Sets $python: the lane's own if there is one. Headers and ensurepip are packages of their own in Debian.
has_python() {
  local minor newest=${newest_python%.*} oldest=${oldest_python%.*} names=()
  for ((minor = ${newest#3.}; minor >= ${oldest#3.}; minor--)); do names+=("python3.$minor"); done
  for python in ${lane_python:+"python${lane_python%.*}"} python3 "${names[@]}"; do
    is_between "$python" && "$python" -c 'import ensurepip, os, sys, sysconfig, venv
sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' >/dev/null 2>&1 && return
  done
  return 1
}
is_between() {
  "$1" -c 'import sys
oldest, newest = (tuple(map(int, version.split("."))) for version in sys.argv[1:])
sys.exit(not (sys.version_info[:3] >= oldest and sys.version_info[:2] <= newest[:2]))' "$oldest_python" "$newest_python"
} >/dev/null 2>&1

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

# Sets $lacking, in words, and $missing, the Debian packages that would bring it; $by_hand, where they would not.
find_missing() {
  local pythons
  lacking=() missing=() by_hand=()
  ask_r || true
  find_lane "$r_version"
  pythons="Python $oldest_python to ${newest_python%.*}"
  if [ -z "$r_version" ]; then
    lacking+=("R with ${r_packages[*]}") missing+=("${debian_r[@]}")
  elif [ -z "$lane" ]; then
    lacking+=("R $oldest_r or later (R $r_version in $r_home is older)") by_hand+=("R $oldest_r or later on the PATH")
  elif ! is_debians && [ ! -e "$r_home/lib/libR.so" ]; then
    lacking+=("the shared library of R $r_version in $r_home") by_hand+=("an R that was built with --enable-R-shlib")
  elif [ -n "$r_lacks" ]; then
    lacking+=("$r_lacks in R $r_version, whose home is $r_home")
    if is_debians; then missing+=("${debian_r[@]}"); else
      by_hand+=("in that R, install.packages(c(\"${r_lacks// /\", \"}\"))"); fi
  fi
  has_compiler || { lacking+=("a compiler for R's headers") missing+=("${debian_compiler[@]}"); }
  if ! has_python; then
    lacking+=("$pythons with venv and headers")
    if is_between python3 || ! command -v python3 >/dev/null; then missing+=("${debian_python[@]}"); else
      by_hand+=("$pythons on the PATH"); fi
  fi
  command -v openssl >/dev/null || { lacking+=("openssl") missing+=(openssl); }
  has_browser || { lacking+=("Chromium") missing+=("${debian_browser[@]}"); }
}

# In three lines: what is missing, what to do about it here, and the way without Debian.
tell_missing() {
  local place="Debian, Ubuntu:" words ways
  ((${#by_hand[@]} == 0)) || place="here:          "
  ((${#missing[@]} == 0)) || by_hand+=("apt-get install --no-install-recommends ${missing[*]}")
  printf -v words '; %s' "${lacking[@]}"
  printf -v ways '; %s' "${by_hand[@]}"
  cat >&2 <<END
setup: not found, and cannot be installed from here: ${words:2}
  $place  ${ways:2}
  elsewhere:       $conda_hint
END
  exit 1
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

# A .venv belongs to one folder, Python and R (rpy2 is compiled against both): where one of them changed, it is of no
# use. Debian's R has one home.
identity() {
  local home
  home=$(R RHOME 2>/dev/null) || true
  [ "$home" != /usr/lib/R ] || home=''
  printf '%s, %s, %s%s\n' "$PWD" "$(.venv/bin/python --version 2>&1)" "$(R --version 2>&1 | head -n 1)" "${home:+ in $home}"
}

wanted() {
  identity
  cat pyproject.toml scripts/setup.sh scripts/lanes.tsv scripts/constraints/*.txt | sha256sum
}

is_ready() { [ -f "$stamp" ] && has_browser && command -v R >/dev/null && [ "$(cat "$stamp")" = "$(wanted)" ]; }

build_venv() {
  local pins=scripts/constraints/$lane.txt
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
  step "Compiling rpy2 against R $r_version in $r_home"
  # Where R's shared library is not in a folder that the system looks in, the compiled file says where it is.
  shown env RPY2_CFFI_MODE=API LDFLAGS="-Wl,-rpath,$r_home/lib ${LDFLAGS:-}" \
    .venv/bin/python -m pip install --progress-bar off --no-cache-dir -c "$pins" rpy2-rinterface
  step "Installing Python packages"
  shown env RPY2_CFFI_MODE=API .venv/bin/python -m pip install --progress-bar off -c "$pins" -e '.[test,browser,guests]'
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
    ask_r "$CONDA_PREFIX/bin/R" && [ -z "$r_lacks" ]; then
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

step "Looking for R with ${r_packages[*]}, a compiler and Python"
find_missing
if ((${#by_hand[@]} == 0 && ${#missing[@]})) && can_install; then
  install_missing
  find_missing
fi
((${#lacking[@]} == 0)) || tell_missing
step "R $r_version: the packages of lane $lane"
build_venv
step "ready: .venv, in $SECONDS s"
