"""Wire protocols without sockets: bytes in, messages out, and the reverse."""
