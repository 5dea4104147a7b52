"""`stream`: any model, live, with a microphone and an output device or with files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from .. import options
from ..option_values import LiveFormat
from ..options import INPUT, OUTPUT, TURNS, option

if TYPE_CHECKING:
    from ..live.turn_policy import LivePolicy

DEVICE = "DEVICE"
app = options.new_app()


@app.command()
@options.with_groups
def stream(
    *,
    input_file: Annotated[
        str | None,
        option(
            "--input-file",
            metavar="FILE",
            panel=INPUT,
            help="Recording to read at the pace of speech, or for text to speech the text; - is "
            "standard input. Default: the microphone, or standard input for text to speech.",
        ),
    ] = None,
    rate: Annotated[
        float,
        option("--rate", min=0.01, panel=INPUT, help="Pace of --input-file; 2 is twice as fast."),
    ] = 1.0,
    input_device: Annotated[
        str | None,
        option(
            "--input-device",
            metavar=DEVICE,
            panel=INPUT,
            help="Microphone: its number, or a part of its name.",
        ),
    ] = None,
    half_duplex: Annotated[
        bool,
        option(
            "--half-duplex",
            panel=INPUT,
            help="Mute the microphone while the model speaks, against its own echo.",
        ),
    ] = False,
    channel: options.Channel = None,
    list_devices: Annotated[
        bool, option("--list-devices", help="List microphones and output devices, then exit.")
    ] = False,
    output_device: Annotated[
        str | None,
        option(
            "--output-device",
            metavar=DEVICE,
            panel=OUTPUT,
            help="Output device: its number, or a part of its name; none plays no audio.",
        ),
    ] = None,
    kind: Annotated[
        LiveFormat,
        option("--format", "-f", panel=OUTPUT, help="Text, or one JSON event per line."),
    ] = LiveFormat.TEXT,
    save_output: Annotated[
        str | None,
        option(
            "--save-output",
            metavar="OUT",
            panel=OUTPUT,
            help="Audio file for the speech of the model; - is standard output, and then the text "
            "goes to stderr.",
        ),
    ] = None,
    save_input: Annotated[
        str | None,
        option("--save-input", metavar="OUT", panel=OUTPUT, help="Audio file for the input audio."),
    ] = None,
    words: Annotated[
        Path | None,
        option(
            "--words",
            metavar="FILE",
            panel=OUTPUT,
            help="Subtitles (.srt or .vtt) that grow with the words.",
        ),
    ] = None,
    force: options.Force = False,
    vad: Annotated[
        bool, option("--vad", panel=TURNS, help="Show pauses (the model needs pause heads).")
    ] = False,
    turn_policy: Annotated[
        str | None,
        option(
            "--turn-policy",
            metavar="NAME|FILE",
            panel=TURNS,
            help="When a turn ends, and when a model that stalls is restarted: quick, default, "
            "patient, or a TOML file.",
        ),
    ] = None,
    model: options.ModelOptions,
    voice: options.Voice = None,
    asked: options.LiveOptions,
    server: options.ServerOptions,
    state: options.StateFiles,
    general: options.General,
) -> None:
    """Run a model live with a microphone and speakers.

    Speech to text prints words as they are spoken, Hibiki translates, Moshi answers, and text to
    speech speaks standard input.
    """
    from ...runtime.audio.files.writer import check_target
    from ..files import declare
    from ..live import session
    from ..live.live_audio import LiveRequest, show_devices

    if list_devices:
        show_devices(kind)
        return
    request = LiveRequest(
        input_file=input_file,
        input_device=input_device,
        output_device=output_device,
        half_duplex=half_duplex,
        save_input=save_input,
        save_output=save_output,
        channel=channel,
        rate=rate,
        words=words,
        kind=kind,
        vad=vad,
        policy=None if turn_policy is None else _read_policy(turn_policy),
        save_state=state.save_state,
        load_state=state.load_state,
        voices=tuple(voice or ()),
        options=asked,
        quiet=general.quiet,
    )
    request.check()
    declare(
        reads=[input_file, state.load_state, *(voice or ()), server.key_file],
        audio=[save_input, save_output],
        others=[words, state.save_state],
        force=force,
    )
    check_target(save_input)
    check_target(save_output)
    if server.server is not None:
        options.refuse(
            options.NOT_HERE,
            save_state=state.save_state,
            load_state=state.load_state,
        )
        model.refuse_hardware()
        session.run_there(request, server, model.model)
    else:
        server.refuse()
        session.run_here(request, model)


def _read_policy(name: str) -> "LivePolicy":
    from ..live.turn_policy import turn_policy

    return turn_policy(name)
