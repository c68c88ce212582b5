#!/usr/bin/env bash
# Builds the wheel, installs it into two fresh environments, with and without the
# extra [napari], and looks whether the review works from there: the plugin's manifest,
# the sample case in napari's window, and one clear line where the extra or a display is
# missing. Takes minutes and a package registry, so `make test` leaves it out.
#
# Usage: scripts/check_wheel.sh [CASE]     CASE: a case folder of the sample patient;
#                                          without it the installed `cemscope demo` makes one
# Environment: PYTHON (default python3), WORK (kept if given, with its environments)
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
work=${WORK:-$(mktemp -d)}
mkdir -p "$work"
[ -n "${WORK:-}" ] || trap 'rm -rf "$work"' EXIT

say() { printf '== %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

# What a command says on stderr and how it ends: expect STATUS TEXT COMMAND...
expect() {
  local status=$1 text=$2 ended=0
  shift 2
  "$@" >"$work/out.txt" 2>"$work/err.txt" || ended=$?
  [ "$ended" = "$status" ] || { cat "$work/err.txt" >&2; fail "$* ended with $ended, expected $status"; }
  grep -qF "$text" "$work/err.txt" || { cat "$work/err.txt" >&2; fail "$* does not say: $text"; }
  ! grep -q Traceback "$work/err.txt" || fail "$* shows a traceback"
  sed 's/^/   /' "$work/err.txt"
}

say "building the wheel"
rm -rf "$work/wheel" "$work/plain" "$work/full"
"$python" -m venv "$work/plain"
"$work/plain/bin/python" -m pip install --quiet --upgrade pip
"$work/plain/bin/python" -m pip wheel --quiet --no-deps --wheel-dir "$work/wheel" "$root"
wheel=$(ls "$work"/wheel/cemscope-*.whl)
say "$(basename "$wheel"), $(stat -c %s "$wheel" 2>/dev/null || stat -f %z "$wheel") bytes"

say "installing it with and without [napari]"
"$work/plain/bin/python" -m pip install --quiet "$wheel"
"$python" -m venv "$work/full"
"$work/full/bin/python" -m pip install --quiet --upgrade pip
"$work/full/bin/python" -m pip install --quiet "$wheel[napari]"

cd "$work" # nothing of the repository may be found
export PYTHONPATH=
say "npe2 validate"
"$work/full/bin/npe2" validate cemscope

if [ $# -ge 1 ]; then
  given=$(cd "$root" && cd "$1" && pwd)
  rm -rf "$work/case" && cp -r "$given" "$work/case"
else
  say "making the sample case with the installed package"
  rm -rf "$work/case"
  "$work/full/bin/cemscope" --quiet demo --out "$work/case" >/dev/null
fi

say "the sample case in napari's window"
"$root/scripts/with_display.sh" "$work/full/bin/python" "$root/scripts/check_window.py" \
  "$work/case" "$root/sample_dicom/baseline"

say "without a display"
expect 4 "no display" env -u DISPLAY -u WAYLAND_DISPLAY "$work/full/bin/cemscope" review "$work/case" --series "$root/sample_dicom/baseline"

say "without the extra"
expect 2 'cemscope[napari]' "$work/plain/bin/cemscope" review "$work/case" --series "$root/sample_dicom/baseline"

say "all is well"
