"""The texts that go with a bundle: whose weights these are, and a card ready to publish."""

from dataclasses import replace

from ...runtime.bundle.manifest import Manifest, TensorSpec
from ...runtime.bundle.variants import VariantIndex

CC_BY = """\
The weights in this bundle were made by Kyutai (https://kyutai.org) and published at
https://huggingface.co/{repository} under the Creative Commons Attribution 4.0
International licence: https://creativecommons.org/licenses/by/4.0/

They were changed: converted to ONNX graphs by kyutai-onnx{precision}.
No warranties are given. Whoever shares this bundle must keep this notice.
"""

NON_COMMERCIAL = """\
The weights in this bundle were made by Kyutai (https://kyutai.org) and published at
https://huggingface.co/{repository} under the Creative Commons
{title} 4.0 International licence, on conditions that its page states:
https://creativecommons.org/licenses/{code}/4.0/

They were changed: converted to ONNX graphs by kyutai-onnx{precision}.
No warranties are given. Whoever shares this bundle must keep this notice, and must not use it
commercially.
"""

TITLES = {
    "by-nc": "Attribution-NonCommercial",
    "by-nc-sa": "Attribution-NonCommercial-ShareAlike",
}
NON_COMMERCIAL_REPOSITORIES = {
    "kyutai/moshika-rl-seamless": "by-nc",
    "kyutai/personaplex-rl-seamless": "by-nc",
    "kyutai/hibiki-zero-3b-pytorch-bf16": "by-nc-sa",
}
"""PersonaPlex is under the NVIDIA Open Model License too."""

OTHER = """\
The weights in this bundle come from {repository} and stay under the licence of that repository.
They were changed: converted to ONNX graphs by kyutai-onnx{precision}.
"""

ROUNDED = {
    "fp32": "",
    "fp16": ", with weights rounded to 16 bits",
    "int8": ", with weights rounded to 8 bits",
    "int4": ", with weights rounded to 4 bits",
}

CARD = """\
---
license: {license}
library_name: kyutai-onnx
pipeline_tag: {task}
tags:
- onnx
- streaming
- speech
{base}---

# {name} for ONNX Runtime{variant}

Made from {source} by [kyutai-onnx]. {what}

    pip install "kyutai-onnx[{extra}]"
    kyutai-onnx {command}

{content}

{notice}
[kyutai-onnx]: https://pypi.org/project/kyutai-onnx
"""

GRAPHS = """\
`bundle.json` says how any program can run the graphs: their inputs, outputs and states.

| graph | inputs | outputs | states |
|---|---|---|---|
"""

VARIANTS = """\
Each folder is a bundle: one target and precision. `variants.json` lists them, and kyutai-onnx
downloads the one that fits `--provider`, `--precision` and the installed onnxruntime.

| folder | for | precision | onnxruntime | MB |
|---|---|---|---|---|
"""

TASKS = {
    "mimi": (
        "audio-to-audio",
        "The Mimi codec: speech to codes at 12.5 frames a second and back, as a stream.",
        "codec encode speech.wav codes.npz --model {model}",
    ),
    "stt": (
        "automatic-speech-recognition",
        "Speech to text, as a stream, with word times.",
        "transcribe speech.wav --model {model}",
    ),
    "tts": (
        "text-to-speech",
        "Text to speech, as a stream, with word times; it speaks while text still comes.",
        'say "Hello there." -o speech.wav --model {model}',
    ),
    "hibiki": (
        "audio-to-audio",
        "Speech translation, as a stream: speech and text in the other language.",
        "translate speech.wav translated.wav --model {model}",
    ),
    "moshi": (
        "audio-to-audio",
        "Spoken dialogue, as a stream: it receives and speaks at once.",
        "chat question.wav answer.wav --model {model}",
    ),
}


def license_text(manifest: Manifest) -> str:
    """The notice that goes into the bundle's `LICENSE`."""
    source = manifest.source.repository
    text = CC_BY if by_kyutai(manifest) else OTHER
    code = NON_COMMERCIAL_REPOSITORIES.get(source, "")
    if code:
        text = NON_COMMERCIAL
    return text.format(
        repository=source,
        precision=ROUNDED[manifest.precision],
        code=code,
        title=TITLES.get(code),
    )


def by_kyutai(manifest: Manifest) -> bool:
    return manifest.source.repository.startswith("kyutai/")


def model_card(manifest: Manifest) -> str:
    """The `README.md` of a bundle, with the header that the Hugging Face Hub reads."""
    rows = [
        f"| `{name}` | {_names(g.inputs)} | {_names(g.outputs)} | {len(g.states)} |"
        for name, g in manifest.graphs.items()
    ]
    variant = f" ({manifest.precision}, {manifest.target})"
    notice = license_text(manifest)
    return _card(manifest, "OWNER/NAME", variant, GRAPHS + "\n".join(rows), notice)


def repository_card(manifest: Manifest, repo: str, index: VariantIndex) -> str:
    """The `README.md` of a repository with variants; `manifest` is that of one of them."""
    rows = [
        f"| `{one.folder}` | {one.target} | {one.precision} | {one.minimum_onnxruntime} or newer "
        f"| {one.bytes / 1e6:.1f} |"
        for one in index.variants
    ]
    notice = license_text(replace(manifest, precision="fp32"))
    return _card(manifest, repo, "", VARIANTS + "\n".join(rows), notice)


def _card(manifest: Manifest, repo: str, variant: str, content: str, notice: str) -> str:
    task, what, command = TASKS[manifest.family]
    source = manifest.source
    revision = f" at {source.revision}" if source.revision else ""
    return CARD.format(
        license=license_name(manifest),
        task=task,
        base=f"base_model: {source.repository}\n" if by_kyutai(manifest) else "",
        name=manifest.name,
        variant=variant,
        source=f"`{source.repository}`{revision}",
        what=what,
        extra="cpu" if manifest.target == "coreml" else manifest.target,
        command=command.format(model=f"hf://{repo}"),
        content=content,
        notice=notice,
    )


def license_name(manifest: Manifest) -> str:
    """The licence of the weights, as the Hub calls it; `other` if it is not known here."""
    if code := NON_COMMERCIAL_REPOSITORIES.get(manifest.source.repository):
        return f"cc-{code}-4.0"
    return "cc-by-4.0" if by_kyutai(manifest) else "other"


def _names(ports: tuple[TensorSpec, ...]) -> str:
    return ", ".join(f"`{port.name}`" for port in ports)
