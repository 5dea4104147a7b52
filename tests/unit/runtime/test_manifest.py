"""The manifest and its schema: they say the same, and what holds is valid."""

import dataclasses
import json
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from jsonschema import Draft202012Validator
from support.bundles import without_heads
from support.schema import SCHEMA, VALIDATOR
from support.toy_codec import Toy, read_manifest, write_manifest

from kyutai_onnx.models.resolve import DEMO
from kyutai_onnx.runtime.bundle import manifest as declared
from kyutai_onnx.runtime.bundle.bundle import Bundle
from kyutai_onnx.runtime.bundle.dataclass_json import Between, dump, parse, write_json
from kyutai_onnx.runtime.bundle.manifest import MOST_EXTENT, MOST_ROWS, Manifest, axis_extent

KINDS = [
    kind
    for kind in vars(declared).values()
    if dataclasses.is_dataclass(kind) and kind.__module__ == declared.__name__
]


def as_json(value: object) -> Any:
    return json.loads(json.dumps(value))


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_schema_describes_every_field_and_no_other(kind: type) -> None:
    described = SCHEMA["$defs"][kind.__name__]
    fields = dataclasses.fields(kind)
    assert set(described["properties"]) == {field.name for field in fields}
    assert all(len(entry["description"]) > 5 for entry in described["properties"].values())
    optional = {
        field.name: field.default
        for field in fields
        if field.default is not dataclasses.MISSING
        or field.default_factory is not dataclasses.MISSING
    }
    assert set(described.get("required", [])) == {field.name for field in fields} - set(optional)
    defaults = {
        name: entry["default"]
        for name, entry in described["properties"].items()
        if "default" in entry
    }
    plain = {
        name: value for name, value in optional.items() if isinstance(value, int | float | str)
    }
    assert defaults == plain


def bounds_of(hint: Any) -> dict[str, float]:
    """The bounds of a field's type, or of what it is a list of, as a schema writes them."""
    found = [note for note in getattr(hint, "__metadata__", ()) if isinstance(note, Between)]
    if found:
        return {"minimum": found[0].least, "maximum": found[0].most}
    inner = (bounds_of(part) for part in get_args(hint) if part is not ...)
    return next((bounds for bounds in inner if bounds), {})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_schema_has_the_same_bounds(kind: type) -> None:
    for name, hint in get_type_hints(kind, include_extras=True).items():
        described = SCHEMA["$defs"][kind.__name__]["properties"][name]
        described = described.get("items", described)
        stated = {key: described[key] for key in ("minimum", "maximum") if key in described}
        assert name == "shape" or stated == bounds_of(hint), name
    axis, batch = (SCHEMA["$defs"][name]["anyOf"][0] for name in ("axis", "batch"))
    assert (axis["maximum"], batch["maximum"]) == (MOST_EXTENT, MOST_ROWS)


@pytest.mark.parametrize(
    "toy", [Toy(), Toy(native=False, most=1, carry="replace"), Toy(batch=4)], ids=lambda t: str(t)
)
def test_manifests_that_hold_are_valid(toy: Toy, tmp_path: Path) -> None:
    folder = toy.write(tmp_path)
    assert Bundle.open(folder).manifest.graphs.keys() == {"toy"}
    VALIDATOR.validate(read_manifest(folder))


def test_the_demo_s_manifest_is_valid() -> None:
    assert Bundle.open(DEMO / "stt").manifest.family == "stt"
    VALIDATOR.validate(read_manifest(DEMO / "stt"))


def test_a_model_without_extra_heads_is_valid(tmp_path: Path) -> None:
    folder = without_heads(tmp_path / "bundle")
    manifest = Bundle.open(folder).manifest
    assert manifest.lm is not None
    assert manifest.lm.extra_heads == 0
    VALIDATOR.validate(read_manifest(folder))


def test_a_manifest_is_written_as_it_was_read(tmp_path: Path) -> None:
    content = read_manifest(DEMO / "stt")
    write_json(tmp_path / "bundle.json", parse(Manifest, content))
    assert read_manifest(tmp_path) == content
    assert as_json(dump(parse(Manifest, content))) == content


def test_unknown_fields_are_left_alone(tmp_path: Path) -> None:
    folder = Toy().write(tmp_path)
    content = read_manifest(folder)
    content["voices"] = ["a.safetensors"]
    content["graphs"]["toy"]["later"] = {"some": "thing"}
    write_manifest(folder, content)
    assert Bundle.open(folder).manifest.name == "toy"
    VALIDATOR.validate(content)


def test_an_axis_has_an_extent_for_so_many_rows_and_frames() -> None:
    axes = (3, "batch", "frames", "1920*frames")
    assert [axis_extent(axis, 4, 5) for axis in axes] == [3, 4, 5, 9600]
