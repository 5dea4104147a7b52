"""How the attacked servers are started."""

from pathlib import Path

KEY = "the-key-of-the-witnesses"
SLOTS = 8
"""Of each model: two for the witnesses, one for the posted recording, the rest for attackers."""
MODELS = "".join(f'[[models]]\ntask = "{task}"\nslots = {SLOTS}\n' for task in ("stt", "tts"))
CHAT = f'[[models]]\ntask = "hibiki"\nslots = {SLOTS}\n'
CONFIGS = {
    "plain": f"wyoming_port = 0\n{MODELS}",
    "chat": f"wyoming_port = 0\n{MODELS}{CHAT}",
    "keys": f'wyoming_port = 0\napi_keys = ["{KEY}"]\n{MODELS}[limits]\nrate = 600\n',
    "few-files": f"wyoming_port = 0\n{MODELS}",
    "tls": f"wyoming_port = 0\n{MODELS}",
}
FILES = {"few-files": 128}
"""Files that a server may open."""


def arguments_of(server: str, folder: Path) -> list[str]:
    """What `serve` is started with; files that it needs are written to `folder`."""
    config = folder / "server.toml"
    config.write_text(CONFIGS[server], "utf-8")
    found = ["--config", str(config)]
    if server == "tls":
        certificate = str(certificate_of(folder))
        found += ["--tls", certificate, certificate]
    return found


def certificate_of(folder: Path) -> Path:
    """A certificate with its key, made once."""
    from kyutai_onnx.server.web.tls import self_signed

    path = folder / "certificate.pem"
    if not path.exists():
        path.write_bytes(self_signed("127.0.0.1"))
    return path
