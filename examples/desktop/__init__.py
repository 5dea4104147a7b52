"""A window that writes what it transcribes: an application built on the Python API alone."""
