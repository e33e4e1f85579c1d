"""DMARC: may this message speak for the domain in its From field? (RFC 9989)

`author_domain` reads that domain, `evaluate_author` asks for its policy and compares, `observe` puts down what an aggregate
report to the domain's owner would say (RFC 9990).
"""

from waymail.senderauth.dmarc.author import AuthorDomain, author_domain
from waymail.senderauth.dmarc.evaluate import DmarcResult, evaluate, evaluate_author
from waymail.senderauth.dmarc.observation import Observation, Override, observe

__all__ = ["AuthorDomain", "DmarcResult", "Observation", "Override", "author_domain", "evaluate", "evaluate_author", "observe"]
