#!/usr/bin/env bash
# Runs a command under a virtual screen where there is no real one.
# CEMSCOPE_NO_DISPLAY=1 tells the tests that there is none at all.
set -eu
if [ "$(uname -s)" != Linux ] || [ -n "${DISPLAY:-}" ]; then
  exec "$@"
elif command -v xvfb-run >/dev/null; then
  exec xvfb-run -a -s "-screen 0 1400x900x24" "$@"
else
  CEMSCOPE_NO_DISPLAY=1 exec "$@"
fi
