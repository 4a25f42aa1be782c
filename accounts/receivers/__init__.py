"""What other servers tell the gateway: RFC 7009 revocation, OpenID back-channel logout, RFC 8935 security events.

These views are outside the console: no session, no cookie, no CSRF token. Each reads a bounded body of one content
type, decides who speaks, calls one service and answers as its specification says.
"""
