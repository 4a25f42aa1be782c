"""WHO, in the console."""

from __future__ import annotations

from . import directory as directory
from . import issued as issued
from . import locks as locks
from . import people as people
from . import principals as principals
from . import providers as providers
from . import saml as saml
from . import scim as scim
