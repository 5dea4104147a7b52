"""Attacks on a server of `kyutai-onnx serve`, on loopback; run by `python -m benchmarks.attack`."""

from . import connections, parameters, uploads, websockets, wyoming
from .catalogue import ATTACKS, Attack

__all__ = ["ATTACKS", "Attack", "connections", "parameters", "uploads", "websockets", "wyoming"]
