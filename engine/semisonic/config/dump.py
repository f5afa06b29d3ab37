"""The text of a config.yaml, and the schema that it states; see `migrations.py` for how older ones are read."""

from collections.abc import Mapping
from typing import Any

import yaml

SCHEMA = 5
"""Of what this version writes."""


def written(fields: Mapping[str, Any], records: Mapping[str, Any] | None = None) -> str:
    """The text of a config.yaml: nested fields in today's language, and what the run notes about itself."""
    return yaml.safe_dump({"schema": SCHEMA, **fields, **(records or {})}, sort_keys=False)
