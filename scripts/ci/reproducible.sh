#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Compiles each checkpoint twice and demands the same bytes, also from another
# working folder, under another name and with another number of threads.
#
#   scripts/ci/reproducible.sh CHECKPOINT...
#
# Closes with `N passed, N failed`. RONDO_BUILD names the build folder.
set -euo pipefail
# shellcheck source=scripts/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"

[ $# -gt 0 ] || usage_error "no checkpoint was given"
rondoc=$(cd "$build/bin" && pwd)/rondoc
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/first" "$work/elsewhere/deeper"

# compile_twice CHECKPOINT OPTION...: whether both bundles are equal.
compile_twice() {
  local checkpoint
  checkpoint=$(realpath "$1")
  shift
  (cd "$work/first" && "$rondoc" "$checkpoint" "$@" -o model.rondo 2>/dev/null) &&
    (cd "$work/elsewhere/deeper" && TZ=Asia/Tokyo LC_ALL=C taskset -c 0 \
      "$rondoc" "$checkpoint" "$@" -o ../another.rondo 2>/dev/null) &&
    cmp "$work/first/model.rondo" "$work/elsewhere/another.rondo"
}

passed=0 failed=0
check() {
  if compile_twice "$@"; then
    passed=$((passed + 1))
    echo "ok    $*"
  else
    failed=$((failed + 1))
    echo "FAIL  $*"
  fi
  rm -f "$work"/*/*.rondo
}

for checkpoint in "$@"; do
  check "$checkpoint"
  check "$checkpoint" --exact --target=cpu:x86-64-v3 --trace-points
done
echo "reproducible: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
