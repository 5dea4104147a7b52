"""`transcribe`: speech to text of files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ...models.options import SpeechToTextOptions
from .. import options
from ..option_values import Format
from ..options import INPUT, OUTPUT, SERVER, argument, option

app = options.new_app()


@dataclass(frozen=True)
class CueOptions:
    """How subtitles are laid out."""

    max_line_width: Annotated[
        int,
        option("--max-line-width", min=1, panel=OUTPUT, help="Characters of a line of subtitles."),
    ] = 42
    max_lines: Annotated[
        int, option("--max-lines", min=1, panel=OUTPUT, help="Lines of a subtitle.")
    ] = 2
    max_words: Annotated[
        int | None,
        option(
            "--max-words", min=1, panel=OUTPUT, help="Words of a subtitle; 1 shows word by word."
        ),
    ] = None
    highlight: Annotated[
        bool,
        option("--highlight", panel=OUTPUT, help="Underline each word while it is spoken."),
    ] = False


@app.command()
@options.with_groups
def transcribe(
    *,
    files: Annotated[
        list[str],
        argument(
            help="Audio files; - is standard input. A folder is all audio files in it and its "
            "folders."
        ),
    ],
    channel: options.Channel = None,
    raw: options.RawInput,
    kind: Annotated[
        Format | None,
        option(
            "--format",
            "-f",
            panel=OUTPUT,
            help="Format of the transcript. Default: by the ending of --out, else text.",
        ),
    ] = None,
    out: Annotated[
        str | None,
        option(
            "--out",
            "-o",
            metavar="PATH",
            panel=OUTPUT,
            help="File to write, or a folder with a file for each input: one that exists, or a "
            "name that ends in /; it gets the subfolders of a folder that is read. - is standard "
            "output.",
        ),
    ] = None,
    timestamps: Annotated[
        bool, option("--timestamps", panel=OUTPUT, help="Add the times of each word to text.")
    ] = False,
    vad: Annotated[
        bool,
        option("--vad", panel=OUTPUT, help="Show pauses (the model needs pause heads)."),
    ] = False,
    cues: CueOptions,
    dump_tokens: options.DumpTokens = None,
    force: options.Force = False,
    model: options.ModelOptions,
    prompt_audio: Annotated[
        Path | None,
        option(
            "--prompt-audio",
            panel=INPUT,
            help="Audio to transcribe first, such as the voice or the subject.",
        ),
    ] = None,
    cut_prompt: Annotated[
        bool,
        option("--cut-prompt", panel=OUTPUT, help="Leave out the words of the audio prompt."),
    ] = False,
    asked: SpeechToTextOptions,
    server: options.ServerOptions,
    rtf: Annotated[
        float | None,
        option(
            "--rtf",
            min=0.01,
            panel=SERVER,
            help="Seconds of audio to send per second. Default: as fast as the server accepts.",
        ),
    ] = None,
    general: options.General,
) -> int:
    """Transcribe recordings and films to text.

    Words are printed as they are found. Several files are transcribed side by side.
    """
    from ...models.families import SPEECH_TO_TEXT
    from ...models.text.subtitles import CueLayout
    from ..files import check_recording, check_recordings, declare, recordings_in
    from ..load import connect, load
    from ..messages import print_note
    from ..output import transcript_files
    from ..output.formats import Style
    from ..transcription import Prompt, Transcription, TranscriptionRequest

    form = raw.format
    inputs = recordings_in(files, lambda line: print_note(line, quiet=general.quiet))
    found = [each.name for each in inputs]
    chosen = transcript_files.chosen_format(out, kind)
    layout = CueLayout(cues.max_line_width, cues.max_lines, cues.max_words, cues.highlight)
    request = TranscriptionRequest(
        files=inputs,
        style=Style(chosen, timestamps, pauses=vad, layout=layout),
        out=out,
        prompt=Prompt(prompt_audio, cut_prompt),
        channel=channel,
        raw=form,
        options=asked,
        dump_tokens=dump_tokens,
        quiet=general.quiet,
    )
    request.check()
    declare(
        reads=[*found, prompt_audio, server.key_file],
        others=[*(transcript_files.out_path(out, file, chosen) for file in inputs), dump_tokens],
        force=force,
    )
    transcript_files.check_ending(out, kind)
    if server.server is None:
        server.refuse(rtf=rtf)
    else:
        options.refuse(options.NOT_HERE, prompt_audio=prompt_audio, dump_tokens=dump_tokens)
        model.refuse_hardware()
    check_recordings(found, channel=channel, raw=form)
    if prompt_audio is not None:
        check_recording(str(prompt_audio))
    if server.server is not None:
        with connect(server) as there:
            return Transcription(there.speech_to_text(model.model, rtf=rtf), request).run()
    loaded = load(SPEECH_TO_TEXT, model, quiet=general.quiet)
    return Transcription(loaded, request).run()
