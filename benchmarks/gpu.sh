#!/usr/bin/env bash
# Everything that a machine with one GPU can tell, in one call, without a network: see benchmarks/gpu/first_run.py.
#
#   benchmarks/gpu.sh [GROUP ...] [OPTIONS]     runs the parts; --help explains them, --list prints them
#   benchmarks/gpu.sh keep                      keeps the packed folder that was carried here, for the call above
#
# PYTHON names the interpreter (default python3). Where benchmarks/gpu/pack.sh has packed what the machine lacks, it is
# unpacked first, into PACKED (default /tmp/semisonic-packed), which must outlive the calls of `keep`.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"
packed="${PACKED:-/tmp/semisonic-packed}"

keep() {
  mkdir -p "$packed/pieces"
  local piece
  for piece in .gpu/pieces/* .gpu1/pieces/*; do
    [[ ! -f $piece ]] || cp "$piece" "$packed/pieces/"
  done
}

if [[ ${1:-} == keep ]]; then
  keep
  exit
fi
if [[ -f .gpu/SHA256 && ! -f $packed/done ]]; then
  keep
  cat "$packed"/pieces/* >"$packed/site.tar.xz"
  if ! (cd "$packed" && sha256sum --check --status -) <.gpu/SHA256; then
    echo "error: pieces of the packed folder are missing or damaged; carry the other ones first, with benchmarks/gpu.sh keep" >&2
    exit 2
  fi
  # Not by tar, which needs a program for xz.
  "$python" -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2], **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))' \
    "$packed/site.tar.xz" "$packed/site"
  touch "$packed/done"
fi
[[ ! -d $packed/site ]] || export PYTHONPATH="$packed/site${PYTHONPATH:+:$PYTHONPATH}"
exec "$python" benchmarks/gpu/first_run.py "$@"
