"""The outbox: a durable queue inside of a program, in an SQLite file that several processes may have open.

place and words   settings, outcome, telling (events), message
who delivers      carrying: whichever process has the lock, the others only deposit; nudge wakes it
who waits         watching: what became of a message, seen from any process
the two faces     api (asyncio), sync (threads)
"""
