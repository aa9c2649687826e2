"""`python -m losskit.bench`."""

import sys

from losskit.bench import main

sys.exit(main())
