"""What tests of every kind share: services, tools, builders."""
