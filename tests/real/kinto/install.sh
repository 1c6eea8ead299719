#!/usr/bin/env bash
# install.sh PREFIX
# Installs Kinto (Apache-2.0) from PyPI into a virtual environment of its own, once; needs python3 with venv.
# Several may call it at a time: the first installs, the others wait for it.
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: install.sh PREFIX" >&2; exit 2; }
requirements=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/requirements.txt
mkdir -p "$1"
prefix=$(cd "$1" && pwd)

exec 9>"$prefix/lock"
flock 9
cmp -s "$requirements" "$prefix/installed" && exit 0
# A half-made environment of an interrupted install, or one of another version, is of no use.
rm -rf "$prefix/venv" "$prefix/installed"
python3 -m venv "$prefix/venv"
"$prefix/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$requirements"
cp "$requirements" "$prefix/installed"
