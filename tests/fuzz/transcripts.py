"""Sessions to begin with: what fuzzing changes and joins. They are of the kind that clients and servers send, good and bad."""

from __future__ import annotations

from tests.fuzz.choices import input_of

EHLO = b"EHLO client.example\r\n"
MAIL = b"MAIL FROM:<a@b.example>\r\n"
RCPT = b"RCPT TO:<b@c.example>\r\n"
ENVELOPE = EHLO + MAIL + RCPT

TO_A_SERVER = [
    ENVELOPE + b"DATA\r\nSubject: x\r\n\r\n..y\r\n.\r\nQUIT\r\n",
    ENVELOPE + RCPT + b"BDAT 5\r\nab\r\ncBDAT 0\r\nBDAT 3 LAST\r\nd\r\nNOOP\r\n",
    ENVELOPE + b"BDAT 12 LAST\r\nRSET\r\nNOOP\r\nBDAT 4\r\nNOOPRSET\r\n",
    ENVELOPE + b"BDAT 100\r\n" + b"x" * 100 + b"BDAT 6 LAST\r\nRSET\r\n" + MAIL,
    ENVELOPE + b"BDAT x\r\nNOOP\r\nBDAT 9999999999999999999\r\nRSET\r\n",
    ENVELOPE + b"DATA\r\nx\r\r\n.\r\nMAIL FROM:<evil@x>\r\n\n.\r\n.\n\r\n.\r\n",
    b"LHLO client.example\r\n"
    + MAIL
    + RCPT
    + RCPT
    + b"RCPT TO:<no@c>\r\nDATA\r\nx\r\n.\r\n"
    + MAIL
    + RCPT
    + b"BDAT 1 LAST\r\nxRSET\r\n",
    EHLO
    + b"MAIL FROM:<a@b> SIZE=10 BODY=8BITMIME RET=HDRS ENVID=q+2B SMTPUTF8\r\n"
    + b"RCPT TO:<\xc3\xa9@\xc3\xa9.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b@c\r\n",
    EHLO + b"MAIL FROM:<> BODY=BINARYMIME REQUIRETLS\r\n" + RCPT + b"DATA\r\nBDAT 3 LAST\r\na\nb",
    EHLO
    + b"MAIL FROM:<a@b> HOLDFOR=100 BY=-1;NT MT-PRIORITY=-9\r\nMAIL FROM:<a@b> HOLDUNTIL=2027-01-01T00:00:00Z AUTH=e+3Da@b\r\n",
    EHLO + b"AUTH LOGIN\r\nYQ==\r\nAUTH PLAIN AGEAYg==\r\nAUTH PLAIN =\r\n*\r\n",
    EHLO + b"STARTTLS\r\n" + MAIL,
    EHLO + b"XCLIENT ADDR=192.0.2.1 NAME=[UNAVAILABLE]\r\n" + EHLO + b"XFORWARD HELO=x+20y\r\nETRN @b.example\r\n",
    EHLO
    + b"VRFY a\r\nVRFY \xc3\xa9 SMTPUTF8\r\nHELP\r\nEXPN x\r\nNOOP "
    + b"y" * 200
    + b"\r\n"
    + b"AUTH PLAIN "
    + b"A" * 300
    + b"\r\n",
    b'HELO x\r\nMAIL FROM:<"a b"@[192.0.2.1]>\r\nRCPT TO:<Postmaster>\r\nRCPT TO:<@x,@y:a@[IPv6:::1]>\r\nRSET\r\n',
]
TO_A_SERVER.append(TO_A_SERVER[0].replace(b"\r\n", b"\n"))  # a client that knows no CR
TO_A_CLIENT = [
    b"220 x\r\n250-x\r\n250-PIPELINING\r\n250 STARTTLS\r\n220 go\r\n",
    b"220 x\r\n250-x\r\n250-CHUNKING\r\n250 AUTH PLAIN\r\n250 2.1.0 a\r\n550 5.1.1 no\r\n354 go\r\n250 2.0.0 ok\r\n221 bye\r\n",
    b"220 x\n250 x\n334 Z28=\n535 5.7.8 no\n421 4.3.2 bye\n",
    b"220-x\r\n220 y\r\n250\r\n250-\r\n250 \r\n",
    b"220 x\r\n250-x\r\n251 y\r\n",
    b"554 " + b"x" * 300 + b"\r\n",
]
TO_A_PARSER = [
    b"user@example.org\r\nb\xc3\xbccher.example\r\nxn--bcher-kva.example\r\nfa\xc3\x9f.example\r\n\xef\xbd\x81\xe3\x80\x82b\r\n",
    b'"a b"@x\r\na@[IPv6:::1]\r\n\xd7\x90\xd7\x91.example\r\n@x:a@b\r\n\xed\xa0\x80@b\r\n\xc0\xaf@b\r\n',
    b"RCPT TO:<a@b> NOTIFY=NEVER ORCPT=utf-8;a\\x{2B}\xc3\xa9@b\r\nRCPT TO:<a@b> NOTIFY=FAILURE,DELAY ORCPT=rfc822;a+2B@b\r\n",
    b"MAIL FROM:<> BY=120;R MT-PRIORITY=3 REQUIRETLS SMTPUTF8 HOLDUNTIL=2027-02-28T00:00:00.5Z AUTH=+C3+A9@b\r\n",
]
# What the fuzzer may put in as a whole.
WORDS = [
    *[b"BDAT ", b" LAST", b"DATA\r\n", b"\r\n.\r\n", b"RSET\r\n", b"MAIL FROM:<", b"RCPT TO:<", b"EHLO x\r\n", b"LHLO x\r\n"],
    *[
        b" SMTPUTF8",
        b" BODY=BINARYMIME",
        b" SIZE=",
        b" ORCPT=utf-8;",
        b" ORCPT=rfc822;",
        b" NOTIFY=",
        b" RET=",
        b" ENVID=",
        b" BY=",
    ],
    *[
        b" HOLDFOR=",
        b" HOLDUNTIL=",
        b" MT-PRIORITY=",
        b" AUTH=",
        b" REQUIRETLS",
        b"XCLIENT ",
        b"XFORWARD ",
        b"ETRN ",
        b"AUTH LOGIN\r\n",
    ],
    *[
        b"\\x{2B}",
        b"xn--",
        b"\xe3\x80\x82",
        b"\xc2\xad",
        b"\xe2\x80\x8d",
        b"\xd7\x90",
        b"250-",
        b"354 x\r\n",
        b"220 x\r\n",
        b"334 \r\n",
    ],
]
DECISIONS = [b"", b"\x00\x01\x01\x00\x03\x10\x20\x30", b"\x02\x00\x01\x05\x90\x10\x20\x80\x03\x01\x02\x03\x04\x05\x06"]
SEEDS = [input_of(decisions, stream) for decisions in DECISIONS for stream in TO_A_SERVER + TO_A_CLIENT + TO_A_PARSER]
