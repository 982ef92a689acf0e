"""The refusal that ends the quick start: whether it is a limit at all, and what else was under way with it."""

from __future__ import annotations

from typing import Final

_SECOND: Final = 1.0
_ANSWERS: Final = 20


class FirstRefusal:
    """What is known of the first refusal."""

    __slots__ = ("_alone", "_met_at", "_pardoned_at")

    def __init__(self) -> None:
        self._met_at: float | None = None
        self._pardoned_at: float | None = None
        self._alone = False  # nothing else that was under way with it was refused

    def pardoned(self, sent_at: float, now: float, retry_after: float | None, answers: int) -> bool:
        """Whether a refusal is taken for a moment's trouble: the server is soon over it, and was not in it lately.

        Args:
            sent_at: when the request was sent.
            now: seconds on the same clock.
            retry_after: seconds, where the server said.
            answers: how many came since the last one that was pardoned.
        """
        if self._pardoned_at is not None:
            if sent_at <= self._pardoned_at:
                return True
            if answers < _ANSWERS:
                return False
        if retry_after is None or retry_after >= _SECOND:
            return False
        self._pardoned_at = now
        return True

    def meet(self, sent_at: float) -> None:
        """Take it for a limit.

        Args:
            sent_at: when its request was sent.
        """
        self._met_at = sent_at
        self._alone = True

    def forget(self) -> None:
        """Begin an epoch that has nothing to do with it."""
        self._met_at = None
        self._alone = False

    def another(self) -> None:
        """Note that another that was under way with it was refused, too."""
        self._alone = False

    def counts(self, sent_at: float) -> bool:
        """Whether a request that is heard of later was admitted in the second that was counted.

        Args:
            sent_at: when it was sent.
        """
        return self._met_at is not None and self._met_at - _SECOND < sent_at < self._met_at

    def refuted(self, sent_at: float, cut_at: float) -> bool:
        """Whether a request that was sent after it, and is admitted, shows that it was none.

        Args:
            sent_at: when that was sent.
            cut_at: when the refusal came.
        """
        return self._alone and sent_at <= cut_at
