"""How the console writes dates: the same for everybody, sortable, with the zone."""
