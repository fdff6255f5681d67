"""The only room that names array libraries: namespaces, devices, random streams, scatter_add, erf, to_numpy."""
