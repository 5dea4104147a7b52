"""The command line: parses options, calls the other layers, prints results."""
