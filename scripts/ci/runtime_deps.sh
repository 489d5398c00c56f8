#!/usr/bin/env bash
# Builds the runtime and rondo-run alone and checks what they depend on: no LLVM or
# MLIR, in headers, symbols or libraries; nothing but libc, libm, pthread and dl.
# usage: scripts/ci/runtime_deps.sh [BUILD-FOLDER]; CXX and CC choose the compiler.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
build=${1:-$(mktemp -d)}
if [ $# -eq 0 ]; then
  trap 'rm -rf "$build"' EXIT
fi
jobs=${JOBS:-2}

# Makefiles leave one .d file an object, which names every header it read. What is
# depended on does not change with optimization, which takes as long again.
cmake -S "$root/runtime" -B "$build" -G "Unix Makefiles" -DCMAKE_BUILD_TYPE=Debug \
  -DRONDO_RT_TESTS=OFF -DCMAKE_DISABLE_FIND_PACKAGE_LLVM=ON -DCMAKE_DISABLE_FIND_PACKAGE_MLIR=ON \
  -DCMAKE_CXX_COMPILER="${CXX:-g++}" -DCMAKE_C_COMPILER="${CC:-gcc}" > "$build.log" 2>&1 ||
  { cat "$build.log"; exit 1; }
make -C "$build" -j"$jobs" > "$build.log" 2>&1 || { tail -50 "$build.log"; exit 1; }
rm -f "$build.log"

program=$build/rondo-run/rondo-run
library=$build/librondo_rt.so
failed=0
fail() {
  echo "error: $*" >&2
  failed=1
}

depfiles=$(find "$build" -name '*.d' | wc -l)
[ "$depfiles" -ge 20 ] || fail "found only $depfiles dependency files, so headers were not checked"
# A compiler's own headers (clang's stand in a folder of LLVM) do not count.
headers=$(find "$build" -name '*.d' -exec cat {} + | tr ' \\' '\n\n' |
  grep -E '/(llvm|mlir|clang)(-c)?/' | grep -vE '/lib/clang/[0-9]+/include/' | sort -u || true)
[ -z "$headers" ] || fail "headers of LLVM are included: $headers"

for binary in "$program" "$library"; do
  needed=$(readelf -d "$binary" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
  [ -n "$needed" ] || fail "$binary lists no libraries, so they were not checked"
  for name in $needed; do
    case $name in
      libc.so.* | libm.so.* | libpthread.so.* | libdl.so.* | ld-linux-x86-64.so.*) ;;
      *) fail "$binary needs $name" ;;
    esac
  done
  symbols=$(nm -C "$binary" | grep -E '\b(llvm|mlir)::' | head -5 || true)
  [ -z "$symbols" ] || fail "$binary has symbols of LLVM: $symbols"
done

exported=$(nm -D --defined-only "$library" | awk '{print $3}' | grep -v '^rondo_rt_' | head -5 || true)
[ -z "$exported" ] || fail "$library exports more than rondo_rt_*: $exported"
nm -D --defined-only "$library" | grep -q ' rondo_rt_model_load$' || fail "$library does not export its interface"
"$program" --version > /dev/null || fail "$program does not run"

[ "$failed" -eq 0 ] && echo "runtime_deps: $(basename "$program") and $(basename "$library") depend on libc, libm, pthread and dl only"
exit "$failed"
