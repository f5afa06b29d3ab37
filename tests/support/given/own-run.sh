# A finished run on images of one's own, my-images, in runs/mine.
. "$GIVEN/images.sh"
semisonic train --recipe digits --data folder --data.root my-images --data.size 16 --steps 20 --no-baseline \
  --batch.labeled 8 --batch.unlabeled-ratio 2 --out runs/mine
