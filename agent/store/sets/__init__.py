"""Generations: keys, certificates and anchors in directories, the links that name the one in use, and the others."""
