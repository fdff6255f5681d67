"""`python -m portable_nn` is `portable_nn.cli`."""

from __future__ import annotations

import sys

from portable_nn.cli import main

sys.exit(main())
