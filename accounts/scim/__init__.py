"""SCIM 2.0 (RFC 7643, RFC 7644): how an identity provider tells which users and groups there are.

Everything here but `views` is pure: bodies in, values or a `ScimRefused` out. `accounts.services.directory` writes.
"""
