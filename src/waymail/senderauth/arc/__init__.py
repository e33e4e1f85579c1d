"""ARC (RFC 8617): what those who passed a message on testify about how it reached them. Chains are verified, and made longer."""

from waymail.senderauth.arc.chain import Limits
from waymail.senderauth.arc.result import ArcResult
from waymail.senderauth.arc.seal import seal
from waymail.senderauth.arc.verify import Verifier, verify

__all__ = ["ArcResult", "Limits", "Verifier", "seal", "verify"]
