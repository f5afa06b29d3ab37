"""The commands of `benchmarks/cases.py`: what an old version does with each, and what is right.

Field names are those of that version (`config/renamed.py` has the present ones). Each command is a line of bash:
`$D/NAME` is what `case_inputs.MAKERS[NAME]` made, `$W` the working directory, and the functions are `PRELUDE`'s.
"""

from dataclasses import dataclass

from case_checks import (
    Expected,
    average_near_raw,
    classes_are,
    exists,
    labeled_images,
    leaves_nothing,
    no_image_of,
    opposite,
    rows,
    strict_json,
)

PRELUDE = r"""
train() { "$PYTHON" "$CODE/launch/train.py" "$@"; }
predict() { "$PYTHON" "$CODE/launch/predict.py" "$@"; }
evaluate() { "$PYTHON" "$CODE/launch/evaluate.py" "$@"; }
T() { train --device cpu --steps 5 --no-baseline --data folder --model small --data.size 32 --batch.labelled 6 \
  --batch.unlabelled-ratio 2 "$@"; }
E() { train --device cpu --threads 1 --steps 5 --no-baseline --log.trackers none "$@"; }
program() { cat > "$W/program.py"; "$PYTHON" "$W/program.py"; }
nobody() { setpriv --reuid 12345 --regid 12345 --clear-groups --inh-caps +dac_read_search \
  --ambient-caps +dac_read_search env -u HOME -u USER -u LOGNAME "$@"; }
without_locks() {
  mkdir "$W/site"
  printf '%s\n' 'import fcntl' 'def flock(*_):' '    raise OSError(37, "No locks available")' 'fcntl.flock = flock' \
    > "$W/site/sitecustomize.py"
  PYTHONPATH="$W/site:$PYTHONPATH" "$@"
}
"""
"""`nobody`: a user without a name and a home, who may read everything (also a Python in another user's home) and write
what others may."""


@dataclass(frozen=True)
class Case:
    """One command."""

    name: str
    """The row, and after a dash what is special."""
    command: str
    seen: str
    """What the old version did."""
    right: str
    old: Expected | None
    """How that shows; None: the command has options that the old version lacks."""
    new: Expected
    """How what is right shows."""
    inputs: tuple[str, ...] = ("plain",)
    limit: float = 240.0
    """Seconds until it is killed, on a machine that does much else."""
    root: bool = False
    """Whether it needs root."""

    @property
    def row(self) -> str:
        return self.name.partition("-")[0]


ANIMALS = ("cat", "dog", "fox")
TRACEBACK = r"^Traceback \(most recent call last\)"
FINE = Expected((0,), silent=(TRACEBACK,))
DONE = Expected((0,))


def refused(*says: str, nothing: tuple[str, ...] = ("runs/*",)) -> Expected:
    """One line or some that say why, and nothing of a run."""
    return Expected((2,), ("^error: ", *says), (TRACEBACK,), (leaves_nothing(*nothing),))


def fine(*checks, says: tuple[str, ...] = (), silent: tuple[str, ...] = (), codes: tuple[int, ...] = (0,)) -> Expected:
    return Expected(codes, says, (TRACEBACK, *silent), checks)


def traceback(*says: str) -> Expected:
    return Expected(says=(TRACEBACK, *says))


NAMES = "two classes called like splits, exit 0"
LAYOUT = [
    Case("C1-names", "T --data.root $D/split-names --data.labels 6", NAMES,
         "training/ is trained on, validation/ tests",
         Expected((0,), ("2 classes|training",)), fine(classes_are(*ANIMALS)), ("split-names",)),
    Case("C1-case", "T --data.root $D/split-case --data.labels 6", NAMES, "Train/ is trained on, Test/ tests",
         DONE, fine(classes_are(*ANIMALS)), ("split-case",)),
    Case("C1-valid", "T --data.root $D/split-valid --data.labels 6",
         "valid/ is noted as not used; a fifth of train/ tests",
         "valid/ tests", Expected((0,), ("not used.*valid",)), fine(classes_are(*ANIMALS), silent=("not used.*valid",)),
         ("split-valid",)),
    Case("C1-same", "T --data.root $D/same-folders --data.labels 6", "two classes called like deliveries, exit 0",
         "refused: both top folders hold the same folders", DONE, refused("monday", "tuesday|cat"), ("same-folders",)),
    Case("C7-default", "T --data.root $D/split-case/Train", "refused: 40 labels for 3 classes",
         "all given labels are used", Expected((2,), ("labels",)), fine(classes_are(*ANIMALS)), ("split-case",)),
    Case("C7-many", "T --data.root $D/many-labels", "40 of 120 labels are used, which nothing says",
         "120 of 120", fine(labeled_images(40)), fine(labeled_images(120)), ("many-labels",)),
    Case("C7-some", "T --data.root $D/many-labels --data.labels 40", "80 labels are not used, which nothing says",
         "it is said", Expected((0,), silent=(r"of 120|\b80\b",)), fine(labeled_images(40), says=(r"of 120|\b80\b",)),
         ("many-labels",)),
    Case("C8-inside", "cd $D/run-inside; T --data.root . --data.labels 6 --out runs/a && "
         "T --data.root . --data.labels 6 --out runs/b",
         "what the first run wrote is a class of the second", "what the program wrote is never data",
         Expected((0, 2), ("runs",)), fine(silent=("class.*runs",)), ("run-inside",)),
    Case("C8-resume",
         "cd $D/run-inside; T --data.root . --data.labels 6 --out runs/a && T --data.root . --data.labels 6 "
         "--out runs/a --resume", "its own resume is refused", "it is resumed", Expected((2,)), fine(), ("run-inside",
         )),
]  # fmt: skip

LINKS = [
    Case("C6-class", "T --data.root $D/dangling-class --data.labels 6", "the class vanishes, exit 0",
         "an error that names the link", Expected((0,), silent=("owl",)), refused("owl"), ("dangling-class",)),
    Case("C6-unlabeled", "T --data.root $D/dangling-unlabeled --data.labels 6", "the pool vanishes, exit 0",
         "an error that names the link", DONE, refused("dangling-unlabeled/unlabelled"), ("dangling-unlabeled",)),
    Case("C6-test", "T --data.root $D/dangling-test --data.labels 6", "a fifth of the labeled images tests, exit 0",
         "an error that names the link", DONE, refused("dangling-test/test"), ("dangling-test",)),
    Case("C5-labels", "T --data.root $D/two-labels --data.labels null", "one image of two classes, exit 0",
         "an error that names both paths of each", DONE,
         refused("cat/link.png", "dog/1.png", "cat/copy.png", "fox/0.png"), ("two-labels",)),
    Case("C5-leak", "T --data.root $D/leak --data.labels null", "tested on what was trained on, exit 0",
         "an error that names both paths", DONE, refused("labelled/.*png", "test/.*png"), ("leak",)),
    Case("C9-pipe", "T --data.root $D/pipe --data.labels 6", "hangs without a word",
         "regular files only: the pipe is named",
         Expected((None,)), Expected((0, 2), ("pipe.png",), (TRACEBACK,)), ("pipe",), limit=60),
    Case("C9-endless", "ulimit -v 12000000; T --data.root $D/endless --data.labels 6", "reads without end",
         "regular files only: the link is named", Expected((None, 1, 2)),
         Expected((0, 2), ("endless.png",), (TRACEBACK, "out of memory", "MemoryError")), ("endless",), limit=60),
    Case("C9-sparse", "ulimit -v 12000000; T --data.root $D/sparse --data.labels 6",
         "40 GB are read, up to the memory's end",
         "a limit of a file's size that the user can raise", Expected((None, 1, 2)),
         refused("sparse.png", "data[._]\\w+"), ("sparse",), limit=60),
    Case("C9-csv", "T --data.csv $D/pipe-csv/pipe.csv --data.labels 6", "hangs without a word", "the pipe is named",
         Expected((None,)), refused("pipe.csv"), ("pipe-csv",), limit=60),
    Case("C9-predict", "T --data.root $D/plain --data.labels 6 --out $W/run && predict $W/run $D/predict-pipe "
         "--out out.csv", "hangs without a word", "the pipe is left out and named", Expected((None,)),
         Expected((5,), ("pipe.png",), (TRACEBACK,), (rows(1),)), ("plain", "predict-pipe"), limit=120),
    Case("C10-names", "T --data.root $D/no-image-names --data.labels 6",
         "holds no images; nothing says what was passed over",
         "counts by ending", Expected((2,), silent=("heic",)), refused("cat", r"6.*\.heic|\.heic.*6"),
         ("no-image-names",)),
    Case("C10-thumbnails", "T --data.root $D/thumbnails --data.labels 6", "trained on thumbnails",
         "folders that tools made are passed over", fine(opposite(no_image_of("SYNOPHOTO"), "no thumbnail was listed")),
         fine(no_image_of("SYNOPHOTO")), ("thumbnails",)),
    Case("C10-panorama", "T --data.root $D/panorama --data.labels 6", "200 megapixels cannot be used at all",
         "an error that names the field to raise", Expected((2,), silent=(r"data[._]max\w*",)),
         refused("wide.png", r"data[._]max\w*"), ("panorama",)),
    Case("C10-pad", "T --data.root $D/plain --data.labels 6 --data.pad 4", "data.pad has no effect, silently",
         "it is said", Expected((0,), silent=("data.pad",)), Expected((0, 2), (r"data\.pad",), (TRACEBACK,))),
    Case("C10-class", "T --data.root $D/one-image-class --data.labels 6", "an error about class 2",
         "an error about fox",
         Expected((2,), silent=("fox",)), refused("fox"), ("one-image-class",)),
]  # fmt: skip

TABLES = [
    Case("C4-none", "T --data.csv $D/none-csv/images.csv --data.labels null", "a class None",
         "one stated rule for no label",
         Expected((0,), silent=("no label",)), Expected((0, 2), ("None",), (TRACEBACK,)), ("none-csv",)),
    Case("C4-nan", "T --data.csv $D/nan-csv/images.csv --data.labels null", "a class nan",
         "one stated rule for no label",
         DONE, Expected((0, 2), ("nan",), (TRACEBACK,)), ("nan-csv",)),
    Case("C4-na", "T --data.csv $D/na-csv/images.csv --data.labels null", "a class NA", "one stated rule for no label",
         DONE, Expected((0, 2), (r"\bNA\b",), (TRACEBACK,)), ("na-csv",)),
    Case("C4-extra", "T --data.csv $D/extra-field-csv/images.csv --data.labels null",
         "the third field is dropped, exit 0",
         "an error that names the line", DONE, refused("line 2"), ("extra-field-csv",)),
    Case("C4-float", "T --data.csv $D/int-float-csv/images.csv --data.labels null", "1 and 1.0 are two classes",
         "the pair is named", Expected((0,), silent=(r"1\.0",)), Expected((0, 2), (r"\b1\.0\b",), (TRACEBACK,)),
         ("int-float-csv",)),
    Case("C4-test", "T --data.csv $D/new-in-test-csv/images.csv --data.labels null",
         "refused, as data.test_root's mistake",
         "refused: fox has no training image", Expected((2,), ("test_root", "fox")), refused("fox"),
         ("new-in-test-csv",)),
    Case("C13-csv", "T --data.csv $D/good-csv/images.csv --data.labels 6 --out $W/run && mv $D/good-csv $D/moved && "
         "evaluate $W/run --root $D/moved --out $W/evaluation", "--root does not reach data.csv",
         "all paths can be given anew",
         Expected((2,)), fine(exists("evaluation/*")), ("good-csv",)),
    Case("C14-nan", "rm -r $D/plain/test/fox; T --data.root $D/plain --data.labels 6 --out $W/run && "
         "evaluate $W/run --out $W/evaluation", "NaN in JSON", "null", fine(opposite(strict_json, "there is no NaN")),
         fine(strict_json)),
]  # fmt: skip

RUN = "T --data.root $D/plain --data.labels 6 --out $W/run && "
RUNS = [
    Case("C2-ema", "T --data.root $D/plain --data.labels 6 --steps 60",
         "the EMA network is at chance, the raw one is right",
         "both are right", fine(opposite(average_near_raw(20), "the EMA network is as good")),
         fine(average_near_raw(20))),
    Case("C2-short", "T --data.root $D/plain --data.labels 6 --steps 60 --ema.start_up none", "(no such field)",
         "a warning that the run is too short", None, fine(says=("few for the EMA",))),
    Case("C3-dollar", "T --data.root $D/dollar --data.labels 6 --out $W/run", "a traceback from the picture's text",
         "text is literal, and no picture comes before a checkpoint", traceback(),
         fine(exists("run/confusion.png", "run/checkpoints/*5")), ("dollar",)),
    Case("C11-hidden", RUN + "predict $W/run $D/predict-hidden --out out.csv; ls -a $D/predict-hidden",
         "hidden files are read", "one listing for training and prediction",
         Expected(says=("checkpoint|_a.png",), checks=(opposite(rows(1), "one row"),)), fine(rows(1)),
         ("plain", "predict-hidden")),
    Case("C11-beside", RUN + "predict $W/run $D/predict-links/far --out out.csv",
         ".semisonic is left beside the images",
         "nothing is left there", Expected(checks=(exists("D/predict-links/far/.semisonic"),)),
         fine(leaves_nothing("D/predict-links/far/.semisonic")), ("plain", "predict-links")),
    Case("C11-links", RUN + "predict $W/run $D/predict-links/images --out out.csv", "linked folders are passed over",
         "they are read", Expected((2,)), fine(rows(1)), ("plain", "predict-links")),
    Case("C12-dangling", RUN + "predict $W/run $D/predict-dangling --out out.csv", "all predictions are lost",
         "the link is left out and named, the code says so", Expected((1, 2), checks=(leaves_nothing("out.csv"),)),
         Expected((5,), ("gone.png",), (TRACEBACK,), (rows(6),)), ("plain", "predict-dangling")),
]  # fmt: skip

BOTH = "E --out $W/run & first=$!; E --out $W/run & second=$!; wait $first; a=$?; wait $second; echo codes $a $?"
SURROUNDINGS = [
    Case("S1-starts", BOTH, "both train in one folder", "one is refused",
         Expected((0,), silent=("codes (0 2|2 0)",)), fine(says=("codes (0 2|2 0)",)), ("nothing",)),
    Case("S1-resume", "E --steps 200 --out $W/run & first=$!; until [ -e $W/run/status.json ]; do sleep 0.1; done; "
         "E --steps 200 --out $W/run --resume; second=$?; wait $first; echo codes $? $second",
         "both train in one folder", "the resume is refused", Expected((0,), silent=("codes 0 2",)),
         fine(says=("codes 0 2",)), ("nothing",)),
    Case("S2-train",
         "mkdir $W/out; chmod 777 $W/out; cd $W/out; export -f train T; nobody bash -c 'T --data.root $D/plain "
         "--data.labels null --out $W/out/run'", "a traceback", "caches are optional", traceback(),
         fine(exists("out/run/checkpoints/*5")), root=True),
    Case("S2-predict", RUN + "mkdir $W/out; chmod 777 $W/out; cd $W/out; export -f predict; nobody bash -c 'predict "
         "$W/run $D/plain/test --out $W/out/out.csv'", "a traceback", "caches are optional", traceback(),
         fine(rows(6, "out/out.csv")), root=True),
    Case("S2-mnist", "mkdir $W/out; chmod 777 $W/out; cd $W/out; export -f train; nobody bash -c 'train --device cpu "
         "--data mnist --out $W/out/run'", "a traceback", "one line", traceback(), refused("HOME|data.root"),
         ("nothing",), root=True),
    Case("S3-locks", "without_locks T --data.root $D/plain --data.labels null --out $W/run", "a traceback",
         "the scan works without locks", traceback(), fine(exists("run/checkpoints/*5"))),
    Case("S4-pipe", "{ E --steps 200 --log.every 1 --out $W/run; echo code $? > $W/code; } | head -1; cat $W/code; "
         "cat $W/run/status.json", "the run ends early, its status is SystemExit: 1", "the console never ends training",
         Expected(says=("SystemExit|code [1-9]",)), fine(exists("run/checkpoints/*200"), says=("code 0",)), ("nothing",
         )),
    Case("S4-full", "E --out $W/run > /dev/full", "a traceback", "the console never ends training", traceback(),
         fine(exists("run/checkpoints/*5")), ("nothing",)),
    Case("S5-tilde", "E --out=~/run", "a folder called ~", "the home folder", Expected((0,), checks=(exists("~/run"),)),
         fine(exists("home/run/checkpoints"), leaves_nothing("~")), ("nothing",)),
    Case("S6-pmi", "PMI_SIZE=4 PMI_RANK=0 E --out $W/run", "a traceback", "one line", traceback(),
         Expected((0, 2), ("PMI",), (TRACEBACK,)), ("nothing",)),
    Case("S6-world", "WORLD_SIZE=2 E --out $W/run", "a traceback", "one line", traceback(), refused("RANK|WORLD_SIZE"),
         ("nothing",)),
    Case("S6-rank", "RANK= train --list", "a traceback at import", "one line, or none", traceback(),
         Expected((0, 2), ("fixmatch|RANK",), (TRACEBACK,)), ("nothing",)),
    Case("S7-one", "E --algorithm supervised --batch.labelled 1 --model resnet18 --model.stem 7x7 --out $W/run",
         "torch's traceback after the folder is made", "one line before the folder", traceback(), refused("batch",
         nothing=("run",)),
         ("nothing",)),
    Case("S7-size", "T --data.root $D/plain --data.labels 6 --data.size 1 --out $W/run",
         "torch's traceback after the folder is made", "one line before the folder", traceback(),
         refused(nothing=("run",))),
]  # fmt: skip

LOAD = """E --out $W/run && program <<'END'
import torch, semisonic
images = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
expected = semisonic.load("run")(images)
{setting}
END"""
TRAIN = """program <<'END'
import torch, semisonic
from torch import no_grad, inference_mode, autocast, device
def train(out):
    return semisonic.train("digits", steps=5, device="cpu", threads=1, quiet=True, baseline=False, out=out)
{setting}
    result = train("run")
print("same", train("plain").history == result.history)
END"""
LONG = "$(printf 'x%.0s' {1..300})"
GONE = "mkdir $W/gone; cd $W/gone; rmdir $W/gone; "
CALLER = "torch's traceback, or other arithmetic than elsewhere"
FOUND = [
    Case("X1-type", LOAD.format(setting="torch.set_default_dtype(torch.bfloat16)\n"
         "print('same', torch.equal(semisonic.load('run')(images), expected))"), CALLER,
         "what a caller has set stays his",
         Expected((0, 1), silent=("same True",)), fine(says=("same True",)), ("nothing",)),
    Case("X1-device", LOAD.format(setting="torch.set_default_device('meta')\nfound = semisonic.load('run')\n"
         "torch.set_default_device('cpu')\nprint('same', torch.equal(found(images), expected))"), CALLER,
         "what a caller has set stays his", traceback(), fine(says=("same True",)), ("nothing",)),
    Case("X1-random", LOAD.format(setting="before = torch.get_rng_state()\nsemisonic.load('run')\n"
         "print('same', torch.equal(before, torch.get_rng_state()))"), "loading draws of the caller's random numbers",
         "it draws none", Expected((0,), ("same False",)), fine(says=("same True",)), ("nothing",)),
    Case("X1-gradients", TRAIN.format(setting="with no_grad():"), "(no such call)", "it trains as elsewhere", None,
         fine(says=("same True",)), ("nothing",)),
    Case("X1-autocast", TRAIN.format(setting="with autocast('cpu', torch.bfloat16):"), "(no such call)",
         "it trains as elsewhere", None, fine(says=("same True",)), ("nothing",)),
    Case("X2-gone", GONE + "T --data.root $D/plain --data.labels 6 --out $W/run", "a library says that it lacks a file",
         "one line about the working directory", Expected(says=("FATAL|Traceback",)), refused("working directory")),
    Case("X3-train", f"T --data.root $D/plain --data.labels 6 --out {LONG}", "a traceback", "one line", traceback(),
         refused("name too long")),
    Case("X3-predict", f"predict {LONG} $D/plain", "a traceback", "one line", traceback(), refused("name too long")),
    Case("X4-pointer", "T --data.root $D/lfs-pointer --data.labels 6", "cannot identify an image file",
         "what it is, and how the image is got", Expected((2,), silent=("git lfs",)), refused("0.png", "git lfs pull"),
         ("lfs-pointer",)),
    Case("X4-page", "T --data.root $D/saved-page --data.labels 6", "cannot identify an image file", "what it is",
         Expected((2,), silent=("html",)), refused("0.png", "HTML"), ("saved-page",)),
    Case("X5-csv", RUN + "predict $W/run $D/not-utf8 --out out.csv", "a traceback, and all predictions are lost",
         "every row is written", traceback(), fine(rows(2)), ("plain", "not-utf8")),
    Case("X5-parquet", RUN + "predict $W/run $D/not-utf8 --out out.parquet",
         "a traceback, and all predictions are lost",
         "every row is written", traceback(), fine(exists("out.parquet")), ("plain", "not-utf8")),
]  # fmt: skip

CASES: tuple[Case, ...] = (*LAYOUT, *LINKS, *TABLES, *RUNS, *SURROUNDINGS, *FOUND)
