"""DKIM (RFC 6376, RFC 8301, RFC 8463): verify the signatures of a message while it comes in, and sign."""
