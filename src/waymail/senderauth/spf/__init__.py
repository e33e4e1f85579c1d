"""SPF (RFC 7208, and RFC 8616 for internationalised addresses): may this client send for that domain?

result = lookups.run(spf.check("192.0.2.1", "ann@example.org", "mx.example.org"), zone)
"""

from waymail.senderauth.spf.check import check, check_helo
from waymail.senderauth.spf.result import LIMITS, Limits, SpfResult, Step

__all__ = ["LIMITS", "Limits", "SpfResult", "Step", "check", "check_helo"]
