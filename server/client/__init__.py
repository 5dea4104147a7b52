"""Models on a server of ours, used as those that are loaded here are.

`RemoteServer` finds them; their streams have the methods of the models' own, block as little as
they can, and keep their connection in a thread of their own.
"""

from .chat import RemoteChat, RemoteTalk
from .connection import ServerError
from .remote_server import RemoteServer
from .stt import RemoteSpeechToText, RemoteSpeechToTextStream
from .tts import RemoteSpeech, RemoteTextToSpeech

__all__ = [
    "RemoteChat",
    "RemoteServer",
    "RemoteSpeech",
    "RemoteSpeechToText",
    "RemoteSpeechToTextStream",
    "RemoteTalk",
    "RemoteTextToSpeech",
    "ServerError",
]
