"""What the exchange keeps: rows (registry), opaque blobs (vault), and the few rows that must be erasable (secrets).

Nothing here knows what a blob or a sealed row contains, and nothing here imports seal.
"""
