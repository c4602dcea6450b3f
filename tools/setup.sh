#!/usr/bin/env bash
# Make the virtual environment from the hashed lock, once per content of the locks.
# Use: setup.sh run|dev, with PYTHON (default python3) and VENV (default .venv) in the environment.
set -euo pipefail
cd "$(dirname "$0")/.."

kind=${1:?run or dev}
python=${PYTHON:-python3}
venv=${VENV:-.venv}
lock=requirements.lock
if [ "$kind" = dev ]; then
  lock=requirements-dev.lock
fi

fail() {
  printf 'setup: %s\n' "$*" >&2
  exit 1
}

# The stamp knows the locks, the project's file and the place: an environment cannot be moved.
stamp_of() {
  printf '%s ' "$1" "$PWD"
  cat "$lock" pyproject.toml | cksum
}

is_current() {
  # What developing needs holds all that running needs, so either stamp serves to run.
  [ -x "$venv/bin/python" ] && "$venv/bin/python" -c '' 2>/dev/null || return 1
  local kinds="dev" name
  if [ "$kind" = run ]; then
    kinds="run dev"
  fi
  for name in $kinds; do
    lock=requirements.lock
    if [ "$name" = dev ]; then
      lock=requirements-dev.lock
    fi
    if [ "$(cat "$venv/.stamp-$name" 2>/dev/null)" = "$(stamp_of "$name")" ]; then
      return 0
    fi
  done
  return 1
}

find_python() {
  local name
  for name in "$python" python3.14 python3.13 python3.12 python3.11; do
    if command -v "$name" >/dev/null 2>&1 &&
      "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$name"
      return 0
    fi
  done
  return 1
}

if is_current; then
  exit 0
fi
if [ "$kind" = dev ]; then
  lock=requirements-dev.lock
else
  lock=requirements.lock
fi

if ! [ -x "$venv/bin/python" ] || ! "$venv/bin/python" -c '' 2>/dev/null; then
  found=$(find_python) || fail "Python 3.11 or newer is needed and '$python' is not that;" \
    "install one, or name one: make PYTHON=/path/to/python3.12"
  "$found" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$found has no venv module; on Debian and Ubuntu: apt-get install python3-venv"
  printf 'setup: making %s with %s\n' "$venv" "$("$found" --version)" >&2
  "$found" -m venv "$venv"
fi

printf 'setup: installing what %s pins\n' "$lock" >&2
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
"$venv/bin/python" -m pip install --quiet --require-hashes -r "$lock"
"$venv/bin/python" -m pip install --quiet --no-deps --no-build-isolation --editable .
stamp_of "$kind" >"$venv/.stamp-$kind"
