"""What the packed window starts."""

from examples.desktop.__main__ import main

main()
