#!/usr/bin/env bash
# NumPy 2.3.5 and 2.4.6, x86-64 with AVX2, Python 3.11.
# NPY_DISABLE_CPU_FEATURES="AVX2 FMA3" turns NumPy's AVX2 loops off in 2.3. In 2.4 the features were put into groups with
# new names (X86_V3 and so on). The old names then turn nothing off, the exit status is 0, and the only word about it is an
# ImportWarning, a class that Python does not show by default: a script that measured "without AVX2" goes on with it.
# Seen: 2.3.5 off, nothing said; 2.4.6 on, nothing said, and with -W default the warning.
set -euo pipefail
grep -qw avx2 /proc/cpuinfo || { echo "This needs a processor with AVX2."; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
says() { # version, warnings: what NumPy uses although the variable says not to, and what it says about that
  NPY_DISABLE_CPU_FEATURES="AVX2 FMA3" "$work/$1/bin/python" -W "$2" - 2>"$work/said" <<'PY'
import contextlib, io, re
import numpy as np
out = io.StringIO()
with contextlib.redirect_stdout(out):
    np.show_runtime()
found = re.search(r"'found': \[(.*?)\]", out.getvalue(), re.DOTALL)[1]
print("on" if re.search(r"'AVX2'|'X86_V3'", found) else "off")
PY
}
for version in 2.3.5 2.4.6; do
  python3 -m venv "$work/$version"
  "$work/$version/bin/pip" install --quiet --disable-pip-version-check "numpy==$version"
done
still() { echo "No longer so: $1"; exit 1; }
test "$(says 2.3.5 ignore)" = off || still "NumPy 2.3.5 turns AVX2 off by its old name."
test "$(says 2.4.6 ignore)" = on || still "NumPy 2.4.6 ignores the old name."
NPY_DISABLE_CPU_FEATURES="AVX2 FMA3" "$work/2.4.6/bin/python" -c "import numpy" 2>"$work/said"
test ! -s "$work/said" || still "NumPy 2.4.6 says nothing about it."
NPY_DISABLE_CPU_FEATURES="AVX2 FMA3" "$work/2.4.6/bin/python" -W default -c "import numpy" 2>"$work/said"
grep -q "ImportWarning" "$work/said" || still "NumPy 2.4.6 has a hidden warning about it."
echo "As found: 2.3.5 turns AVX2 off, 2.4.6 keeps it on and says so only in a hidden warning."
