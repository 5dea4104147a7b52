"""Options that mean the same in every command."""

from pathlib import Path
from typing import Annotated

import typer


class Debugging:
    """Whether errors show where they came from; set by `--debug` of any command."""

    enabled = False

    @classmethod
    def set(cls, value: bool) -> bool:
        cls.enabled = cls.enabled or value
        return value


Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="M",
        help="Bundle folder, a repository exported before, or hf://owner/name\\[@rev]. Default: "
        "KYUTAI_ONNX_MODEL, else the embedded demo.",
    ),
]
Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        help="Use a model of 'kyutai-onnx serve' there, such as http://127.0.0.1:8998.",
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option("--api-key", metavar="KEY", help="What opens that server, or @FILE with it."),
]
Provider = Annotated[
    str,
    typer.Option(
        help="auto (the bundle's own), cpu, cuda, cuda-graphs, directml, webgpu or coreml."
    ),
]
AllowFallback = Annotated[
    bool,
    typer.Option("--allow-fallback", help="Run on a provider that the bundle was not made for."),
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Threads a graph; default: the processors, 4 at most.")
]
Seed = Annotated[int | None, typer.Option(min=0, help="Makes sampled output repeat.")]
Temp = Annotated[
    float | None,
    typer.Option(min=0.0, help="Sampling temperature; 0 takes the best. Default: the model's."),
]
Debug = Annotated[
    bool, typer.Option("--debug", callback=Debugging.set, help="Show tracebacks and logs.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Results and errors only.")]
Channel = Annotated[
    int | None,
    typer.Option(min=0, help="Take one channel, counted from 0, instead of the mean of all."),
]
Force = Annotated[
    bool,
    typer.Option("--force", help="Replace a recording or a model's file by another kind of file."),
]
DumpTokens = Annotated[
    Path | None,
    typer.Option("--dump-tokens", metavar="FILE.npz", help="Write codes and tokens to compare."),
]
TempText = Annotated[
    float | None, typer.Option(min=0.0, help="Temperature of the text alone, where it differs.")
]
CfgCoef = Annotated[
    float | None,
    typer.Option(help="Guidance to the speaker's voice, such as 3, at twice the cost; default: 1."),
]
Words = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Write the words that are spoken, with times; as .srt, .vtt, .json, .jsonl, .tsv "
        "or .txt.",
    ),
]
Srt = Annotated[Path | None, typer.Option(metavar="FILE", help="Write subtitles of the speech.")]
SaveState = Annotated[
    Path | None,
    typer.Option(
        "--save-state", metavar="FILE", help="Save the stream as it stands after the recording."
    ),
]
LoadState = Annotated[
    Path | None,
    typer.Option("--load-state", metavar="FILE", help="Go on from a stream that was saved."),
]
