"""What the packed command starts: the command, or a process that decodes for its server."""

import sys

from kyutai_onnx.server.decoding.worker import FLAG
from kyutai_onnx.server.decoding.worker import main as decode

if sys.argv[1:2] == [FLAG]:
    decode(sys.argv[2:])
else:
    from kyutai_onnx.cli.main import main

    main()
