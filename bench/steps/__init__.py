"""What single steps of a call cost, each on its own."""
