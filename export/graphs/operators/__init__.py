"""What each execution provider of ONNX Runtime runs, as data, and the check of a graph against it.

One JSON file a provider (`cpu`, `cuda`, `directml`, `webgpu`, `coreml`) names its source and, for
the operators that Kyutai's graphs use, the versions and element types it has. It knows nothing of
Kyutai's models.
"""

from .check import Unsupported, check_graph
from .table import PROVIDERS, Kernel, Table, load_table

__all__ = ["PROVIDERS", "Kernel", "Table", "Unsupported", "check_graph", "load_table"]
