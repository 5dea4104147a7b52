"""The schema of the manifest, from the page that other languages read."""

import json
from pathlib import Path

from jsonschema import Draft202012Validator

PATH = Path(__file__).parent.parent / "docs" / "bundle.schema.json"
SCHEMA = json.loads(PATH.read_text("utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)
