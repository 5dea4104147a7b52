"""The manifest of a bundle, put together from what was read, planned and written."""

from importlib import metadata
from pathlib import Path

from ...runtime.bundle.manifest import (
    FORMAT,
    FORMAT_VERSION,
    Audio,
    Codec,
    Conditioner,
    FileEntry,
    GraphSpec,
    LanguageModel,
    Manifest,
    Sampling,
    Source,
    SpeechToTextSettings,
    TextToSpeechSettings,
    Tokens,
)
from ..checkpoint.checkpoint import Checkpoint
from ..checkpoint.config import LMConfig, LutConditioner, RepositoryConfig
from ..checkpoint.personaplex import PROMPT
from .targets import target
from .template import Template

SPEECH_TEMPERATURE = 0.6

TEMPORAL = "temporal_transformer"
DEPTH = "depth_transformer"
CONDITIONS = "conditions"


def make_manifest(
    checkpoint: Checkpoint, template: Template, files: dict[str, FileEntry]
) -> Manifest:
    """Make the manifest of a bundle; `files` is what was written so far."""
    config, mimi = checkpoint.config, checkpoint.mimi_config
    lm, made_for, precisions = config.lm, target(template.target), template.precisions
    graphs = {name: graph.spec for name, graph in template.graphs.items()}
    return Manifest(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        minimum_onnxruntime=made_for.oldest_onnxruntime(precisions),
        generator=f"kyutai-onnx {metadata.version('kyutai-onnx')}",
        name=_plain_name(checkpoint),
        family=config.family,  # type: ignore[arg-type]
        source=_source(checkpoint),
        target=made_for.name,
        flavour=made_for.flavour,
        precision=precisions.model,
        quantization=template.quantization,
        audio=Audio(mimi.sample_rate, mimi.channels, mimi.frame_size, mimi.frame_rate),
        codec=Codec(
            codebooks=template.codebooks,
            cardinality=mimi.quantizer.bins,
            encoder=template.encoder,
            decoder=template.decoder,
            precision=precisions.codec,
        ),
        lm=None if lm is None else _language_model(config, lm, graphs),
        sampling=None if lm is None else _sampling(checkpoint),
        stt=_speech_to_text(config) if config.family == "stt" else None,
        tts=_text_to_speech(config) if config.family == "tts" else None,
        prompt=PROMPT if config.takes_prompt else None,
        tokenizer="tokenizer.model" if checkpoint.tokenizer is not None else None,
        graphs=graphs,
        files=files,
    )


def _plain_name(checkpoint: Checkpoint) -> str:
    """A repository by its name on the Hub, a folder by its own."""
    name = checkpoint.repository.name
    return Path(name).resolve().name if Path(name).exists() else name


def _source(checkpoint: Checkpoint) -> Source:
    return Source(
        repository=_plain_name(checkpoint),
        revision=checkpoint.repository.revision,
        files=dict(sorted(checkpoint.repository.files_used.items())),
        model_id=dict(checkpoint.config.model_id) or None,
    )


def _speech_to_text(config: RepositoryConfig) -> SpeechToTextSettings:
    return SpeechToTextSettings(
        audio_delay_seconds=config.stt.audio_delay_seconds,
        audio_silence_prefix_seconds=config.stt.audio_silence_prefix_seconds,
    )


def _text_to_speech(config: RepositoryConfig) -> TextToSpeechSettings:
    """Voices for cross-attention are files made for one model (moshi models/tts.py)."""
    tts, model = config.tts, config.model_id
    has_voices = config.lm is not None and "speaker_wavs" in config.lm.conditioners
    return TextToSpeechSettings(
        audio_delay_seconds=tts.audio_delay,
        second_stream_ahead=tts.second_stream_ahead,
        max_speakers=tts.max_speakers,
        multistream=tts.multistream,
        voice_suffix=f".{model.get('sig')}@{model.get('epoch')}.safetensors" if has_voices else "",
    )


def _conditioners(repository: RepositoryConfig, config: LMConfig) -> dict[str, Conditioner]:
    lengths = config.condition_lengths(repository.tts.max_speakers)
    return {
        name: Conditioner("lut", values=given.possible_values, bins=given.n_bins)
        if isinstance(given, LutConditioner)
        else Conditioner("tensor", length=lengths[name], dim=given.dim)
        for name, given in config.conditioners.items()
        if config.is_conditioned
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
    speech has one temperature (moshi models/tts.py). `top_k` is at most the number of codes."""
    given, default, lm = checkpoint.config.lm_gen, Sampling(), checkpoint.config.lm
    assert lm is not None
    if checkpoint.family == "tts":
        default = Sampling(temp=SPEECH_TEMPERATURE)
        given = {**given, "temp_text": given.get("temp", default.temp)}
    return Sampling(
        temp=float(str(given.get("temp", default.temp))),
        temp_text=float(str(given.get("temp_text", default.temp_text))),
        top_k=min(int(str(given.get("top_k", default.top_k))), lm.card),
        top_k_text=int(str(given.get("top_k_text", default.top_k_text))),
    )
