"""Turns a checkpoint into a bundle: its graphs, the files beside them, the manifest last."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from ..runtime.bundle.bundle import sha256
from ..runtime.bundle.dataclass_json import write_json
from ..runtime.bundle.manifest import (
    FILE_NAME,
    FORMAT,
    FORMAT_VERSION,
    Audio,
    Codec,
    Conditioner,
    FileEntry,
    GraphSpec,
    LanguageModel,
    Manifest,
    Precision,
    Sampling,
    Source,
    SpeechToText,
    TextToSpeech,
    Tokens,
)
from ..runtime.cache import bundles_folder
from ..runtime.errors import UsageError
from .atomic_folder import whole_or_nothing
from .card import license_text, model_card
from .checkpoint.checkpoint import Checkpoint, open_checkpoint
from .checkpoint.config import LMConfig, LutConditioner, RepositoryConfig
from .graphs.conditions import condition_lengths
from .graphs.graph import data_bytes, fill, trace, write
from .modules.linear import Style
from .plan import CONDITIONS, DEPTH, TEMPORAL, Planned, is_conditioned, plan_codec, plan_lm
from .quantization.kv_calibration import settle_cache_steps
from .quantization.recipe import QuantizationRecipe
from .targets import Precisions, Target, quantization, target

SPEECH_TEMPERATURE = 0.6

Progress = Callable[[str, int, int], None]
"""Told which graph is being written, and how many bytes of how many are."""


@dataclass(frozen=True)
class Request:
    """What `export` was asked for; None leaves a choice to the target or the model.

    `decoder` asks for Mimi's decoder, which speech-to-text does without; `recipe` is another way to
    round weights than the precision's own.
    """

    repo: str
    out: Path | None = None
    target: str = "cpu"
    precision: Precision | None = None
    codec_precision: Precision | None = None
    kv_cache: Precision | None = None
    batch: int | None = None
    codebooks: int | None = None
    revision: str | None = None
    lora: str | None = None
    extra_heads: str | None = None
    decoder: bool | None = None
    recipe: QuantizationRecipe | None = None
    force: bool = False


def export_bundle(request: Request, progress: Progress = lambda *_: None) -> Path:
    """Turns a checkpoint into a bundle and returns its folder.

    Nothing appears at the place asked for until the bundle is whole. Raises UsageError for what
    cannot be combined, ModelError for a checkpoint that cannot be had or read, KyutaiOnnxError
    where the disk does not take the bundle.
    """
    return export_checkpoint(open_request(request), request, progress)


def open_request(request: Request) -> Checkpoint:
    """The checkpoint that is asked for; raises as `open_checkpoint` does."""
    return open_checkpoint(request.repo, request.revision, request.lora, request.extra_heads)


def export_checkpoint(
    checkpoint: Checkpoint, request: Request, progress: Progress = lambda *_: None
) -> Path:
    """`export_bundle` of a checkpoint that was opened before."""
    chosen = target(request.target)
    precisions = _precisions(request, checkpoint, chosen)
    graphs, codec = _plan(request, checkpoint, chosen, precisions)
    out = request.out or _default_folder(checkpoint, chosen, precisions)
    with whole_or_nothing(out, force=request.force) as folder:
        files: dict[str, FileEntry] = {}
        specs = {graph.name: _write_graph(graph, folder, files, progress) for graph in graphs}
        style = chosen.style(precisions.model, precisions.cache, request.recipe)
        manifest = _manifest(checkpoint, chosen, precisions, style, codec, specs, files)
        _write_beside(checkpoint, manifest, folder)
        if precisions.cache == "int8":
            progress("KV cache", 0, 0)
            settle_cache_steps(folder)
    return out


def _precisions(request: Request, checkpoint: Checkpoint, chosen: Target) -> Precisions:
    """A codec alone has one precision, whichever of the two it is asked for by."""
    if checkpoint.lm is not None:
        precision = request.precision or chosen.default_precision
        cache = request.kv_cache or chosen.default_cache(precision)
        return Precisions(precision, request.codec_precision or "fp32", cache)
    if request.kv_cache is not None:
        raise UsageError("a codec alone has no --kv-cache: leave it out")
    asked = {p for p in (request.precision, request.codec_precision) if p is not None}
    if len(asked) > 1:
        raise UsageError("a codec alone has one precision: leave out --codec-precision")
    precision = asked.pop() if asked else "fp32"
    return Precisions(precision, precision)


def _plan(
    request: Request, checkpoint: Checkpoint, chosen: Target, precisions: Precisions
) -> tuple[list[Planned], Codec]:
    lm, tensors = checkpoint.config.lm, checkpoint.lm
    codebooks = request.codebooks or checkpoint.config.mimi_codebooks
    if lm is not None and codebooks < checkpoint.config.mimi_codebooks:
        least = checkpoint.config.mimi_codebooks
        raise UsageError(f"--codebooks {codebooks}: this model needs {least} of the codec's")
    speaks = lm is None or lm.dep_q > 0
    decoder = speaks if request.decoder is None else request.decoder
    graphs, codec = plan_codec(
        checkpoint, chosen, precisions.codec, codebooks, request.batch, decoder
    )
    if lm is not None and tensors is not None:
        graphs += plan_lm(
            checkpoint.config, tensors, chosen, precisions, request.batch, request.recipe
        )
    return graphs, codec


def _default_folder(checkpoint: Checkpoint, chosen: Target, precisions: Precisions) -> Path:
    name = checkpoint.repository.name
    plain = Path(name).resolve().name if Path(name).exists() else name.replace("/", "--")
    told: str = precisions.model
    if checkpoint.lm is not None and precisions.codec != "fp32":
        told += f"-codec-{precisions.codec}"
    if precisions.cache != "fp32":
        told += f"-kv-{precisions.cache}"
    return bundles_folder() / f"{plain}--{told}-{chosen.name}"


def _write_graph(
    graph: Planned, folder: Path, files: dict[str, FileEntry], progress: Progress
) -> GraphSpec:
    progress(graph.name, 0, 0)
    traced = trace(graph.build, graph.sizes)
    fill(traced, graph.tensors)
    done, total = 0, data_bytes(traced)

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(graph.name, done, total)

    written = write(traced, folder, graph.name, advance)
    files |= {file.name: FileEntry(file.sha256, file.bytes) for file in written}
    data = written[1].name if len(written) > 1 else None
    return graph.spec(traced.module, data)


def _manifest(
    checkpoint: Checkpoint,
    chosen: Target,
    precisions: Precisions,
    style: Style,
    codec: Codec,
    graphs: dict[str, GraphSpec],
    files: dict[str, FileEntry],
) -> Manifest:
    config, mimi = checkpoint.config, checkpoint.mimi_config
    lm = config.lm
    tokenizer = "tokenizer.model" if checkpoint.tokenizer is not None else None
    stt = None
    if config.family == "stt":
        stt = SpeechToText(
            audio_delay_seconds=config.stt.audio_delay_seconds,
            audio_silence_prefix_seconds=config.stt.audio_silence_prefix_seconds,
        )
    return Manifest(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        minimum_onnxruntime=chosen.oldest_onnxruntime(precisions),
        generator=f"kyutai-onnx {metadata.version('kyutai-onnx')}",
        name=_plain_name(checkpoint),
        family=config.family,  # type: ignore[arg-type]
        source=_source(checkpoint),
        target=chosen.name,
        flavour=chosen.flavour,
        precision=precisions.model,
        quantization=None if lm is None else quantization(style),
        audio=Audio(mimi.sample_rate, mimi.channels, mimi.frame_size, mimi.frame_rate),
        codec=codec,
        lm=None if lm is None else _language_model(config, lm, graphs),
        sampling=None if lm is None else _sampling(checkpoint),
        stt=stt,
        tts=_text_to_speech(config) if config.family == "tts" else None,
        tokenizer=tokenizer,
        graphs=graphs,
        files=files,
    )


def _plain_name(checkpoint: Checkpoint) -> str:
    """A repository by its name on the Hub, a folder by its own."""
    name = checkpoint.repository.name
    return Path(name).resolve().name if Path(name).exists() else name


def _source(checkpoint: Checkpoint) -> Source:
    used = checkpoint.repository.files_used
    return Source(
        repository=_plain_name(checkpoint),
        revision=checkpoint.repository.revision,
        files={name: FileEntry(digest, size) for name, (digest, size) in sorted(used.items())},
        model_id=dict(checkpoint.config.model_id) or None,
    )


def _text_to_speech(config: RepositoryConfig) -> TextToSpeech:
    """Voices for cross-attention are files made for one model (moshi models/tts.py)."""
    tts, model = config.tts, config.model_id
    has_voices = config.lm is not None and "speaker_wavs" in config.lm.conditioners
    return TextToSpeech(
        audio_delay_seconds=tts.audio_delay,
        second_stream_ahead=tts.second_stream_ahead,
        max_speakers=tts.max_speakers,
        multistream=tts.multistream,
        voice_suffix=f".{model.get('sig')}@{model.get('epoch')}.safetensors" if has_voices else "",
    )


def _conditioners(repository: RepositoryConfig, config: LMConfig) -> dict[str, Conditioner]:
    lengths = condition_lengths(config, repository.tts.max_speakers)
    return {
        name: Conditioner("lut", values=given.possible_values, bins=given.n_bins)
        if isinstance(given, LutConditioner)
        else Conditioner("tensor", length=lengths[name], dim=given.dim)
        for name, given in config.conditioners.items()
        if is_conditioned(config)
    }


def _language_model(
    repository: RepositoryConfig, config: LMConfig, graphs: dict[str, GraphSpec]
) -> LanguageModel:
    assert config.transformer.context is not None
    return LanguageModel(
        temporal=TEMPORAL,
        depth=DEPTH if DEPTH in graphs else None,
        conditions=CONDITIONS if CONDITIONS in graphs else None,
        conditioners=_conditioners(repository, config),
        second_text_stream=config.demux_second_text_stream,
        n_q=config.n_q,
        dep_q=config.dep_q,
        card=config.card,
        text_card=config.text_card,
        context=config.transformer.context,
        delays=config.delays,
        tokens=Tokens(
            text_initial=config.text_card,
            audio_initial=config.card,
            text_padding=config.existing_text_padding_id,
            text_end_of_padding=config.existing_text_end_padding_id,
        ),
        extra_heads=config.extra_heads_num_heads,
        extra_head_classes=config.extra_heads_dim if config.extra_heads_num_heads else 0,
    )


def _sampling(checkpoint: Checkpoint) -> Sampling:
    """What the repository sets of moshi LMGen's arguments, and its defaults for the rest; text to
    speech has one temperature (moshi models/tts.py)."""
    given, default = checkpoint.config.lm_gen, Sampling()
    if checkpoint.family == "tts":
        default = Sampling(temp=SPEECH_TEMPERATURE)
        given = {**given, "temp_text": given.get("temp", default.temp)}
    return Sampling(
        temp=float(str(given.get("temp", default.temp))),
        temp_text=float(str(given.get("temp_text", default.temp_text))),
        top_k=int(str(given.get("top_k", default.top_k))),
        top_k_text=int(str(given.get("top_k_text", default.top_k_text))),
    )


def _write_beside(checkpoint: Checkpoint, manifest: Manifest, folder: Path) -> None:
    """The tokenizer, the notice, the card and, last of all, the manifest."""
    if checkpoint.tokenizer is not None and manifest.tokenizer is not None:
        shutil.copyfile(checkpoint.tokenizer, folder / manifest.tokenizer)
    (folder / "LICENSE").write_text(license_text(manifest), encoding="utf-8")
    (folder / "README.md").write_text(model_card(manifest), encoding="utf-8")
    for name in filter(None, (manifest.tokenizer, "LICENSE", "README.md")):
        file = folder / name
        manifest.files[name] = FileEntry(sha256(file), file.stat().st_size)
    write_json(folder / FILE_NAME, manifest)
