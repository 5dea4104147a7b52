"""A repository's `config.json`: which files hold what, and how the model is meant to run.

The rules are those of moshi models/loaders.py CheckpointInfo.from_hf_repo.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .keys import Keys, located, require, require_one_of
from .lm import LMConfig
from .mimi import MimiConfig
from .transformers_format import FORMATS, read_mimi, read_speech_to_text

MODEL_TYPES = ("moshi", "hibiki", "stt", "tts")
FAMILIES = ("mimi", *MODEL_TYPES)
PERSONAPLEX = "personaplex"
"""What the configuration of NVIDIA's fine-tune of Moshi may call itself."""
LAYERS = "num_layers"
"""A key that no configuration of a language model lacks."""

MOSHI_NAME = "model.safetensors"
MIMI_NAME = "tokenizer-e351c8d8-checkpoint125.safetensors"
TOKENIZER_NAME = "tokenizer_spm_32k_3.model"


@dataclass(frozen=True, kw_only=True)
class SttConfig:
    """Silence that speech-to-text wants around its audio, in seconds.

    The defaults are those of moshi run_inference.py for a file without `stt_config`.
    """

    audio_delay_seconds: float = 0.0
    audio_silence_prefix_seconds: float = 0.0

    @staticmethod
    def read(keys: Keys) -> "SttConfig":
        return SttConfig(
            audio_delay_seconds=keys.number("audio_delay_seconds", 0.0),
            audio_silence_prefix_seconds=keys.number("audio_silence_prefix_seconds", 0.0),
        )


@dataclass(frozen=True, kw_only=True)
class TtsConfig:
    """Text-to-speech settings: `audio_delay` in seconds, `second_stream_ahead` in words."""

    audio_delay: float = 0.0
    second_stream_ahead: int = 0
    multistream: bool = False
    max_speakers: int = 5

    @staticmethod
    def read(keys: Keys) -> "TtsConfig":
        return TtsConfig(
            audio_delay=keys.number("audio_delay", 0.0),
            second_stream_ahead=keys.integer("second_stream_ahead", 0),
            multistream=keys.flag("multistream", False),
            max_speakers=keys.integer("max_speakers", 5),
        )


@dataclass(frozen=True, kw_only=True)
class RepositoryConfig:
    """What a repository holds. `lm` is None for a codec alone.

    `mimi` is set if `config.json` itself describes the codec (transformers' format);
    elsewhere `mimi_config_name` names a file that does, or None the built-in Mimi v0.1.
    `tokenizer_name` is None if the repository has no SentencePiece model. `takes_prompt`: a Moshi
    that was trained to be given a role and a voice before a conversation.
    """

    moshi_name: str = MOSHI_NAME
    mimi_name: str = MIMI_NAME
    mimi_config_name: str | None = None
    tokenizer_name: str | None = TOKENIZER_NAME
    lora_name: str | None = None
    model_type: str = "moshi"
    lm: LMConfig | None = None
    mimi: MimiConfig | None = None
    lm_gen: Mapping[str, object] = field(default_factory=dict, hash=False)
    stt: SttConfig = SttConfig()
    tts: TtsConfig = TtsConfig()
    takes_prompt: bool = False
    model_id: Mapping[str, object] = field(default_factory=dict, hash=False)
    raw: Mapping[str, object] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        require_one_of("model_type", self.model_type, FAMILIES)

    @property
    def family(self) -> str:
        """One of `FAMILIES`."""
        return "mimi" if self.lm is None else self.model_type

    @property
    def mimi_codebooks(self) -> int:
        """Codebooks that Mimi runs with beside this model (CheckpointInfo.get_mimi).

        A codec alone runs with all it has.
        """
        if self.lm is None:
            return (self.mimi or MimiConfig.default()).quantizer.n_q
        codebooks = max(self.lm.dep_q, self.lm.n_q - self.lm.dep_q)
        return codebooks // 2 if self.tts.multistream else codebooks

    @property
    def top_k(self) -> int:
        """Top-k of codes, 0 for all; 250 if the repository sets none (moshi LMGen)."""
        return int(str(self.lm_gen.get("top_k", 250)))

    @staticmethod
    def from_json(values: Mapping[str, object]) -> "RepositoryConfig":
        """Reads `config.json`, in Kyutai's form or transformers'.

        Raises:
            ModelError: a value or format that cannot be exported, named by its key.
        """
        with located("config.json"):
            if values.get("model_type") == PERSONAPLEX:
                return _from_personaplex(values)
            if _is_transformers(values):
                return _from_transformers(values)
            if not {"model_type", LAYERS} & values.keys():
                return replace(RepositoryConfig.legacy(), raw=dict(values))
            return _from_kyutai(values)

    @staticmethod
    def legacy() -> "RepositoryConfig":
        """A repository without `config.json`, or with one that describes no model: the first Moshi
        7B ones."""
        return RepositoryConfig(lm=LMConfig.moshi_7b())


def _is_transformers(values: Mapping[str, object]) -> bool:
    return values.get("model_type") in FORMATS or "architectures" in values


def _from_kyutai(values: Mapping[str, object]) -> RepositoryConfig:
    keys = Keys(values)
    with located("stt_config"):
        stt = SttConfig.read(keys.section("stt_config"))
    with located("tts_config"):
        tts = TtsConfig.read(keys.section("tts_config"))
    model_type = keys.text("model_type", "moshi")
    require_one_of("model_type", model_type, MODEL_TYPES)
    return RepositoryConfig(
        moshi_name=keys.text("moshi_name", MOSHI_NAME),
        mimi_name=keys.text("mimi_name", MIMI_NAME),
        tokenizer_name=keys.text("tokenizer_name", TOKENIZER_NAME),
        mimi_config_name=keys.optional_text("mimi_config_name"),
        lora_name=keys.optional_text("lora_name"),
        model_type=model_type,
        lm_gen=keys.mapping("lm_gen_config"),
        stt=stt,
        tts=tts,
        model_id=keys.mapping("model_id"),
        lm=LMConfig.from_json({name: values[name] for name in keys.unread()}),
        raw=dict(values),
    )


def _from_personaplex(values: Mapping[str, object]) -> RepositoryConfig:
    """NVIDIA's programs read nothing of it: without dimensions they are those of Moshi 7B."""
    config = RepositoryConfig.legacy()
    if LAYERS in values:
        config = _from_kyutai({**values, "model_type": "moshi"})
    return replace(config, takes_prompt=True, raw=dict(values))


def _from_transformers(values: Mapping[str, object]) -> RepositoryConfig:
    model_type = values.get("model_type")
    formats = " and ".join(FORMATS)
    advice = "use the repository of the same model in Kyutai's own format"
    known = model_type in FORMATS
    require(known, f"of transformers' formats only {formats} are read, not {model_type}; {advice}")
    if model_type == "mimi":
        mimi = read_mimi(Keys(values))
        return RepositoryConfig(
            mimi_name=MOSHI_NAME,
            tokenizer_name=None,
            model_type="mimi",
            mimi=mimi,
            raw=dict(values),
        )
    lm, mimi = read_speech_to_text(Keys(values))
    tokenizer = Keys(values).optional_text("tokenizer_name")
    return RepositoryConfig(
        mimi_name=MOSHI_NAME,
        tokenizer_name=tokenizer or ORIGINAL_TOKENIZERS.get(lm.text_card),
        model_type="stt",
        lm=lm,
        mimi=mimi,
        raw=dict(values),
    )


ORIGINAL_TOKENIZERS = {
    8000: "hf://kyutai/stt-1b-en_fr/tokenizer_en_fr_audio_8000.model",
    4000: "hf://kyutai/stt-2.6b-en/tokenizer_en_audio_4000.model",
}
"""SentencePiece models of the repositories that Kyutai's transformers-format ones were made from,
by the size of their vocabulary: the converted ones leave them out."""
