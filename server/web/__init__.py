"""The thin layer between sockets and the rest."""
