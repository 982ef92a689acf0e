"""What is asked of a place where processes share their tokens."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from clarus_async.credentials import Credentials


class Claim(NamedTuple):
    """What was found where a token is shared.

    Args:
        owner: names who asks.
        ours: whoever asked is to get the next token; nobody else does meanwhile.
        token: the one that is shared, if any; beside ``ours``, one that is due.
        left: seconds that it has yet to live.
    """

    owner: str
    ours: bool
    token: str | None
    left: float

    def __repr__(self) -> str:
        """Nothing of it: it holds what must not show."""
        return object.__repr__(self)


class TokenStore(Protocol):
    """Where the token of one set of credentials is shared."""

    async def claim(self, refused: str | None) -> Claim | None:
        """Look for a token; ``None`` where nobody can be asked.

        Args:
            refused: one that is good no more, and is forgotten if it is the one that is shared.
        """
        ...

    async def share(self, claim: Claim, token: str, life: float, age: float) -> None:
        """Share a token.

        Args:
            claim: for which it was got.
            token: the bearer token.
            life: seconds that it lives in all.
            age: seconds since it was asked for.
        """
        ...

    def give_up(self, claim: Claim) -> None:
        """Let another get the next token.

        Args:
            claim: the one that is given up.
        """
        ...


class TokenStores(Protocol):
    """Where the tokens of all credentials of one client are shared."""

    async def tokens(self, credentials: Credentials) -> TokenStore | None:
        """Return where the token of these credentials is shared; ``None`` where it is not.

        Args:
            credentials: whose.
        """
        ...
