"""What a checkpoint's configuration says, as frozen data; knows nothing of tensors or files.

Dimensions come from the configuration files alone. The only numbers written here are the built-in
configurations of moshi models/loaders.py, for repositories that have none.
"""

from .conditioning import Conditioner, FuserConfig, LutConditioner, TensorConditioner
from .lm import DepformerConfig, LMConfig
from .mimi import MimiConfig, QuantizerConfig, SEANetConfig
from .repository import FAMILIES, RepositoryConfig, SttConfig, TtsConfig
from .transformer import TransformerConfig, gating_hidden

__all__ = [
    "FAMILIES",
    "Conditioner",
    "DepformerConfig",
    "FuserConfig",
    "LMConfig",
    "LutConditioner",
    "MimiConfig",
    "QuantizerConfig",
    "RepositoryConfig",
    "SEANetConfig",
    "SttConfig",
    "TensorConditioner",
    "TransformerConfig",
    "TtsConfig",
    "gating_hidden",
]
