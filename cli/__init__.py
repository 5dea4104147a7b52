"""The command line: parses, calls, prints. The numbers are made elsewhere."""
