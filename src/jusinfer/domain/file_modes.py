"""Who may read a file that holds a secret, judged as ssh judges private keys."""

from typing import Final

_ANYONE_ELSE: Final = 0o077
_EVERYONE: Final = 0o007


def is_exposed(mode: int, owner_uid: int, own_uid: int) -> bool:
    """Tell whether more may use it than should: of a file of ours, anyone but us.

    A file of another user's that we may read, root's say, is let to a group on purpose: it is
    exposed where everyone may use it.
    """
    return bool(mode & (_ANYONE_ELSE if owner_uid == own_uid else _EVERYONE))
