# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`python -m rondo` is the `rondo` command."""

import sys

from rondo.cli import main

sys.exit(main())
