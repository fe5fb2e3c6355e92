#!/usr/bin/env bash
# The unit file is understood by systemd, and its sandbox is tight.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The binary is not installed here: verify wants to see something executable in its place.
sed "s#/usr/bin/authrelay#/bin/true#" systemd/authrelay.service > "$work/authrelay.service"
verdict=$(systemd-analyze verify --man=no "$work/authrelay.service" 2>&1 | grep authrelay || true)
if [ -n "$verdict" ]; then
  echo "$verdict"
  exit 1
fi
systemd-analyze security --offline=yes --threshold=15 --no-pager "$work/authrelay.service" | tail -n 1
