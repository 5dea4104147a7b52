"""The schema of the manifest, from the page that other languages read."""

import json

from jsonschema import Draft202012Validator
from support.paths import ROOT

PATH = ROOT / "docs" / "bundle.schema.json"
SCHEMA = json.loads(PATH.read_text("utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)
