"""What people, and the programs that call them, are told of a cluster of incidents."""

from __future__ import annotations

from typing import Literal

import msgspec


class Notice(msgspec.Struct, frozen=True):
    """Runs of one saga need a person for one cause: the one argument of a saga that is launched to tell of it, and the
    body of a webhook. Times are epoch seconds.
    """

    id: str
    """The same however often it is delivered, so that who gets it twice can tell."""
    at: float
    cluster: str
    """The cause: ``saga incidents show CLUSTER``."""
    saga: str
    step: str
    direction: Literal["do", "undo", "callback", "prepare", "commit", "abort"]
    """What of the step went wrong; ``do`` is the step itself."""
    message: str
    """Of the newest incident."""
    error: str
    frame: str
    """The innermost function of the user's own code that the error came through, as ``module:function``."""
    runs: int
    incidents: int
    acknowledged: int
    """How many of the incidents somebody has taken on."""
    first: float
    last: float
    run: str
    """The run of the newest incident."""
