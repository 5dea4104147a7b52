"""The templates that come with the package, for Kyutai's published models: one archive.

Its first member is an index: for each design its graphs, by the names of the members that hold
them. Designs share graphs, above all those of the codec.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...runtime.bundle.dataclass_json import parse
from .template import Design, Template, dump_graph, dump_template, parse_graph

ARCHIVE = Path(__file__).parent / "templates.tar.xz"
REPOSITORIES = (
    "kyutai/stt-1b-en_fr",
    "kyutai/stt-2.6b-en",
    "kyutai/tts-1.6b-en_fr",
    "kyutai/tts-0.75b-en-public",
    "kyutai/hibiki-1b-pytorch-bf16",
    "kyutai/hibiki-1b-rs-bf16",
    "kyutai/hibiki-2b-pytorch-bf16",
    "kyutai/hibiki-zero-3b-pytorch-bf16",
    "kyutai/moshiko-pytorch-bf16",
    "kyutai/moshika-pytorch-bf16",
    "kyutai/mimi",
)
"""The repositories that the templates are for."""
INDEX = "index.json"
GRAPH, MODEL = ".json", ".onnx"


def shipped_template(design: Design, archive: Path = ARCHIVE) -> Template | None:
    """The template of a design, None if none comes with the package or its archive was left out."""
    if not archive.exists():
        return None
    with tarfile.open(archive, "r:xz") as members:
        found = read_index(members)["templates"].get(design.key)
        if found is None:
            return None
        wanted = {name + end for name in found["graphs"].values() for end in (GRAPH, MODEL)}
        contents: dict[str, bytes] = {}
        while contents.keys() < wanted and (member := members.next()) is not None:
            if member.name in wanted:
                contents[member.name] = _read(members, member)
    graphs = {
        name: parse_graph(json.loads(contents[member + GRAPH]), contents[member + MODEL])
        for name, member in found["graphs"].items()
    }
    return replace(parse(Template, found | {"graphs": {}}), graphs=graphs)


def read_index(members: tarfile.TarFile) -> dict[str, Any]:
    """The index of an archive: `templates` by the keys of their designs, and what the tests hold
    against the code that traces: `made_by` by model, and `sample`."""
    first = members.next()
    assert first is not None
    index: dict[str, Any] = json.loads(_read(members, first))
    return index


def _read(members: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = members.extractfile(member)
    assert file is not None
    return file.read()


def write_archive(
    path: Path, templates: Mapping[str, Template], made_by: Mapping[str, str], sample: str
) -> None:
    """Write templates by the keys of their designs, compressed together.

    `made_by` are digests of the code that traced them, by model, and `sample` is the digest of
    templates that the tests trace again if that code changes.
    """
    contents: dict[str, bytes] = {}
    index: dict[str, Any] = {}
    for key, template in sorted(templates.items()):
        graphs = {}
        for name, graph in template.graphs.items():
            described = json.dumps(dump_graph(graph), separators=(",", ":")).encode()
            digest = hashlib.sha256(described + graph.model).hexdigest()[:16]
            graphs[name] = f"{name}-{digest}"
            contents[graphs[name] + GRAPH] = described
            contents[graphs[name] + MODEL] = graph.model
        index[key] = dump_template(template) | {"graphs": graphs}
    whole = {"made_by": dict(sorted(made_by.items())), "sample": sample, "templates": index}
    first = json.dumps(whole, indent=1).encode()
    with tarfile.open(path, "w:xz", preset=9) as archive:
        for name, content in [(INDEX, first), *sorted(contents.items(), key=_alike)]:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def _alike(entry: tuple[str, bytes]) -> tuple[str, str]:
    """Files that resemble each other lie side by side."""
    name, _, ending = entry[0].rpartition(".")
    return ending, name


def digest_of(templates: Iterable[Template]) -> str:
    """A hash of all that templates hold."""
    digest = hashlib.sha256()
    for template in templates:
        described = {name: dump_graph(graph) for name, graph in template.graphs.items()}
        digest.update(json.dumps([dump_template(template), described], sort_keys=True).encode())
        for graph in template.graphs.values():
            digest.update(graph.model)
    return digest.hexdigest()
