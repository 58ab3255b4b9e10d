"""The portal: what comes in by HTTP.

So far that is what providers tell of the messages they have carried; people come later.  It listens on loopback by
default, behind a web server that speaks TLS.  Whatever comes in is bounded in size and in time before anybody looks at
it, and nothing of it is ever written to disk.
"""
