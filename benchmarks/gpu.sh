#!/usr/bin/env bash
# Everything that a machine with one GPU can tell, in one call, without a network:
#
#   benchmarks/gpu.sh [FOLDER] [MINUTES]
#
# GPU tests, kernels, the throughput of a step in its variants, of every algorithm, on parts of its batch and under
# ZeRO-2, DALI by itself, and the memory of ResNet-50. Results (JSON, pictures, a trace, a log) go into FOLDER (default gpu-results), named after
# the GPU. What does not fit into MINUTES (default 9) is left out, most important first. Goes on after a failure; the
# exit code is 1 if anything failed or was left out.
# PYTHON names the interpreter (default python3). Without DALI, what needs no data still runs.
set -uo pipefail
cd "$(dirname "$0")/.."
out="${1:-gpu-results}"
minutes="${2:-9}"
python="${PYTHON:-python3}"
export PYTHONUNBUFFERED=1
mkdir -p "$out"
exec > >(tee "$out/gpu.log") 2>&1

# An environment that lacks the editable install still finds the packages.
"$python" -c 'import semisonic, semisonic_kernels' 2>/dev/null || export PYTHONPATH="$PWD/engine:$PWD/kernels${PYTHONPATH:+:$PYTHONPATH}"
if ! gpu=$("$python" -c 'import re, torch; print(re.sub("[^a-z0-9]+", "-", torch.cuda.get_device_name().lower()).strip("-"))' 2>/dev/null); then
  echo "error: torch of $python sees no GPU"
  exit 2
fi
echo "GPU: $gpu"
dali=yes
if ! "$python" -c 'import nvidia.dali' 2>/dev/null; then
  dali=no
  echo "DALI is not installed: steps run on random batches, and nothing about data is measured"
fi
deepspeed=yes
if ! "$python" -c 'import deepspeed' 2>/dev/null; then
  deepspeed=no
  echo "DeepSpeed is not installed: its tests skip"
fi

deadline=$((SECONDS + minutes * 60))
failed=() skipped=()

# step NAME LEAST_SECONDS COMMAND...: runs it if at least LEAST_SECONDS are left; never for more than half of all time.
step() {
  local name="$1" least="$2" left=$((deadline - SECONDS)) most=$((minutes * 30)) begin=$SECONDS code=0
  shift 2
  if ((left < least)); then
    echo "=== $name: left out, $left s left"
    skipped+=("$name")
    return
  fi
  echo "=== $name: $*"
  timeout --kill-after=20 "$((left < most ? left : most))" "$@" || code=$?
  echo "=== $name: exit code $code, $((SECONDS - begin)) s"
  ((code == 0)) || failed+=("$name ($code)")
}

throughput() {
  local name="$1" least="$2"
  shift 2
  [[ $dali == yes ]] || set -- "$@" --no-data
  step "throughput $name" "$least" "$python" benchmarks/throughput.py "$@" --out "$out/throughput-$gpu-$name.json"
}

step kernels 20 "$python" benchmarks/kernels.py --rounds 5 --seconds 0.1 --out "$out/kernels-$gpu.json"
throughput bf16 60 --precision bf16 --rounds 5 --seconds 1.5 --plot "$out/breakdown-$gpu-bf16.png" \
  --profile "$out/trace-$gpu-bf16.json.gz"
if [[ $dali == yes ]]; then
  step data 30 "$python" benchmarks/data.py --out "$out/data-$gpu.json"
  step tests 60 "$python" -m pytest -m gpu
else
  step tests 60 "$python" -m pytest -m gpu tests/unit/test_*kernel*.py
fi
scaling=(--rounds 3 --seconds 1)
[[ $dali == yes ]] || scaling+=(--no-data)
step scaling 60 "$python" benchmarks/scaling.py "${scaling[@]}" --out "$out/scaling-$gpu.json"
[[ $deepspeed == no ]] || step scaling-zero2 60 "$python" benchmarks/scaling.py "${scaling[@]}" \
  --deepspeed launch/deepspeed/zero2.json --out "$out/scaling-$gpu-zero2.json"
throughput methods 120 --algorithm all --precision bf16 --rounds 3 --seconds 0.5
step backbones 90 "$python" benchmarks/backbones.py --model resnet50 --out "$out/backbones-$gpu-resnet50.json"
throughput bf16-eager 30 --precision bf16 --no-compile --no-conventional --rounds 3 --seconds 1
throughput fp32 60 --precision fp32 --no-conventional --rounds 3 --seconds 1
throughput bf16-deterministic 60 --precision bf16 --deterministic --no-conventional --rounds 3 --seconds 1

echo "=== ${#failed[@]} failed: ${failed[*]:-none}; ${#skipped[@]} left out: ${skipped[*]:-none}"
((${#failed[@]} + ${#skipped[@]} == 0))
