#!/bin/sh
# Runs the C tests: `sh test/check.sh SIMULATOR CUDA PROGRAM...`, from native/: two libraries and the test programs. `make check` builds all of them and calls this.
#
# Prints one line for each test and, last, `N passed, M failed` over all of them.
set -u

libraries="$1 $2"
shift 2
passed_count=0
failed_count=0
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# report NAME STATUS: counts one test that is a command.
report() {
  if [ "$2" -eq 0 ]; then
    echo "ok   $1"
    passed_count=$((passed_count + 1))
  else
    echo "FAIL $1"
    failed_count=$((failed_count + 1))
  fi
}

# run_program PROGRAM: runs one test program and adds its total. A program in which a sanitizer speaks up fails as well.
run_program() {
  echo "$1"
  ASAN_OPTIONS=detect_leaks=1 "$1" >"$scratch/output" 2>&1
  status=$?
  sed 's/^/  /' "$scratch/output"
  total=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$scratch/output" | tail -n 1)
  program_passed=${total%% *}
  program_failed=${total#* passed, }
  program_failed=${program_failed% failed}
  passed_count=$((passed_count + ${program_passed:-0}))
  failed_count=$((failed_count + ${program_failed:-0}))
  if [ "$status" -ne 0 ] && [ "${program_failed:-0}" -eq 0 ]; then
    report "$1 exits with status $status" 1
  fi
}

# The functions that the header declares, and the symbols that the library exports.
grep -oE '^LH_EXPORT [a-z0-9_]+ lh_[a-z_]+\(' include/leasehold_host_api.h | grep -oE 'lh_[a-z_]+\($' | tr -d '(' |
  sort >"$scratch/declared"
test "$(wc -l <"$scratch/declared")" -ge 23
report "exports: the header declares at least the 23 functions of version 1" $?
for library in $libraries; do
  nm -D --defined-only "$library" | awk '{ print $3 }' | sort >"$scratch/exported"
  diff "$scratch/declared" "$scratch/exported"
  report "exports: ${library##*/} exports what the header declares and nothing else" $?
done

# Both headers stand on their own.
for header in leasehold_host_api.h leasehold_kernel.h; do
  echo "#include \"$header\"" >"$scratch/header.c"
  cp "$scratch/header.c" "$scratch/header.cpp"
  "$CC" -std=c11 -Wall -Wextra -Wpedantic -Werror -Iinclude -fsyntax-only "$scratch/header.c"
  report "headers: $header is C11" $?
  if command -v "$CXX" >/dev/null; then
    "$CXX" -std=c++11 -Wall -Wextra -Wpedantic -Werror -Iinclude -fsyntax-only "$scratch/header.cpp"
    report "headers: $header is C++11" $?
  fi
done

for program in "$@"; do
  run_program "$program"
done

echo "$passed_count passed, $failed_count failed"
test "$failed_count" -eq 0
