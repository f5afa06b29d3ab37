"""Shows what a folder or CSV of images would be trained on: `python launch/inspect_data.py FOLDER`.

Not called inspect.py: a script's folder comes first where Python looks for modules, and every script here would
take it for the one of Python that has this name.
"""

import sys

from semisonic.cli import inspect

if __name__ == "__main__":
    sys.exit(inspect(sys.argv[1:]))
