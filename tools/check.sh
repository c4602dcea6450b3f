#!/usr/bin/env bash
# What must hold before every commit. The static tools run beside each other, then the quick tests;
# each tool's words are shown only when it has something to say.
set -uo pipefail
cd "$(dirname "$0")/.."

bin=${VENV:-.venv}/bin
folder=$(mktemp -d)
trap 'rm -rf -- "$folder"' EXIT
names=()
pids=()

start() {
  names+=("$1")
  "${@:2}" >"$folder/$1" 2>&1 &
  pids+=($!)
}

start contracts "$bin/lint-imports" --no-logo
start types "$bin/mypy"
start format "$bin/ruff" format --check .
start ruff "$bin/ruff" check .
start tidy "$bin/python" -m tools.tidy

is_faulty=0
for index in "${!pids[@]}"; do
  name=${names[$index]}
  if wait "${pids[$index]}"; then
    printf 'check: %-10s ok\n' "$name"
  else
    is_faulty=1
    printf 'check: %-10s FAILED\n' "$name"
    cat "$folder/$name"
  fi
done

# The longest floors are left to `make test`; a floor that nobody has built is left out by name.
floors=()
for floor in tests/unit tests/property tests/playbook tests/golden tests/house; do
  if [ -n "$(find "$floor" -name 'test_*.py' -print -quit 2>/dev/null)" ]; then
    floors+=("$floor")
  else
    printf 'check: no tests under %s yet, left out\n' "$floor"
  fi
done
TEST_EFFORT=quick "$bin/python" -m pytest "${floors[@]}" -m 'not slow' -n "${JOBS:-2}" || is_faulty=1
exit "$is_faulty"
