"""Who sent this, and may he? SPF, DKIM, DMARC, ARC, block lists: pure code that yields questions and returns results."""
