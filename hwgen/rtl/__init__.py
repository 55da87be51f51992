"""How each node kind is built, as Amaranth components."""
