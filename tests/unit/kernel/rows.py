"""What a participant's database knows of one effect."""

from __future__ import annotations

from enum import Enum


class Row(Enum):
    """What is known of one effect."""

    DONE = "done"
    REFUSED = "refused"
    UNDONE = "undone"
    TOMBSTONE = "tombstone"
    PREPARED = "prepared"
