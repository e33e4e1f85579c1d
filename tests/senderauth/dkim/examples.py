"""The messages and keys that RFC 6376 and RFC 8463 print as examples, and what tests of DKIM share."""

from __future__ import annotations

from base64 import b64decode, b64encode

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from waymail.lookups import run
from waymail.senderauth.dkim import DkimResult, SigningKey, load_key, verify
from waymail.senderauth.dkim.body import BodyHash
from waymail.senderauth.dkim.canonical import Field, HeaderFields
from waymail.senderauth.dkim.key import record
from waymail.senderauth.dkim.verify import signed_octets
from waymail.testing.zone import Zone

NOW = 1_528_637_909.0  # t= of the example of RFC 8463

# RFC 6376, appendix A.2, as it was when it was signed: the text of the RFC has another indentation, and a second space behind the
# full stop of the body, which the body hash in it does not have.
RFC_6376 = """\
DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;
      c=simple/simple; q=dns/txt; i=joe@football.example.com;
      h=Received : From : To : Subject : Date : Message-ID;
      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
      b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB
      4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut
      KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV
      4bmp/YzhwvcubU4=;
Received: from client1.football.example.com  [192.0.2.1]
      by submitserver.example.com with SUBMISSION;
      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game. Are you hungry yet?

Joe.
"""

# RFC 8463, appendix A.3: two signatures, by Ed25519 and by RSA.
RFC_8463 = """\
DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
"""

RSA_6376 = b"""\
-----BEGIN RSA PRIVATE KEY-----
MIICXwIBAAKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFC
jxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gb
to/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB
AoGBALmn+XwWk7akvkUlqb+dOxyLB9i5VBVfje89Teolwc9YJT36BGN/l4e0l6QX
/1//6DWUTB3KI6wFcm7TWJcxbS0tcKZX7FsJvUz1SbQnkS54DJck1EZO/BLa5ckJ
gAYIaqlA9C0ZwM6i58lLlPadX/rtHb7pWzeNcZHjKrjM461ZAkEA+itss2nRlmyO
n1/5yDyCluST4dQfO8kAB3toSEVc7DeFeDhnC1mZdjASZNvdHS4gbLIA1hUGEF9m
3hKsGUMMPwJBAPW5v/U+AWTADFCS22t72NUurgzeAbzb1HWMqO4y4+9Hpjk5wvL/
eVYizyuce3/fGke7aRYw/ADKygMJdW8H/OcCQQDz5OQb4j2QDpPZc0Nc4QlbvMsj
7p7otWRO5xRa6SzXqqV3+F0VpqvDmshEBkoCydaYwc2o6WQ5EBmExeV8124XAkEA
qZzGsIxVP+sEVRWZmW6KNFSdVUpk3qzK0Tz/WjQMe5z0UunY9Ax9/4PVhp/j61bf
eAYXunajbBSOLlx4D+TunwJBANkPI5S9iylsbLs6NkaMHV6k5ioHBBmgCak95JGX
GMot/L2x0IYyMLAz6oLWh2hm7zwtb0CgOrPo1ke44hFYnfc=
-----END RSA PRIVATE KEY-----
"""
RSA_8463 = b"""\
-----BEGIN RSA PRIVATE KEY-----
MIICXQIBAAKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQi
Y/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqM
KrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB
AoGAH0cxOhFZDgzXWhDhnAJDw5s4roOXN4OhjiXa8W7Y3rhX3FJqmJSPuC8N9vQm
6SVbaLAE4SG5mLMueHlh4KXffEpuLEiNp9Ss3O4YfLiQpbRqE7Tm5SxKjvvQoZZe
zHorimOaChRL2it47iuWxzxSiRMv4c+j70GiWdxXnxe4UoECQQDzJB/0U58W7RZy
6enGVj2kWF732CoWFZWzi1FicudrBFoy63QwcowpoCazKtvZGMNlPWnC7x/6o8Gc
uSe0ga2xAkEA8C7PipPm1/1fTRQvj1o/dDmZp243044ZNyxjg+/OPN0oWCbXIGxy
WvmZbXriOWoSALJTjExEgraHEgnXssuk7QJBALl5ICsYMu6hMxO73gnfNayNgPxd
WFV6Z7ULnKyV7HSVYF0hgYOHjeYe9gaMtiJYoo0zGN+L3AAtNP9huqkWlzECQE1a
licIeVlo1e+qJ6Mgqr0Q7Aa7falZ448ccbSFYEPD6oFxiOl9Y9se9iYHZKKfIcst
o7DUw1/hz2Ck4N5JrgUCQQCyKveNvjzkkd8HjYs0SwM0fPjK16//5qDZ2UiDGnOe
uEzxBDAr518Z8VFbR41in3W4Y3yCDgQlLlcETrS+zYcL
-----END RSA PRIVATE KEY-----
"""
# Of 768 bits, which is too short to be believed.
RSA_SHORT = b"""\
-----BEGIN RSA PRIVATE KEY-----
MIIBywIBAAJhAL2o+K+BT3hQuCR92bU6kwDAemIdcrSDKRim5HSGxIDgqfomimAW
7eZmHqC8stSPvUqqlF4EDzDIbCb7PVoQebkKN9eisSjAgPTCeR0L9TKFnzSCenw6
JrqN3qNV+EfhTQIDAQABAmBH20MNS5LOZNa/jKb1UNHtUP+NONcCqUbiviiENaMx
qOz9h6iZq1ZLGpm0EIo4mpRXAhaikFKFO6fS5myMyBNlzLf8sTc/NhRFGgruBYJT
K6KJb9M17sJmDE2U+WiYowECMQD5Ftv88XuIKFXdlQWdcH4WseJkPft1cwUoDKh4
Vh1jjB7JgDHyGNcirR6tbTs+4e0CMQDC7AUJ1tQvFoTI5DvJXJ1mqz/4dsDKKCVO
aH0mxzOfkbPVcl5BUgh3P9/t6zzmkOECMQCxD7jM8vM29EUlP5tAMQjQJR6i1xR6
hopxz52p/LzjWGVCIyhdyZ6T/a/C49SrfHkCMDGUk1uDV4l6st/eng6EDk11Ndpf
an6BY6vkDCF2/fyStSmP48W9tgWPK8h604zaQQIxAI44/aqqPcxTSRz4jJknlzL7
c0nt6A0jbYy2T6N91Px+OaTLkk6RtN/+cvO1EAEdGQ==
-----END RSA PRIVATE KEY-----
"""
ED25519_8463 = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="

ZONE = {
    "brisbane._domainkey.example.com": {
        "TXT": [
            "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYt"
            "IxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhi"
            "tdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB"
        ]
    },
    "brisbane._domainkey.football.example.com": {"TXT": ["v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="]},
    "test._domainkey.football.example.com": {
        "TXT": [
            "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQi"
            "Y/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3"
            "Ip3G+2kryOTIKT+l/K4w3QIDAQAB"
        ]
    },
}


def message(text: str) -> bytes:
    """The octets of a message that is written with line feeds."""
    return text.replace("\n", "\r\n").encode()


def ed25519_key() -> SigningKey:
    return SigningKey(Ed25519PrivateKey.from_private_bytes(b64decode(ED25519_8463)))


def rsa_key() -> SigningKey:
    return load_key(RSA_8463)


def key_zone(key: SigningKey, *, selector: str = "s1", domain: str = "example.org", more: str = "") -> Zone:
    """A zone in which the key stands, with more tags of its record if there are any."""
    text = record(key.public).replace("DKIM1;", f"DKIM1; {more};") if more else record(key.public)
    return Zone({f"{selector}._domainkey.{domain}": {"TXT": [text]}})


def verified(octets: bytes, zone: Zone, *, now: float = NOW) -> list[DkimResult]:
    return run(verify(octets, now=now), zone)


PLAIN = message("""\
From: Ann <ann@example.org>
To: Bob <bob@example.net>
Subject: Lunch

At noon?
""")


def crafted(
    octets: bytes,
    key: SigningKey,
    *,
    more: str = "",
    without: str = "",
    body_length: int | None = None,
    **tags: str,
) -> bytes:
    """The message with a signature of just these tags in front, true in all that is not given. A name of a tag is its own, with a
    "_" behind it where Python has that word; `without` leaves one out, `more` stands behind all others."""
    given = {name.rstrip("_"): text for name, text in tags.items()}
    found = {"v": "1", "a": key.algorithm, "c": "relaxed/relaxed", "d": "example.org", "s": "s1", "h": "From:To:Subject"} | given
    headers_relaxed, _, body_relaxed = found["c"].partition("/")
    section, _, body = octets.partition(b"\r\n\r\n")
    digest = BodyHash(body_relaxed == "relaxed", [body_length])
    digest.update(body)
    digest.finish()
    found.setdefault("bh", b64encode(digest.digest(body_length) or b"").decode())
    if body_length is not None:
        found.setdefault("l", str(body_length))
    found.pop(without, None)
    value = " " + "; ".join([f"{name}={text}" for name, text in found.items() if name != "b"] + ([more] if more else []))
    own = Field(b"DKIM-Signature", (value + "; b=").encode())
    covered = HeaderFields(section + b"\r\n").picked(map(str.strip, found.get("h", "").split(":")))
    made = b64encode(key.sign(signed_octets(covered, own, headers_relaxed == "relaxed"))).decode()
    signature = "" if without == "b" else f"; b={found.get('b', made)}"
    return f"DKIM-Signature:{value}{signature}\r\n".encode() + octets
