"""Errors as data: what a participant's exception looks like in an answer.

Bounded in size, because it is journaled, shown to operators and sent through the broker.
"""

from __future__ import annotations

import sysconfig
import traceback
from types import FrameType, TracebackType

from orchestrator.definition.retry import qualified_name
from orchestrator.definition.values import encode
from orchestrator.errors import Refused
from orchestrator.kernel.events import Failure

MAX_MESSAGE_LENGTH = 2_000
MAX_TRACEBACK_LENGTH = 8_000
"""In characters; the end of a traceback is kept, for that is where the error is."""
MAX_FRAME_LENGTH = 300
_OWN = __name__.partition(".")[0]
_HERE = __name__.rpartition(".")[0]
_CALLER = f"{_HERE}.calling"
_OF_PYTHON = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), "<frozen ")


def failure_of(error: BaseException) -> Failure:
    """Describe an exception: type, message, the qualified names of its type and bases, where it came from."""
    return Failure(
        type=type(error).__name__,
        message=_text(error),
        kinds=_kinds(error),
        traceback=_traceback(error),
        frame=_frame(error),
    )


def refusal_of(refusal: Refused) -> Failure:
    """Describe a business no. Raises ``EncodingError`` when its ``data`` can't be written as JSON."""
    return Failure(
        type=type(refusal).__name__,
        message=_text(refusal),
        kinds=_kinds(refusal),
        data=encode(refusal.data, "the data of a Refused"),
    )


def _kinds(error: BaseException) -> tuple[str, ...]:
    bases = (kind for kind in type(error).__mro__ if kind not in {object, BaseException})
    return tuple(qualified_name(kind) for kind in bases)


def _text(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception as broken:  # noqa: BLE001 - a user's __str__ must not cost the answer
        text = f"(its message can't be shown: {type(broken).__name__})"
    text = text.encode("utf-8", "backslashreplace").decode()
    if len(text) > MAX_MESSAGE_LENGTH:
        text = text[:MAX_MESSAGE_LENGTH] + " …"
    return text


def _traceback(error: BaseException) -> str:
    try:
        text = "".join(traceback.format_exception(type(error), error, _from_theirs(error)))
    except Exception as broken:  # noqa: BLE001 - as above
        return f"(can't be shown: {type(broken).__name__})"
    text = text.encode("utf-8", "backslashreplace").decode()
    if len(text) > MAX_TRACEBACK_LENGTH:
        text = "… " + text[-MAX_TRACEBACK_LENGTH:]
    return text


def _from_theirs(error: BaseException) -> TracebackType | None:
    """The traceback from where our code called theirs on; all of it if it never did. What stands between, of event
    loops and threads, differs from run to run.
    """
    found, called = error.__traceback__, None
    while found is not None:
        if _module(found.tb_frame) == _CALLER:
            called = found
        found = found.tb_next
    theirs = error.__traceback__ if called is None else called.tb_next
    while theirs is not None and _stands_between(theirs.tb_frame):
        theirs = theirs.tb_next
    return theirs or error.__traceback__


def _stands_between(frame: FrameType) -> bool:
    return _module(frame).startswith(_HERE) or _is_of_python(frame.f_code.co_filename)


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _frame(error: BaseException) -> str:
    """The innermost function of the code that we called: of its package, or of any that isn't installed. The same for
    errors of one cause, also after a deploy that moved its lines.
    """
    found, package = "", ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module, file = _module(frame), frame.f_code.co_filename
        top = module.partition(".")[0]
        if top == _OWN or _is_of_python(file):
            continue
        package = package or top
        if top == package or not _is_installed(file):
            found = f"{module}:{frame.f_code.co_qualname}"
    return found[:MAX_FRAME_LENGTH]


def _is_installed(file: str) -> bool:
    return "site-packages" in file or "dist-packages" in file


def _is_of_python(file: str) -> bool:
    return file.startswith(_OF_PYTHON) and not _is_installed(file)
