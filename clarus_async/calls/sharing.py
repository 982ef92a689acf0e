"""What is asked of a place where processes share a client's paces and tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from clarus_async.auth.token_store import TokenStores

if TYPE_CHECKING:
    from clarus_async.ratelimit.shared_pace import SharedPace  # few clients share one, and it takes a while to import


class Sharing(TokenStores, Protocol):
    """What one client shares with other processes: the paces of its tenants and the tokens of its credentials."""

    @property
    def problem(self) -> str | None:
        """Why nothing may be sent, where no waiting heals it."""
        ...

    def pacer(self, tenant: str | None) -> SharedPace:
        """Return the pace of a tenant.

        Args:
            tenant: which; ``None``: of all together.
        """
        ...

    async def close(self) -> None:
        """Give up what it holds."""
        ...


@runtime_checkable
class SharesPace(Protocol):
    """Settings of a pace that processes share."""

    def share(self, base_url: str) -> Sharing:
        """Begin to share.

        Args:
            base_url: the API's.
        """
        ...
