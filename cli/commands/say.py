"""`say`: text to speech of a text, of a pipe while it is being written, or of a list of texts."""

from pathlib import Path
from typing import Annotated

from ...models.options import SpeechOptions
from .. import options
from ..options import INPUT, OUTPUT, argument, option

app = options.new_app()


@app.command()
@options.with_groups
def say(
    *,
    text: Annotated[
        str | None,
        argument(metavar="TEXT", help="Text to speak; - is standard input, spoken as it comes."),
    ] = None,
    jsonl: Annotated[
        str | None,
        option(
            "--jsonl",
            metavar="FILE",
            panel=INPUT,
            help="Speak many texts side by side: a JSON object per line with 'turns' (or 'text'), "
            "'voices' and 'id'; - is standard input.",
        ),
    ] = None,
    turns: Annotated[
        bool,
        option("--turns", panel=INPUT, help="Each line is a turn of a dialogue of two voices."),
    ] = False,
    out: Annotated[
        str | None,
        option(
            "--out",
            "-o",
            panel=OUTPUT,
            help="Audio file to write (.wav, .flac, .ogg, .opus, .mp3), or a folder with --jsonl; "
            "- is standard output. Default: standard output, or no file with --play.",
        ),
    ] = None,
    play: Annotated[
        bool, option("--play", panel=OUTPUT, help="Play the speech while it is generated.")
    ] = False,
    output_device: Annotated[
        str | None,
        option(
            "--output-device",
            metavar="DEVICE",
            panel=OUTPUT,
            help="Output device of --play: its number, or a part of its name. Default: the "
            "system's own.",
        ),
    ] = None,
    raw: Annotated[
        bool,
        option("--raw", panel=OUTPUT, help="Write 16-bit little-endian samples without a header."),
    ] = False,
    words: options.Words = None,
    save_voice: Annotated[
        Path | None,
        option(
            "--save-voice",
            metavar="FILE.npz",
            panel=OUTPUT,
            help="Save the prepared voice for later calls; needs no TEXT.",
        ),
    ] = None,
    dump_tokens: options.DumpTokens = None,
    force: options.Force = False,
    model: options.ModelOptions,
    voice: options.Voice = None,
    codebooks: Annotated[
        str,
        option(
            "--codebooks",
            metavar="N",
            panel=options.MODEL,
            help="Codebooks to generate; fewer are faster.",
        ),
    ] = "all",
    rows: Annotated[
        int,
        option(
            "--batch-size",
            min=1,
            panel=options.HARDWARE,
            help="Texts of --jsonl to speak side by side.",
        ),
    ] = 32,
    asked: SpeechOptions,
    server: options.ServerOptions,
    general: options.General,
) -> None:
    """Speak a text: to a file or to standard output.

    Audio is written as it is generated, from text that may still be arriving on a pipe.
    """
    from ...models.families import TEXT_TO_SPEECH
    from .. import synthesis
    from ..load import check_voices, connect, open_model
    from ..messages import print_seed
    from ..text_input import read_requests

    request = synthesis.SynthesisRequest(
        text=text,
        jsonl=jsonl,
        out=out or (None if play else "-"),
        play=play,
        output_device=output_device,
        voices=tuple(voice or ()),
        turns=turns,
        words=words,
        raw=raw,
        save_voice=save_voice,
        dump_tokens=dump_tokens,
        rows=rows,
        quiet=general.quiet,
    )
    request.check()
    here = server.server is None
    texts = read_requests(jsonl, request.voices) if jsonl is not None and here else []
    request.declare(texts, reads=[server.key_file], force=force)
    count = synthesis.count_of(codebooks)
    if not here:
        options.refuse(
            options.NOT_HERE,
            jsonl=jsonl,
            turns=turns,
            codebooks=count,
            save_voice=save_voice,
            dump_tokens=dump_tokens,
        )
        model.refuse_hardware()
        with connect(server) as there:
            found = there.text_to_speech(model.model)
            given, seed = synthesis.with_seed(found, asked)
            stream = found.stream(request.voices, options=given)
            synthesis.speak_by(stream, request, (), seed=seed)
        return
    server.refuse()
    bundle = open_model(model, general.quiet, TEXT_TO_SPEECH)
    check_voices(bundle, [*request.voices, *(voice for text in texts for voice in text.voices)])
    loaded = TEXT_TO_SPEECH.model_class.load(bundle, **model.loading, codebooks=count)
    given, seed = synthesis.with_seed(loaded, asked)
    if jsonl is None:
        synthesis.speak(loaded, request, given, seed)
    else:
        print_seed(seed, quiet=general.quiet)
        synthesis.speak_list(loaded, texts, request, given)
