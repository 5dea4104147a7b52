"""A window that writes what it hears: an application built on the Python API alone."""
