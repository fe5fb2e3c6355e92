#!/usr/bin/env bash
# The unit files are understood by systemd, the sandbox is tight, and the files beside them are understood too.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The binary is not installed here: verify wants to see something executable in its place.
for unit in systemd/*.service systemd/*.socket; do
  sed "s#/usr/bin/authrelay#/bin/true#" "$unit" > "$work/${unit##*/}"
done
# Of the units it reads, only ours are judged.
verdict=$(cd "$work" && systemd-analyze verify --man=no ./*.service ./*.socket 2>&1 | grep authrelay || true)
if [ -n "$verdict" ]; then
  echo "$verdict"
  exit 1
fi
mkdir -p "$work/root/etc"
systemd-sysusers --root="$work/root" --dry-run - < systemd/authrelay.sysusers >/dev/null
printf 'authrelay:x:999:999::/:/bin/false\n' > "$work/root/etc/passwd"
printf 'authrelay:x:999:\n' > "$work/root/etc/group"
systemd-tmpfiles --root="$work/root" --create - < systemd/authrelay.tmpfiles
systemd-analyze security --offline=yes --threshold=15 --no-pager "$work/authrelay.service" | tail -n 1
