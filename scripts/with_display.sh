#!/usr/bin/env bash
# Runs a command, under a virtual screen where there is no real one.
# Without either, the tests that open a window are skipped and say so.
set -eu
if [ "$(uname -s)" = Linux ] && [ -z "${DISPLAY:-}" ] && command -v xvfb-run >/dev/null; then
  exec xvfb-run -a -s "-screen 0 1400x900x24" "$@"
fi
exec "$@"
