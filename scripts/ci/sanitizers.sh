#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Runs tests in builds that watch memory, undefined behaviour and threads.
#
#   scripts/ci/sanitizers.sh [LANE...]      default: all four
#
#   runtime    the runtime's tests, AddressSanitizer and UBSan
#   threads    the runtime's tests that start threads, ThreadSanitizer
#   compiler   lit tests of importers, bundle, driver and rondo-run, with
#              damaged files among them: AddressSanitizer and UBSan
#   bad-input  every kind of bad input, AddressSanitizer and UBSan
#
# Builds in build/sanitize and build/tsan (RONDO_BUILD names another folder
# than build); RONDO_PYTHON is the Python that tests call.
set -euo pipefail
# shellcheck source=scripts/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"

# Loading and damaged bundles: one thread, and four fifths of the time.
one_thread_files='*/Bundle*Test.cpp'
# What the compiler lane runs; the other lit tests have no files to be damaged.
lit_folders=(Import Bundle Driver Runtime Interpreter)
address_tools=(rondo-import rondo-import-fuzz rondo-bundle-test rondo-demo-bundle rondoc rondo-run rondo-opt
  rondo-interp)

# A finding is an abort, which `not` does not take for a refusal. Leaks are
# left to the runtime's lane: LLVM keeps what it allocates until the end. LLVM's
# allocators poison in our code what its libraries, built without, hand out.
export ASAN_OPTIONS=abort_on_error=1:detect_leaks=0:allocator_may_return_null=1:allow_user_poisoning=0
export UBSAN_OPTIONS=abort_on_error=1:print_stacktrace=1
export TSAN_OPTIONS=abort_on_error=1:halt_on_error=1
ASAN_SYMBOLIZER_PATH=$(llvm_bin)/llvm-symbolizer
export ASAN_SYMBOLIZER_PATH

build_address() {
  local options=(-DPython3_EXECUTABLE="${RONDO_PYTHON:-$(command -v python3)}")
  [ -f "$build/sanitize/build.ninja" ] ||
    options+=(--preset sanitize -DCMAKE_C_COMPILER="$CC" -DCMAKE_CXX_COMPILER="$CXX" -DMLIR_DIR="$(mlir_dir)")
  (cd "$root" && cmake -B "$build/sanitize" "${options[@]}") &&
    cmake --build "$build/sanitize" -j "$jobs" -- "$@"
}

lane_runtime() {
  build_address rondo-rt-tests &&
    ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=1 "$(test_program "$build/sanitize")"
}

lane_threads() {
  cmake -S "$root/runtime" -B "$build/tsan" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DRONDO_RT_SANITIZE=thread \
    -DCMAKE_C_COMPILER="$CC" -DCMAKE_CXX_COMPILER="$CXX" &&
    cmake --build "$build/tsan" -j "$jobs" -- rondo-rt-tests &&
    "$(test_program "$build/tsan")" --source-file-exclude="$one_thread_files"
}

lane_compiler() {
  local folder folders=()
  build_address "${address_tools[@]}" || return
  for folder in "${lit_folders[@]}"; do
    [ ! -d "$root/test/$folder" ] || folders+=("$build/sanitize/test/$folder")
  done
  "$(llvm_bin)/lit" -sv -j "$jobs" "${folders[@]}"
}

lane_bad_input() {
  build_address rondoc rondo-run &&
    RONDO_BIN=$build/sanitize/bin "${RONDO_PYTHON:-python3}" -m pytest -q -n "$jobs" -p no:cacheprovider \
      "$root/test/Integration/test_bad_input.py"
}

# The runtime's tests lie in bin/ of the whole tree and elsewhere without it.
test_program() { find "$1" -name rondo-rt-tests -type f -perm -u+x -print -quit; }

choose_compilers
[ $# -gt 0 ] || set -- runtime threads compiler bad-input
status=0
for lane in "$@"; do
  case $lane in
    runtime | threads | compiler | bad-input) "lane_${lane//-/_}" || status=1 ;;
    *) usage_error "there is no lane '$lane'" ;;
  esac
done
exit $status
