"""`say`: text to speech of a text, of a pipe while it is being written, or of a list of texts."""

from pathlib import Path
from typing import Annotated

import typer

from .. import options


def say(
    text: Annotated[
        str | None,
        typer.Argument(metavar="TEXT", help="What to say; - is standard input, said as it comes."),
    ] = None,
    jsonl: Annotated[
        str | None,
        typer.Option(
            "--jsonl",
            metavar="FILE",
            help="Say many texts side by side: a JSON object a line with 'turns' (or 'text'), "
            "'voices' and 'id'; - is standard input.",
        ),
    ] = None,
    out: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            help="Audio file to write (.wav, .flac, .ogg, .opus, .mp3); - is standard output. "
            "With --jsonl a folder.",
        ),
    ] = "-",
    model: options.Model = None,
    voice: Annotated[
        list[str] | None,
        typer.Option(
            "--voice",
            metavar="V",
            help="A name ('kyutai-onnx voices list'), a file, or one saved by --save-voice; twice "
            "for two speakers.",
        ),
    ] = None,
    turns: Annotated[
        bool,
        typer.Option("--turns", help="Every line is a turn of a conversation between two voices."),
    ] = False,
    cfg_coef: Annotated[
        float | None,
        typer.Option(help="How much the voice is insisted on; default: 2 where there is one."),
    ] = None,
    padding_between: Annotated[
        int, typer.Option(min=0, help="Least rest between words, in steps of 80 ms.")
    ] = 1,
    padding_bonus: Annotated[
        float, typer.Option(help="From -2 to 2: positive is slower speech, negative quicker.")
    ] = 0.0,
    codebooks: Annotated[
        str, typer.Option(metavar="N", help="Codebooks to make, quicker with less; or all.")
    ] = "all",
    words: options.Words = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Samples alone, 16-bit little-endian, without a header.")
    ] = False,
    save_voice: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.npz", help="Keep the voice, ready, in a file for later; needs no TEXT."
        ),
    ] = None,
    server: options.Server = None,
    api_key: options.ApiKey = None,
    rows: Annotated[
        int, typer.Option("--batch-size", min=1, help="Texts of --jsonl spoken side by side.")
    ] = 32,
    dump_tokens: options.DumpTokens = None,
    temp: options.Temp = None,
    seed: options.Seed = None,
    provider: options.Provider = "auto",
    allow_fallback: options.AllowFallback = False,
    threads: options.Threads = None,
    force: options.Force = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,  # noqa: ARG001
) -> None:
    """Say a text: speech to a file or to standard output, as it is made."""
    from ...models.tts.speech_options import SpeechKwargs
    from .. import remote, synthesis, synthesis_batch
    from ..load import load_text_to_speech
    from ..text_input import read_requests

    request = synthesis.Request(
        text=text,
        jsonl=jsonl,
        out=out,
        voices=tuple(voice or ()),
        turns=turns,
        words=words,
        raw=raw,
        save_voice=save_voice,
        dump_tokens=dump_tokens,
        rows=rows,
        quiet=quiet,
    )
    request.check()
    texts = [] if jsonl is None or server is not None else read_requests(jsonl, request.voices)
    request.declare(texts, reads=[remote.key_file(api_key)], force=force)
    count = synthesis.count_of(codebooks)
    chosen: SpeechKwargs = {
        "cfg_coef": cfg_coef,
        "temperature": temp,
        "seed": seed,
        "padding_between": padding_between,
        "padding_bonus": padding_bonus,
    }
    if server is not None:
        remote.refuse(
            jsonl=jsonl,
            turns=turns,
            codebooks=count,
            save_voice=save_voice,
            dump_tokens=dump_tokens,
            provider=provider != "auto",
            allow_fallback=allow_fallback,
            threads=threads,
        )
        with remote.connect(server, api_key) as there:
            found = there.text_to_speech(model)
            manner = synthesis.manner(found, quiet=quiet, **chosen)
            synthesis.speak_by(found.stream(request.voices, **manner), request, ())
        return
    remote.refuse_without(api_key=api_key)
    loaded = load_text_to_speech(model, provider, threads, allow_fallback, quiet, count)
    manner = synthesis.manner(loaded, quiet=quiet, **chosen)
    if jsonl is None:
        synthesis.speak(loaded, request, manner)
    else:
        synthesis_batch.speak(loaded, texts, request, manner)
