"""`python -m losskit`."""

from losskit.cli import main

main()
