"""The templates that come with the package are those that tracing makes today."""

import tarfile

import pytest

pytest.importorskip("torch", reason="the export needs torch")

from kyutai_onnx.conversion.filling.shipped import ARCHIVE, read_index, shipped_template
from tests.renew_templates import MODELS, published_designs, sample_digest

MOST_BYTES = 3_000_000


def test_the_archive_holds_the_designs_of_published_models_and_is_small() -> None:
    designs = {one.key: one for model in MODELS for one in published_designs(model)}
    with tarfile.open(ARCHIVE, "r:xz") as members:
        assert read_index(members)["templates"].keys() == designs.keys()
    assert ARCHIVE.stat().st_size < MOST_BYTES


@pytest.mark.parametrize("model", MODELS)
def test_a_template_of_the_archive_is_whole(model: str) -> None:
    design = next(published_designs(model))
    template = shipped_template(design)
    assert template is not None
    assert template.graphs.keys() >= {*template.encoder, *template.decoder}
    for graph in template.graphs.values():
        ends = [tensor.offset + tensor.bytes for tensor in graph.tensors]
        starts = [tensor.offset for tensor in graph.tensors]
        assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))
        assert graph.model.startswith(b"\x08")


def test_tracing_makes_what_it_made_for_the_archive() -> None:
    """After a change on purpose: `python -m tests.renew_templates`."""
    with tarfile.open(ARCHIVE, "r:xz") as members:
        assert read_index(members)["sample"] == sample_digest()
