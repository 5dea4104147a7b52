"""`stream`: opens what a model needs to run live."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ...models.families import FAMILIES, Family, Task
from ...models.options import Offered
from ...runtime.errors import UsageError
from ..files import check_recording, is_pipe
from ..load import check_voices, connect, open_model
from ..options import NOT_HERE, NOT_WITH_IT, ModelOptions, ServerOptions, refuse
from .live_audio import LiveRequest, check_devices
from .turn_policy import WATCHDOG

if TYPE_CHECKING:
    from ...server.client import RemoteServer


class LiveSession(Protocol):
    """A stream of a model between live audio and what prints its events."""

    def run(self) -> None:
        """Go on until the audio or the text ends, or until interrupted."""


def run_here(request: LiveRequest, given: ModelOptions) -> None:
    """Run a model on this machine live.

    Raises UsageError for options that its family does not have.
    """
    bundle = open_model(given, request.quiet)
    family = FAMILIES[bundle.manifest.family]
    check(request, family, str(bundle.path))
    options = request.options.of(family)
    check_input(request, family)
    for name in options.recordings:
        check_recording(name)
    if request.voices:
        check_voices(bundle, request.voices)
    model = family.model_class.load(bundle, **given.loading)
    open_session(request, family, model, options).run()


def run_there(request: LiveRequest, given: ServerOptions, name: str | None) -> None:
    """Run a model of a server live, the first one unless it is named.

    Raises ServerError for a server that does not answer, ModelError if it has no such model,
    UsageError for what a server does by itself.
    """
    policy = request.policy
    if policy is not None and (policy.flush or policy.watchdog is not None):
        field = "flush" if policy.flush else "watchdog"
        raise UsageError(f"--turn-policy: {field} is for a model that runs here; leave it out")
    with connect(given) as server:
        open_remote_session(request, server, name).run()


def open_session(request: LiveRequest, family: Family, model: Any, options: Any) -> LiveSession:
    """Open a stream of a model that is loaded here."""
    if family.task is Task.SPEECH_TO_TEXT:
        from .stt_session import LiveTranscription

        given = None if request.policy is None else request.policy.watchdog
        watched = replace(options, watchdog=WATCHDOG if given is None else given)
        return LiveTranscription(request, model, watched)
    if family.task is Task.TEXT_TO_SPEECH:
        from .tts_session import LiveSynthesis

        return LiveSynthesis(request, model, options)
    from .translation_session import LiveTranslation, open_stream

    return LiveTranslation(request, open_stream(request, model, options))


def open_remote_session(
    request: LiveRequest, server: "RemoteServer", name: str | None
) -> LiveSession:
    """Find a model of a server, and open a stream of it."""
    info = server.find(name=name)
    family = FAMILIES[info.family]
    check(request, family, info.id)
    options = request.options.of(family, Offered.LIVE | Offered.CLIENTS)
    check_input(request, family)
    if info.task is Task.SPEECH_TO_TEXT:
        from .stt_session import LiveTranscription

        return LiveTranscription(request, server.speech_to_text(info.id), options)
    if info.task is Task.TEXT_TO_SPEECH:
        from .tts_session import LiveSynthesis

        return LiveSynthesis(request, server.text_to_speech(info.id), options)
    from .translation_session import LiveTranslation

    refuse(NOT_HERE, words=request.words)
    return LiveTranslation(request, server.chat(info.id).stream(options=options))


def check(request: LiveRequest, family: Family, where: str) -> None:
    """Raise UsageError for options that a family does not have."""
    why = NOT_WITH_IT
    if family.task is Task.CODEC:
        raise UsageError(
            f"{where}: a {family.name} model does not run live; give one for speech to text, text "
            "to speech, Hibiki or Moshi"
        )
    if not family.reads_text:
        refuse(why, voice=request.voices)
        _check_subtitles(request)
    if family.task is not Task.SPEECH_TO_TEXT:
        refuse(why, vad=request.vad, turn_policy=request.policy)
    if not family.writes_audio:
        refuse(
            why,
            save_output=request.save_output,
            output_device=request.output_device,
            half_duplex=request.half_duplex,
        )
    elif not family.reads_audio:
        refuse(
            why,
            input_device=request.input_device,
            save_input=request.save_input,
            half_duplex=request.half_duplex,
            rate=request.rate != 1,
            channel=request.channel,
            save_state=request.save_state,
            load_state=request.load_state,
        )
        if request.is_silent and not (request.save_output or request.words):
            raise UsageError(
                f"--output-device {request.output_device}: then the speech goes nowhere; give "
                "'--save-output' or '--words'"
            )


def check_input(request: LiveRequest, family: Family) -> None:
    """Raise an error for a file that cannot be read, a text without words, or a missing device."""
    file = request.input_file
    if family.reads_text:
        if file is not None and file != "-" and not is_pipe(Path(file)):
            from ...models.tts.synthesis import NOTHING_TO_SAY
            from ..text_input import read_file

            if not read_file(file).strip():
                raise UsageError(NOTHING_TO_SAY)
    elif file is not None:
        check_recording(file, channel=request.channel)
    check_devices(request, reads_audio=not family.reads_text, speaks=family.writes_audio)


def _check_subtitles(request: LiveRequest) -> None:
    if request.words is not None:
        from ..output.subtitles import check_ending

        check_ending(request.words)
