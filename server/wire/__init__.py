"""What the protocols share: MessagePack, Ogg Opus, JSON of strangers. Bytes in, values out."""
