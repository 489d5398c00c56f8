# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# shellcheck shell=bash
# What the scripts share: messages, packages, the build folder. To be sourced.
#
# Read from the environment:
#   RONDO_BUILD       build folder (default: build in the checkout)
#   MLIR_DIR          folder of MLIRConfig.cmake of another LLVM than Debian's
#   CC, CXX           compilers (default: clang of the pinned version)
#   JOBS              parallel jobs (default: one per processor)
#   RONDO_CHECKPOINT  a GGUF of SmolLM2 that is here already

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=${RONDO_BUILD:-$root/build}
logs=$build/logs
jobs=${JOBS:-$(nproc)}
program=$(basename "$0")

# cmake/LLVMVersion.cmake is the one place that says which LLVM this is for.
llvm_version=$(sed -n 's/^set(RONDO_LLVM_VERSION \([0-9]*\))$/\1/p' "$root/cmake/LLVMVersion.cmake")

say() { printf '==> %s\n' "$*"; }

die() {
  printf '%s: error: %s\n' "$program" "$*" >&2
  exit 1
}

usage_error() {
  printf '%s: error: %s; see %s --help\n' "$program" "$*" "$program" >&2
  exit 2
}

# Prints the comment at the top of the calling script as its help.
print_help() { sed -n '2,/^[^#]/{/^# SPDX/d;s/^#\( \|$\)//p}' "$0"; }

# take_build_option ARG: true if ARG was -DMLIR_DIR=..., which is now in effect.
take_build_option() {
  case $1 in
    -DMLIR_DIR=*) export MLIR_DIR=${1#-DMLIR_DIR=} ;;
    *) return 1 ;;
  esac
}

# --- Packages -----------------------------------------------------------------

# What compiling, running and the Python package need, one a line. An LLVM of
# the user's own replaces Debian's.
build_packages() {
  local v=$llvm_version
  printf '%s\n' ca-certificates cmake ninja-build python3 python3-dev python3-venv \
    libcli11-dev libxxhash-dev nlohmann-json3-dev
  if [ -z "${MLIR_DIR:-}" ]; then
    printf '%s\n' "clang-$v" "lld-$v" "llvm-$v-dev" "llvm-$v-tools" "libmlir-$v-dev" "mlir-$v-tools"
  elif [ ! -x "$(llvm_bin)/clang++" ] && [ -z "${CXX:-}" ]; then
    printf '%s\n' "clang-$v" "lld-$v"
  fi
}

# What the tests need beyond that. GCC builds the runtime once more, in a check
# that it needs nothing of LLVM. PyTorch is Debian's (148 MB with what it needs):
# wheels for Linux carry CUDA.
test_packages() {
  printf '%s\n' binutils doctest-dev g++ git make python3-torch shellcheck
  [ -n "${MLIR_DIR:-}" ] || printf '%s\n' "libclang-rt-$llvm_version-dev" "clang-format-$llvm_version"
}

# Those of the named packages that are not installed.
missing_packages() {
  local package
  for package in "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] || echo "$package"
  done
}

# ensure_packages NAME...: installs what is missing, or says what and why it cannot.
ensure_packages() {
  local missing as_root=()
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    say "no Debian here; these packages, or what your system has in their place, must be installed: $*"
    return
  fi
  mapfile -t missing < <(missing_packages "$@")
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; } ||
      die "packages are missing and only root can install them: apt-get install ${missing[*]}"
    as_root=(sudo)
  fi
  say "installing ${missing[*]}"
  "${as_root[@]}" apt-get update >"$logs/apt.log" 2>&1 ||
    show_log_and_die "$logs/apt.log" "cannot update the list of packages; missing: ${missing[*]}"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends "${missing[@]}" >>"$logs/apt.log" 2>&1 ||
    show_log_and_die "$logs/apt.log" "cannot install ${missing[*]} (LLVM $llvm_version comes with Debian 12's \
security updates, section main; another build of it can be named with -DMLIR_DIR=FOLDER)"
}

# --- Running ------------------------------------------------------------------

show_log_and_die() {
  tail -n 30 "$1" >&2
  die "$2; the whole log is $1"
}

# logged NAME COMMAND...: runs it with its output in logs/NAME.log; stops with
# the log's end if it fails. On a terminal, `loud` leaves the output there.
logged() {
  local name=$1 start=$SECONDS
  shift
  say "$name"
  "$@" >"$logs/$name.log" 2>&1 </dev/null || show_log_and_die "$logs/$name.log" "$name failed"
  [ $((SECONDS - start)) -lt 5 ] || say "$name took $((SECONDS - start)) s"
}

loud() {
  local name=$1 start=$SECONDS
  if [ ! -t 1 ]; then
    logged "$@"
    return
  fi
  shift
  say "$name"
  "$@" </dev/null || die "$name failed"
  say "$name took $((SECONDS - start)) s"
}

# --- The build ----------------------------------------------------------------

mlir_dir() { echo "${MLIR_DIR:-/usr/lib/llvm-$llvm_version/lib/cmake/mlir}"; }

# Folder of FileCheck, lit, mlir-tblgen.
llvm_bin() { (cd "$(mlir_dir)/../../../bin" 2>/dev/null && pwd) || echo "/usr/lib/llvm-$llvm_version/bin"; }

# Sets CC and CXX for everything that is built, unless the user has.
choose_compilers() {
  local bin
  bin=$(llvm_bin)
  if [ -z "${CXX:-}" ] && [ -n "${MLIR_DIR:-}" ] && [ -x "$bin/clang++" ]; then
    CC=$bin/clang CXX=$bin/clang++
  fi
  export CC=${CC:-clang-$llvm_version} CXX=${CXX:-clang++-$llvm_version}
  command -v "$CXX" >/dev/null || die "the C++ compiler $CXX is missing: install clang-$llvm_version or set CC and CXX"
}

# configure OPTION...: makes or updates the build folder. An existing one keeps
# its compilers, since CMake starts over when they change.
configure() {
  local options=(-B "$build")
  [ -f "$(mlir_dir)/MLIRConfig.cmake" ] ||
    die "no MLIR $llvm_version in $(mlir_dir): install libmlir-$llvm_version-dev, or name another with -DMLIR_DIR=FOLDER"
  if [ ! -f "$build/build.ninja" ]; then
    options+=(--preset default -DCMAKE_C_COMPILER="$CC" -DCMAKE_CXX_COMPILER="$CXX")
  fi
  [ -z "${MLIR_DIR:-}" ] || options+=(-DMLIR_DIR="$MLIR_DIR")
  (cd "$root" && cmake "${options[@]}" "$@")
}

# build_targets FLAG_OR_TARGET...
build_targets() { cmake --build "$build" -j "$jobs" -- "$@"; }
