#!/bin/sh
# Keeps documentation and code one: regenerates docs/generated from the .td
# files and parses every ```mlir block of the .td files and of docs with
# rondo-opt. Fails on a difference or on a block that does not parse.
#
#   scripts/ci/docs.sh            check
#   scripts/ci/docs.sh --update   write docs/generated instead of comparing
#
# RONDO_BUILD names the build folder (default: build); LLVM_BIN the folder of
# mlir-tblgen.
set -eu

cd "$(dirname "$0")/../.."
build=${RONDO_BUILD:-build}
llvm_bin=${LLVM_BIN:-/usr/lib/llvm-22/bin}
llvm_include=$("$llvm_bin/llvm-config" --includedir)
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT

# tblgen <generator...> <file>: its output without trailing blanks.
tblgen() {
  "$llvm_bin/mlir-tblgen" -I include -I "$llvm_include" "$@" | sed 's/[[:space:]]*$//'
}

tblgen -gen-dialect-doc -dialect=rondo \
  include/rondo/Dialect/Rondo/IR/RondoOps.td >"$fresh/Rondo.md"
tblgen -gen-dialect-doc -dialect=rondo_rt \
  include/rondo/Dialect/RondoRT/IR/RondoRTOps.td >"$fresh/RondoRT.md"
{
  echo "# Passes"
  for file in $(find include/rondo -name Passes.td | sort); do
    printf '\n## %s\n\n' "$file"
    tblgen -gen-pass-doc "$file"
  done
} >"$fresh/Passes.md"

if [ "${1:-}" = --update ]; then
  mkdir -p docs/generated
  cp "$fresh"/*.md docs/generated/
elif ! diff -ru docs/generated "$fresh"; then
  echo "docs.sh: docs/generated differs from the .td files: run scripts/ci/docs.sh --update" >&2
  exit 1
fi

python3 scripts/ci/mlir_blocks.py --rondo-opt "$build/bin/rondo-opt" \
  $(find include/rondo -name '*.td' | sort) \
  $(find docs README.md -name '*.md' -not -path 'docs/generated/*' 2>/dev/null | sort)
