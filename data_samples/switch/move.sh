#!/usr/bin/env bash
# First step of the switch to the second edition, in a clean clone: the pure moves, and one line of the Makefile. Then `git am -3 rest.patch`,
# kept aside before, for it moves with the folder, then maps.py. models.patch is the part of it that the runs of practice.py and the timed ones stand on.
# The notebooks that are new wait in coming/; each moves to notebooks/ once its long run is there. 16 and 17 write a line of the ledger each,
# whose places in authoring/article.py are `"30": "4: named as what lies ahead"` and the same for "31".
set -euo pipefail
test -z "$(git status --porcelain)" && test -d second_edition/notebooks
stand=$(cd notebooks && ls -- *.ipynb)
git rm -rq data_samples notebooks
git mv second_edition data_samples
git mv data_samples/notebooks notebooks
mkdir -p coming/solutions
for file in $(cd notebooks && ls -- *.ipynb); do
  if ! grep -qx "$file" <<< "$stand"; then
    git mv "notebooks/$file" coming/
    if test -f "notebooks/solutions/$file"; then git mv "notebooks/solutions/$file" coming/solutions/; fi
  fi
done
sed -i -e '/^# The second edition of the data, the bases/,/export COURSE_DATA/d' Makefile
sed -i -e '/^\.NOTPARALLEL:$/{n;N;s/^\n$//}' Makefile
git add -A
git commit -qm "The second edition of the data, bases, runs and notebooks takes the place of the first; what is new waits in coming/"
