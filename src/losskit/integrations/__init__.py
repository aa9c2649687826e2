"""Losses in trainers that have a signature of their own: a file each, imported by whoever uses it, never by losskit. Where a module fits as it is, there is no file:
the guide to trainers shows how it is used.

None of these files imports the package it is for.
"""
