#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Checks the layout of C, C++ and Python files.
#
#   scripts/ci/format.sh          check; status 77 without clang-format
#   scripts/ci/format.sh --fix    rewrite the files
#
# CLANG_FORMAT names the program (default: that of the pinned LLVM, since
# versions differ); RONDO_PYTHON a Python that has ruff (default: that of
# scripts/test).
set -euo pipefail
# shellcheck source=scripts/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"

cd "$root"
clang_format=${CLANG_FORMAT:-clang-format-$llvm_version}
python=${RONDO_PYTHON:-$build/venv/bin/python}
c_mode=(--dry-run -Werror) python_mode=(--check)
if [ "${1:-}" = --fix ]; then
  c_mode=(-i) python_mode=()
fi

# Folders whose Python follows the package's rules.
python_folders=(python test/Python test/Torch scripts)

if ! command -v "$clang_format" >/dev/null; then
  echo "format: $clang_format is missing; install clang-format-$llvm_version or set CLANG_FORMAT" >&2
  exit 77
fi
status=0
git ls-files -z '*.c' '*.cpp' '*.h' | xargs -0 -r -n 50 "$clang_format" "${c_mode[@]}" || status=1
if "$python" -m ruff --version >/dev/null 2>&1; then
  "$python" -m ruff format --config python/pyproject.toml "${python_mode[@]}" "${python_folders[@]}" || status=1
  "$python" -m ruff check --config python/pyproject.toml "${python_folders[@]}" || status=1
else
  echo "format: no ruff in $python; install requirements-test.txt" >&2
  status=1
fi
exit $status
