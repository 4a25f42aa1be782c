"""SAML 2.0: what a message must look like, whose signature covers what, what it says, and what we send.

`checks`, `certificates` and `statements` are pure. `signatures` asks xmlsec and python3-saml. `messages` writes ours.
"""
