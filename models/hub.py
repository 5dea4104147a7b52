"""Bundles published on the Hugging Face Hub: downloaded once, into the Hub's own cache."""

import re
from pathlib import Path

from ..runtime.errors import ModelError

PREFIX = "hf://"
NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w./-]+))?$")


def download_bundle(name: str) -> Path:
    """The folder of `hf://owner/name[@revision]`; raises ModelError where it cannot be had.

    With HF_HUB_OFFLINE=1 only the cache is asked. A token is taken from HF_TOKEN or the login.
    """
    found = NAME.match(name.removeprefix(PREFIX))
    if found is None:
        raise ModelError(f"{name!r} is not of the form hf://owner/name[@revision]")
    from huggingface_hub import snapshot_download

    from .hub_errors import explained

    with explained(found["repo"], "the bundle", found["revision"]):
        return Path(snapshot_download(found["repo"], revision=found["revision"]))
