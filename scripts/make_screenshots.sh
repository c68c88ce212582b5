#!/usr/bin/env bash
# Pictures of the review for README and docs, under a virtual screen at two sizes.
# Usage: scripts/make_screenshots.sh CASE OUT [SERIES]   (CASE is copied, not changed)
set -euo pipefail

case_folder=$1
out=$2
python=${PYTHON:-.venv/bin/python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for size in 1366x768 3840x2160; do
  rm -rf "$work/case"
  cp -r "$case_folder" "$work/case"
  factor=1
  [ "$size" = 3840x2160 ] && factor=2 # as a 4K screen is used
  QT_SCALE_FACTOR=$factor xvfb-run -a -s "-screen 0 ${size}x24" \
    "$python" scripts/make_screenshots.py "$work/case" --out "$out" --size "$size" \
    ${3:+--series "$3"}
done
