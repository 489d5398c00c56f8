# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# shellcheck shell=bash
# Runs test suites, reads their counts and sums them. To be sourced after
# common.sh by a script that sets `only` and `without`.

test_logs=$build/test-logs
total_passed=0 total_failed=0 total_skipped=0
suite_lines=() # one line of the closing table for each suite

# number_before WORD TEXT: the last number in front of the word; 0 if none.
number_before() { grep -oE "[0-9]+ $1" <<<"$2" | tail -n 1 | grep -oE '^[0-9]+' || echo 0; }

# lit_number NAME LOG: what lit's summary says of the name; 0 if nothing.
lit_number() { sed -nE "s/^ +$1 *: *([0-9]+).*/\1/p" "$2" | tail -n 1 | grep . || echo 0; }

# sum_of WORD LINES: the sum of the numbers in front of the word.
sum_of() { grep -oE "[0-9]+ $1" <<<"$2" | awk '{sum += $1} END {print sum + 0}'; }

# One reader for each kind of suite: sets passed, failed and skipped from the
# exit status and the log.
count_status() {
  case $1 in
    0) passed=1 ;;
    77) skipped=1 ;; # as automake and CTest have it
    *) failed=1 ;;
  esac
}

count_lit() {
  passed=$(($(lit_number Passed "$2") + $(lit_number 'Passed With Retry' "$2") + $(lit_number 'Expectedly Failed' "$2")))
  failed=$(($(lit_number Failed "$2") + $(lit_number Unresolved "$2") + $(lit_number 'Timed Out' "$2") +
    $(lit_number 'Unexpectedly Passed' "$2")))
  skipped=$(($(lit_number Unsupported "$2") + $(lit_number Skipped "$2")))
}

count_pytest() {
  local line
  line=$(grep -E '^(=+ )?([0-9]+ [a-z]+, )*[0-9]+ [a-z]+ in [0-9.]+s' "$2" | tail -n 1)
  passed=$(($(number_before passed "$line") + $(number_before xfailed "$line")))
  failed=$(($(grep -oE '(^|[^x])[0-9]+ failed' <<<"$line" | grep -oE '[0-9]+' || echo 0) +
    $(number_before 'errors?' "$line") + $(number_before xpassed "$line")))
  skipped=$(number_before skipped "$line")
}

count_doctest() {
  local lines
  lines=$(grep 'test cases:' "$2" || true)
  passed=$(sum_of passed "$lines") failed=$(sum_of failed "$lines") skipped=$(sum_of skipped "$lines")
}

# Our own scripts close with `N passed, N failed`, perhaps `, N skipped`.
count_counts() {
  local line
  line=$(grep -E '(^|: )[0-9]+ passed, [0-9]+ failed' "$2" | tail -n 1)
  passed=$(number_before passed "$line") failed=$(number_before failed "$line") skipped=$(number_before skipped "$line")
}

# with_limit SECONDS COMMAND...: runs a function or program in a subshell of
# its own process group; ends all of it after that time, with status 124.
with_limit() {
  local limit=$1 pid timer status=0
  shift
  set -m
  (set +m; set -euo pipefail; "$@") </dev/null &
  pid=$!
  (sleep "$limit"; echo "stopped: took longer than $limit s"; kill -TERM -- "-$pid"; sleep 5; kill -KILL -- "-$pid") \
    2>/dev/null </dev/null &
  timer=$!
  set +m
  # A job of its own hears no Ctrl-C of the terminal.
  trap 'kill -TERM -- "-$pid" "-$timer" 2>/dev/null; exit 130' INT TERM
  wait "$pid" || status=$?
  trap - INT TERM
  kill -TERM -- "-$timer" 2>/dev/null || true
  wait "$timer" 2>/dev/null || true
  return $status
}

# run_suite NAME KIND SECONDS COMMAND...: runs it unless it is deselected,
# prints one line, and the end of its log if it failed.
run_suite() {
  local name=$1 kind=$2 limit=$3 start=$SECONDS status=0 passed=0 failed=0 skipped=0 log
  shift 3
  [[ -z $only || $only == *,$name,* ]] || return 0
  [[ $without != *,$name,* ]] || return 0
  mkdir -p "$test_logs"
  log=$test_logs/$name.log
  say "$name"
  with_limit "$limit" "$@" >"$log" 2>&1 || status=$?
  "count_$kind" "$status" "$log" || true
  # A suite that broke off, or ran nothing, has failed whatever it counted.
  if { [ "$status" -ne 0 ] && [ "$status" -ne 77 ] && [ "$failed" -eq 0 ]; } ||
    [ $((passed + failed + skipped)) -eq 0 ]; then
    failed=$((failed + 1))
  fi
  record "$name" "$((SECONDS - start))"
  [ "$failed" -eq 0 ] || { echo "--- the end of $log"; tail -n 40 "$log"; echo "---"; }
}

record() {
  local line
  printf -v line '%-14s %6d passed %4d failed %4d skipped %5d s' "$1" "$passed" "$failed" "$skipped" "$2"
  suite_lines+=("$line")
  echo "    $line"
  total_passed=$((total_passed + passed))
  total_failed=$((total_failed + failed))
  total_skipped=$((total_skipped + skipped))
}

# Prints the table and the closing line; fails if anything did.
print_totals() {
  [ ${#suite_lines[@]} -gt 0 ] || die "no suite has that name; --list prints them"
  echo
  printf '%s\n' "${suite_lines[@]}"
  echo "$total_passed passed, $total_failed failed, $total_skipped skipped"
  [ "$total_failed" -eq 0 ]
}
