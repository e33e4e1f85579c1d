"""HAProxy in front of a listener, with the PROXY protocol, in tcp mode: TLS goes through it untouched."""

from __future__ import annotations

from typing import Literal

from tests.interop.jail import Jail

from waymail.testing.process import free_port

CONFIG = """\
global
  maxconn 100
defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend mail
  bind 127.0.0.1:{port}
  default_backend waymail
backend waymail
  server one 127.0.0.1:{behind} {header} check inter 200ms check-send-proxy
"""


class HAProxy(Jail):
    """Passes connections at `port` on to the port `behind`."""

    def __init__(self, behind: int, header: Literal["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl"]) -> None:
        super().__init__("haproxy")
        self.port = free_port()
        config = CONFIG.format(port=self.port, behind=behind, header=header)
        self.start("haproxy", "-db", "-f", self.write("haproxy.cfg", config), ports=[self.port])
