# A project of one day, my-project: labeled, trained, and its audit answered by a person who reads the names of files. It takes the
# place of one that the page has begun. Beside it camera/, a folder with labels, checked/, and list.csv.
rm -rf my-project camera
. "$GIVEN/camera.sh"
for class in 0 1 2; do
  mkdir -p "checked/$class"
  mv camera/monday/"$class"-0*.png "checked/$class/"
done
mv camera/tuesday/*-29.png new.png
printf 'path,label\n%s,\n' "$PWD/new.png" >list.csv
semisonic daily my-project init --classes 0,1,2 --data.size 16 --model small --steps 5 --batch.labeled 6
semisonic daily my-project add checked --labels folders --who ann
semisonic daily my-project add camera/monday
semisonic daily my-project train
semisonic daily my-project label
python - <<'PYTHON'
from pathlib import Path

from semisonic.daily.project import Project
from semisonic.daily.store import Change, State

with Project.open(Path("my-project")).store() as store:
    numbers, audit = {row.name: row.id for row in store.classes()}, store.queue("audit")
    audit = [int(image) for image in audit]
    named = [Path(path).name.partition("-")[0] for path in store.paths(audit)]
    events = dict(zip(store.current().image.tolist(), store.current().event.tolist(), strict=True))
    changes = [Change(image, State.GIVEN, numbers[name], events[image]) for image, name in zip(audit, named, strict=True)]
    store.record(changes, "ann", "page:audit")
PYTHON
