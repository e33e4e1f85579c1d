"""DKIM (RFC 6376, RFC 8301, RFC 8463): verify the signatures of a message while it comes in, and sign."""

from waymail.senderauth.dkim.body import Bodies
from waymail.senderauth.dkim.sign import SigningKey, load_key, sign
from waymail.senderauth.dkim.signature import Limits
from waymail.senderauth.dkim.verify import DkimResult, Verifier, verify

__all__ = ["Bodies", "DkimResult", "Limits", "SigningKey", "Verifier", "load_key", "sign", "verify"]
