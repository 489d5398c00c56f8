#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Checks the shell scripts: they parse and are executable; with shellcheck,
# where it is installed, also that they have no known trap.
set -euo pipefail
# shellcheck source=scripts/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"

cd "$root"
failed=0
fail() {
  echo "scripts: $*" >&2
  failed=1
}

# Tracked files that a shell reads, by their first line.
shell_files() { git grep -lE '^#!.*\b(ba)?sh$' -- . ':!*.md'; }

mapfile -t files < <(shell_files)
for file in "${files[@]}"; do
  bash -n "$file" || fail "$file does not parse"
  [ -x "$file" ] || fail "$file is not executable"
done
if command -v shellcheck >/dev/null; then
  # SC2046: lists of files of the repository, whose names have no blanks, are split on purpose.
  shellcheck --external-sources --severity=warning --exclude=SC2046 "${files[@]}" || fail "shellcheck has findings"
else
  echo "scripts: no shellcheck here, so only the syntax was checked"
fi
[ "$failed" -eq 0 ] && echo "scripts: ${#files[@]} scripts are well"
exit "$failed"
