#!/usr/bin/env bash
# System libraries that a napari window needs. Installs them where that is possible
# without asking (Debian or Ubuntu, as root); else says in one line what is missing.
set -euo pipefail

packages=(xvfb xauth libegl1 libgl1 libopengl0 libdbus-1-3 libxkbcommon-x11-0 libxcb-cursor0
          libxcb-icccm4 libxcb-keysyms1 libxcb-image0 libxcb-render-util0 libxcb-xinerama0
          libxcb-randr0 libxcb-shape0 libfontconfig1 libglib2.0-0)

[ "$(uname -s)" = Linux ] || exit 0 # macOS and Windows bring their own

missing=()
if command -v dpkg-query >/dev/null; then
  for package in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' \
      || missing+=("$package")
  done
elif ! command -v xvfb-run >/dev/null; then
  echo "napari window tests will be skipped: install xvfb and the Qt/XCB libraries with your package manager" >&2
  exit 0
fi
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" = 0 ]; then
  echo "installing for the plugin tests: ${missing[*]}" >&2
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >/dev/null \
    || echo "could not install them: napari window tests may be skipped" >&2
else
  echo "napari window tests may be skipped; to run them: sudo apt-get install -y --no-install-recommends ${missing[*]}" >&2
fi
