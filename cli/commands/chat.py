"""`chat`: Moshi on a recorded side of a conversation."""

from ...models.options import ConversationOptions
from .. import options

app = options.new_app()


@app.command()
@options.with_groups
def chat(
    *,
    recording: options.Recording,
    raw: options.RawInput,
    model: options.ModelOptions,
    asked: ConversationOptions,
    state: options.StateFiles,
    general: options.General,
) -> None:
    """Let Moshi answer a recording.

    Its speech goes to OUT; the text is printed as it comes. Output is sampled, because greedy
    decoding keeps Moshi silent. Without --seed a random seed is used and printed.
    """
    from ...models.families import MOSHI
    from ..translation import answer

    answer(MOSHI, recording, raw, model, asked, state, quiet=general.quiet)
