"""Types of arrays that several modules name; audio is `runtime.audio.Pcm`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
"""An array of any shape and type."""
Codes = NDArray[np.int64]
"""Codes of a codec, [codebooks, frames] unless said otherwise."""
Tokens = NDArray[np.int64]
"""Text tokens, one a frame."""
