#!/usr/bin/env bash
# Programs of others that the export tests check our DICOM objects with: dciodvfy
# (dicom3tools), dsrdump (dcmtk), PixelMed's SR validator with a Java runtime, and
# Orthanc with DICOMweb. Installs them where that is possible without asking (Debian or
# Ubuntu, as root); else says in one line what is missing.
set -euo pipefail

packages=(dicom3tools dcmtk libpixelmed-java default-jre-headless orthanc orthanc-dicomweb openssl
          poppler-utils)

[ "$(uname -s)" = Linux ] || { echo "DICOM validator tests will be skipped on this system" >&2; exit 0; }

if ! command -v dpkg-query >/dev/null; then
  echo "DICOM validator tests will be skipped: install dicom3tools, dcmtk, PixelMed, Java and Orthanc" >&2
  exit 0
fi

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' \
    || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" = 0 ]; then
  echo "installing for the DICOM tests: ${missing[*]}" >&2
  export DEBIAN_FRONTEND=noninteractive
  # Orthanc is started by the tests on their own ports only, never as a service.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
  fi
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >/dev/null \
    || echo "could not install them: DICOM validator tests may be skipped" >&2
  case " ${missing[*]} " in
    *" orthanc "*) ! command -v systemctl >/dev/null || systemctl disable -q orthanc 2>/dev/null || true ;;
  esac
else
  echo "DICOM validator tests may be skipped; to run them: sudo apt-get install -y --no-install-recommends ${missing[*]}" >&2
fi
