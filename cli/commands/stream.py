"""`stream`: any model, live: a microphone or a recording at the pace of speech, and the speaker."""

from pathlib import Path
from typing import Annotated

import typer

from .. import options
from ..choices import LiveFormat

DEVICE = "DEVICE"
WATCHDOG = 10.0


def stream(
    input_file: Annotated[
        str | None,
        typer.Option(
            "--input-file",
            metavar="FILE",
            help="Recording to hear at the pace of speech, or the text that text to speech is to "
            "say; - is standard input. Without it: the microphone, or for text to speech standard "
            "input.",
        ),
    ] = None,
    input_device: Annotated[
        str | None,
        typer.Option(metavar=DEVICE, help="Microphone: its number, or a part of its name."),
    ] = None,
    output_device: Annotated[
        str | None, typer.Option(metavar=DEVICE, help="Speaker: its number, or a part of its name.")
    ] = None,
    disable_speaker: Annotated[
        bool, typer.Option("--disable-speaker", help="Play nothing.")
    ] = False,
    half_duplex: Annotated[
        bool,
        typer.Option(
            "--half-duplex",
            help="Mute the microphone while the model can be heard: for loudspeakers, whose sound "
            "comes back.",
        ),
    ] = False,
    list_devices: Annotated[
        bool, typer.Option("--list-devices", help="Show microphones and speakers.")
    ] = False,
    model: options.Model = None,
    kind: Annotated[
        LiveFormat, typer.Option("--format", "-f", help="Text, or an event a line as JSON.")
    ] = LiveFormat.TEXT,
    vad: Annotated[
        bool, typer.Option("--vad", help="Show pauses (needs a model with extra heads).")
    ] = False,
    rate: Annotated[
        float, typer.Option("--rate", min=0.01, help="Pace of --input-file; 2 is twice as fast.")
    ] = 1.0,
    save_output: Annotated[
        str | None,
        typer.Option(
            metavar="OUT",
            help="Audio file for what the model says; - is standard output, with the text on "
            "stderr then.",
        ),
    ] = None,
    save_input: Annotated[
        str | None, typer.Option(metavar="OUT", help="Audio file for what the model hears.")
    ] = None,
    words: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Subtitles that grow with the words; .srt or .vtt."),
    ] = None,
    stats: Annotated[
        bool, typer.Option("--stats", help="Tell how long sound takes to become words or sound.")
    ] = False,
    turn_policy: Annotated[
        str | None,
        typer.Option(
            "--turn-policy",
            metavar="NAME|FILE",
            help="When a turn ends: quick, default, patient, or a file of TOML.",
        ),
    ] = None,
    turn_flush: Annotated[
        bool,
        typer.Option("--turn-flush", help="At the end of a turn tell its last words at once."),
    ] = False,
    watchdog: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="Seconds of speech without a word after which speech to text is begun anew; 0 is "
            "never.",
        ),
    ] = WATCHDOG,
    server: options.Server = None,
    api_key: options.ApiKey = None,
    voice: Annotated[
        list[str] | None,
        typer.Option("--voice", metavar="V", help="Of text to speech; twice for two speakers."),
    ] = None,
    cfg_coef: Annotated[
        float | None,
        typer.Option(
            help="Guidance to the voice, at twice the cost; default: 1, of text to speech 2 where "
            "there is one."
        ),
    ] = None,
    save_state: options.SaveState = None,
    load_state: options.LoadState = None,
    channel: options.Channel = None,
    temp: options.Temp = None,
    seed: options.Seed = None,
    provider: options.Provider = "auto",
    allow_fallback: options.AllowFallback = False,
    threads: options.Threads = None,
    force: options.Force = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,  # noqa: ARG001
) -> None:
    """Live: write what is said while it is being said; let Hibiki translate it, Moshi answer, and
    text to speech say what comes in on standard input."""
    from .. import remote
    from ..files import declare
    from ..live.device_list import show_devices
    from ..live.request import LiveRequest
    from ..live.session import Live
    from ..live.turn_policy import turn_policy as read_policy
    from ..load import open_model

    if list_devices:
        show_devices(kind)
        return
    request = LiveRequest(
        input_file=input_file,
        input_device=input_device,
        output_device=output_device,
        disable_speaker=disable_speaker,
        half_duplex=half_duplex,
        save_input=save_input,
        save_output=save_output,
        channel=channel,
        rate=rate,
        words=words,
        kind=kind,
        vad=vad,
        stats=stats,
        policy=read_policy(turn_policy),
        turn_flush=turn_flush,
        watchdog=watchdog,
        save_state=save_state,
        load_state=load_state,
        quiet=quiet,
    )
    request.check()
    declare(
        reads=[input_file, load_state, *(voice or ()), remote.key_file(api_key)],
        audio=[save_input, save_output],
        others=[words, save_state],
        force=force,
    )
    live = Live(request, tuple(voice or ()), temp=temp, seed=seed, cfg_coef=cfg_coef)
    if server is not None:
        remote.refuse(
            turn_flush=turn_flush,
            watchdog=watchdog != WATCHDOG,
            save_state=save_state,
            load_state=load_state,
            provider=provider != "auto",
            allow_fallback=allow_fallback,
            threads=threads,
        )
        with remote.connect(server, api_key) as there:
            live.run_there(there, model)
        return
    remote.refuse_without(api_key=api_key)
    bundle = open_model(model, quiet)
    live.run(bundle, provider=provider, threads=threads, allow_fallback=allow_fallback)
