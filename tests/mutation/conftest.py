"""Run by `make guards`, not by `make test`: every guard costs a test process of its own."""

import os

collect_ignore_glob = [] if os.environ.get("SAGA_GUARDS") else ["test_*.py"]
