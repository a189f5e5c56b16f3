"""What may be said of an error: a library's message may quote a response, so it is withheld."""

import errno
import traceback
from pathlib import Path

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
NO_ROOM_WORDS = ("No space left on device", "File too large", "disk is full")


def told(error: Exception) -> str:
    """What may be said of an error in logs, in reports and to MLflow: its words if they are ours.

    An error of a library is told by its kind and its place, since it may quote a response.
    """
    kind = type(error).__name__
    if speaks_safely(error):
        return f"{kind}: {error}"
    return (
        f"{kind} at {_where(error)}; what it says is withheld, since errors of libraries may "
        "quote a response"
    )


def speaks_safely(error: Exception) -> bool:
    """Whether an error's message is our own or the system's, which quote no response."""
    ours = type(error).__module__.split(".")[0] in {"flows", "tasks", "models", "warehouse"}
    return ours or isinstance(error, OSError)


def is_disk_full(error: BaseException) -> bool:
    """Whether an error comes from a disk, or a quota, that has no room left.

    The libraries that write have errors of their own for it, so their words are looked at, too.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in NO_ROOM:
            return True
        if any(words in str(seen) for words in NO_ROOM_WORDS):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _where(error: Exception) -> str:
    """The innermost lines of code that an error passed through."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return ", ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
