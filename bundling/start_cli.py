"""What the packed command starts."""

from kyutai_onnx.cli.main import main

main()
