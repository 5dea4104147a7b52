"""Values that options choose among. Imports nothing else, for quick help."""

import enum


class Precision(enum.StrEnum):
    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"
    INT4 = "int4"


class CodecPrecision(enum.StrEnum):
    FP32 = "fp32"
    INT8 = "int8"


class Target(enum.StrEnum):
    CPU = "cpu"
    CUDA = "cuda"
    DIRECTML = "directml"
    WEBGPU = "webgpu"
    COREML = "coreml"


class Format(enum.StrEnum):
    TEXT = "text"
    JSON = "json"
    JSONL = "jsonl"
    SRT = "srt"
    VTT = "vtt"
    TSV = "tsv"
    HTML = "html"


class LiveFormat(enum.StrEnum):
    TEXT = "text"
    JSONL = "jsonl"


class WhenFull(enum.StrEnum):
    MESSAGE = "message"
    STATUS = "503"


class Normalizer(enum.StrEnum):
    ENGLISH = "english"
    BASIC = "basic"
    NONE = "none"
