#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Checks that every header compiles alone, without the precompiled one. Slow
# (some seconds a header), so scripts/test leaves it out.
#
#   scripts/ci/headers.sh [HEADER...]     default: all that git knows
#
# Needs a configured and built build folder (generated headers); RONDO_BUILD
# names it, JOBS the number of parallel compilations.
set -euo pipefail
# shellcheck source=scripts/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"

cd "$root"
choose_compilers
[ -f "$build/build.ninja" ] || die "$build is not configured; run scripts/test --only=build"
if [ $# -eq 0 ]; then
  mapfile -t headers < <(git ls-files 'include/*.h' 'lib/*.h' 'runtime/*.h' 'tools/*.h')
  set -- "${headers[@]}"
fi
llvm_include=$("$(llvm_bin)/llvm-config" --includedir)
errors=$(mktemp -d)
trap 'rm -rf "$errors"' EXIT

# Compiles one header as if it were a source file.
compile_alone() {
  local log=$errors/${1//\//_}
  "$CXX" -std=c++17 -fno-rtti -fsyntax-only -x c++ -Wall -Wno-pragma-once-outside-header \
    -Iinclude -I"$build/include" -Iruntime/include -Iruntime/src -Iruntime/demo -isystem "$llvm_include" \
    -include /dev/null "$1" >"$log" 2>&1 && rm "$log" || true
}
# The runtime uses exceptions and RTTI, which the flags above allow or do not need.
export -f compile_alone
export errors build llvm_include

printf '%s\0' "$@" | xargs -0 -n 1 -P "$jobs" bash -c 'compile_alone "$0"'
failed=$(find "$errors" -type f | wc -l)
find "$errors" -type f -exec head -n 6 {} +
echo "headers: $(($# - failed)) passed, $failed failed"
[ "$failed" -eq 0 ]
