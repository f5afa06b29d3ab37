#!/usr/bin/env bash
# Packs, into .gpu of this checkout, what a machine with torch but without a package registry lacks to run the engine:
# DALI, DeepSpeed, pydantic and the small packages that they need. benchmarks/gpu.sh unpacks it there.
#
#   benchmarks/gpu/pack.sh SITE_PACKAGES [COMPUTE_CAPABILITY]
#
# SITE_PACKAGES: of an environment with this project's dependencies on CUDA 13. COMPUTE_CAPABILITY: of the machine's card,
# as 90 for Hopper (the default). DALI holds code for every generation of cards; that of the others is left out, and its
# symbols too, which makes 600 MiB 60. A piece is 50 MiB at most (PIECE_MIB): what is larger goes into .gpu1 as well.
# PYTHON_VERSION (default 3.12) is the machine's, PYTHON (default python3) the interpreter whose pip downloads.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
site=$(cd "${1:?usage: pack.sh SITE_PACKAGES [COMPUTE_CAPABILITY]}" && pwd)
capability=${2:-90}
python=${PYTHON:-python3}
version=${PYTHON_VERSION:-3.12}
piece=${PIECE_MIB:-50}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
small=(astunparse gast six optree nvtx makefun 'libcst~=1.8' pydantic annotated-types hjson typing-inspection
  'typing-extensions>=4.16')

prune() { # LIBRARY TARGET: one generation's code, no symbols
  "$python" "$here/prune_fatbin.py" "$1" "$work/pruned.so" "$capability"
  strip --strip-unneeded -o "$2" "$work/pruned.so"
}

pack_dali() {
  local library abi="${version/./}"
  mkdir -p "$work/site/nvidia"
  tar -C "$site/nvidia" -cf - --exclude=dali/include --exclude=__pycache__ dali | tar -C "$work/site/nvidia" -xf -
  # Its backend is compiled for each version of Python.
  find "$work/site/nvidia/dali" -name 'backend_impl.cpython-*' ! -name "*cpython-$abi-*" -delete
  for library in libdali_operators.so libdali_kernels.so libdali.so; do
    prune "$site/nvidia/dali/$library" "$work/site/nvidia/dali/$library"
  done
  # Vendored, and loaded by a name that strip would have to know about: its code alone is cut.
  for library in "$site"/nvidia/dali/.libs/libcvcuda-*; do
    "$python" "$here/prune_fatbin.py" "$library" "$work/site/nvidia/dali/.libs/$(basename "$library")" "$capability"
  done
  cp -r "$site"/nvidia_dali_cuda*.dist-info "$work/site/"
  # A package, not a folder, so that it is found before the machine's own `nvidia`, whose parts it still reaches.
  echo "__path__ = __import__('pkgutil').extend_path(__path__, __name__)" >"$work/site/nvidia/__init__.py"
}

download() { # PACKAGE...: wheels for the machine's Python, without what they depend on
  local glibc platforms=(--platform manylinux2014_x86_64 --platform manylinux1_x86_64 --platform any)
  for glibc in 17 24 27 28 31 34 35 39; do
    platforms+=(--platform "manylinux_2_${glibc}_x86_64")
  done
  "$python" -m pip download --quiet --no-deps --only-binary=:all: --implementation cp --python-version "$version" \
    "${platforms[@]}" --dest "$work/wheels" "$@"
}

pack_small() {
  local package core wheel
  for package in "${small[@]}"; do
    download "$package" || echo "not packed: $package" >&2
  done
  # pydantic works with exactly one version of its core.
  core=$(unzip -p "$work"/wheels/pydantic-2*.whl '*/METADATA' | sed -n 's/^Requires-Dist: pydantic-core==\([0-9.]*\).*/\1/p')
  download "pydantic-core==$core"
  for wheel in "$work"/wheels/*.whl; do
    unzip -qo "$wheel" -d "$work/site"
  done
}

mkdir -p "$work/site" "$work/wheels"
pack_dali
pack_small
# Pure Python: it builds its operators where it runs.
[[ ! -d $site/deepspeed ]] || cp -r "$site/deepspeed" "$site"/deepspeed-*.dist-info "$work/site/"
find "$work/site" -name __pycache__ -prune -exec rm -rf {} +

rm -rf "$root/.gpu" "$root/.gpu1"
mkdir -p "$root/.gpu/pieces"
XZ_OPT='-6 -T0' tar -C "$work/site" -cJf "$work/site.tar.xz" .
(cd "$work" && sha256sum site.tar.xz) >"$root/.gpu/SHA256"
split --bytes "${piece}M" --numeric-suffixes --suffix-length 2 "$work/site.tar.xz" "$root/.gpu/pieces/"
count=$(find "$root/.gpu/pieces" -type f | wc -l)
echo "packed $(($(stat -c %s "$work/site.tar.xz") / 2**20)) MiB in $count pieces"
if ((count == 1)); then
  echo "carry .gpu and run benchmarks/gpu.sh"
elif ((count == 2)); then
  mkdir -p "$root/.gpu1/pieces"
  mv "$root/.gpu/pieces/01" "$root/.gpu1/pieces/"
  echo "carry .gpu1 and run benchmarks/gpu.sh keep; then, before the machine forgets it, carry .gpu and run benchmarks/gpu.sh"
else
  echo "error: more than two pieces; raise PIECE_MIB" >&2
  exit 1
fi
