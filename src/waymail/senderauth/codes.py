"""The enhanced status codes by which a server says that a sender was not believed (RFC 7372 §3, RFC 8617 §10.4).

Each has the text that the registry gives for it. `replied` gives the code in the class that goes with a reply: "5.7.23" for 550,
"4.7.24" for 451.
"""

from __future__ import annotations

from waymail.values import value


@value
class Code:
    """An enhanced status code without its class, "7.23", and the registry's text for it."""

    number: str
    text: str

    @property
    def permanent(self) -> str:
        """The code of a refusal, for 550."""
        return f"5.{self.number}"

    @property
    def temporary(self) -> str:
        """The code of "try again later", for 451."""
        return f"4.{self.number}"

    def replied(self, code: int) -> str:
        """The code that goes with the three-digit `code` of a reply (RFC 2034 §4: the classes are the same)."""
        return self.temporary if 400 <= code < 500 else self.permanent


NO_PASSING_DKIM = Code("7.20", "No passing DKIM signature found")
NO_ACCEPTABLE_DKIM = Code("7.21", "No acceptable DKIM signature found")
NO_AUTHOR_DKIM = Code("7.22", "No valid author-matched DKIM signature found")
SPF_FAILED = Code("7.23", "SPF validation failed")
# In place of 4.4.3 for temperror and of 5.5.2 for permerror (RFC 7208 §8.6, §8.7): the basic code is 451 or 550.
SPF_ERROR = Code("7.24", "SPF validation error")
REVERSE_DNS_FAILED = Code("7.25", "Reverse DNS validation failed")
# RFC 7372 §4: where more than one check failed, this says so rather than naming the first.
SEVERAL_FAILED = Code("7.26", "Multiple authentication checks failed")
ARC_FAILED = Code("7.29", "ARC validation failure")
