# A finished run on the digits, in runs/first, unless an earlier page has made it.
[ -e runs/first ] \
  || semisonic train --steps 20 --no-baseline --batch.labeled 8 --batch.unlabeled-ratio 2 --out runs/first
