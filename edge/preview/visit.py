"""Who may look, and for how long: one opening of the preview. Pure; times are monotonic seconds.

Rules, in order:
1. It is over at `until` (`LASTS_S` after it was opened), whatever happened meanwhile.
2. The code lets one browser in, once; that browser then shows a token with every request.
3. After `MOST_WRONG` wrong codes it is over: 8 characters of 31 cannot be guessed in that many. No more refusals than that are noted.

Example:
    >>> visit = Visit(code="ABCDEFGH", token="t", until=900.0)
    >>> visit.enter("abcd-efgh", 1.0), visit.enter("ABCDEFGH", 2.0), visit.shows("t", 3.0), visit.shows("t", 900.0)
    ('t', '', True, False)
"""

from __future__ import annotations

import hmac
from collections.abc import Callable

LASTS_S = 900.0
MOST_WRONG = 5
ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ".replace("L", "")
"""Without what looks like something else."""
CODE_LENGTH = 8


class Visit:
    """One opening.

    Args:
        code: lets one browser in.
        token: what that browser shows from then on.
        until: when it is over.
    """

    def __init__(self, *, code: str, token: str, until: float) -> None:
        self._code = code
        self._token = token
        self.until = until
        self.wrong = self.refused = 0
        self.has_entered = False

    def is_over(self, now: float) -> bool:
        """Whether nobody may look any more."""
        return now >= self.until or self.wrong >= MOST_WRONG

    def enter(self, code: str, now: float) -> str:
        """Return the token for the right code, the first time it is given; empty otherwise."""
        if self.is_over(now) or self.has_entered:
            return ""
        if not hmac.compare_digest(plain(code).encode(), self._code.encode()):
            self.wrong += 1
            return ""
        self.has_entered = True
        return self._token

    def refuse(self) -> bool:
        """Count a refusal; returns whether it belongs in the audit log: as many as may be tried do, not what a program repeats for ever."""
        self.refused += 1
        return self.refused <= MOST_WRONG

    def shows(self, token: str, now: float) -> bool:
        """Whether this is the token of a browser that was let in."""
        return self.has_entered and not self.is_over(now) and hmac.compare_digest(token.encode(), self._token.encode())


def new_code(below: Callable[[int], int]) -> str:
    """Return a code; `below(n)` gives a secret random number below n."""
    return "".join(ALPHABET[below(len(ALPHABET))] for _ in range(CODE_LENGTH))


def spoken(code: str) -> str:
    """Return a code as people read it, in two halves."""
    return f"{code[:4]}-{code[4:]}"


def plain(code: str) -> str:
    """Return what somebody typed as it is compared: upper case, letters and digits alone."""
    return "".join(letter for letter in code.upper() if letter.isascii() and letter.isalnum())[:64]
